//! Outcomes of the explorer that no native run has shown: what kind each of them is of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::compare::Way;
use crate::native::Outcome;

/// In what an outcome differs from all that has shown natively. The ones that say the most stand first: an outcome is of the
/// first kind that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The file system cannot be mounted, though no write is torn.
    Refused,
    /// It cannot be mounted since a write is torn.
    TornRefused,
    /// There is no way to it but by a torn write. The native disk tears none, so this is about the disk and not the kernel.
    Torn,
    /// A file or directory cannot be read.
    Unreadable,
    /// A name that is there natively in every outcome is not there.
    NameGone,
    /// A name that is there natively in no outcome is there.
    NameNew,
    /// A file is empty that is natively never empty.
    Empty,
    /// A file holds zeros in places where it natively holds none.
    Zeros,
    /// A file holds letters that it natively does not hold together.
    Mixed,
    /// All that stands under each name has shown natively, but not at once.
    Combination,
    /// The tree has shown, but only when fewer promises had been given: this one breaks more.
    MorePromises,
    /// The tree has shown, but only when more promises had been given: this one comes sooner.
    FewerPromises,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Refused,
        Self::TornRefused,
        Self::Torn,
        Self::Unreadable,
        Self::NameGone,
        Self::NameNew,
        Self::Empty,
        Self::Zeros,
        Self::Mixed,
        Self::Combination,
        Self::MorePromises,
        Self::FewerPromises,
    ];

    /// The kind of an outcome that is not among the native ones. `torn`: whether each way to it tears a write.
    pub fn of(outcome: &Outcome, torn: bool, native: &BTreeSet<Outcome>) -> Self {
        let Some(entries) = entries(&outcome.tree) else {
            return if torn { Self::TornRefused } else { Self::Refused };
        };
        if torn {
            return Self::Torn;
        }
        let promises: Vec<usize> =
            native.iter().filter(|other| other.tree == outcome.tree).map(|other| other.promises).collect();
        if !promises.is_empty() {
            let more = promises.iter().all(|&given| given < outcome.promises);
            return if more { Self::MorePromises } else { Self::FewerPromises };
        }
        let native: Vec<BTreeMap<&str, &str>> = native.iter().filter_map(|other| self::entries(&other.tree)).collect();
        let names: BTreeSet<&str> = native.iter().chain([&entries]).flat_map(BTreeMap::keys).copied().collect();
        let kinds = names.into_iter().filter_map(|name| of_name(name, &entries, &native));
        kinds.min().unwrap_or(Self::Combination)
    }

    /// In a few words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Refused => "not mountable, nothing torn",
            Self::TornRefused => "not mountable, a write torn",
            Self::Torn => "a write torn",
            Self::Unreadable => "a file that cannot be read",
            Self::NameGone => "a name missing",
            Self::NameNew => "a name too many",
            Self::Empty => "a file empty",
            Self::Zeros => "zeros in a file",
            Self::Mixed => "other letters in a file",
            Self::Combination => "each file seen, not together",
            Self::MorePromises => "tree seen, with fewer promises",
            Self::FewerPromises => "tree seen, with more promises",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// In what a name differs from all that has stood under it natively; `None` if the same has.
fn of_name(name: &str, entries: &BTreeMap<&str, &str>, native: &[BTreeMap<&str, &str>]) -> Option<Kind> {
    let seen: BTreeSet<Option<&str>> = native.iter().map(|other| other.get(name).copied()).collect();
    let here = entries.get(name).copied();
    if seen.contains(&here) {
        return None;
    }
    let Some(here) = here else { return Some(Kind::NameGone) };
    let places: BTreeSet<usize> = seen.iter().flatten().flat_map(|text| zeros(text)).collect();
    Some(match here {
        _ if seen.iter().all(Option::is_none) => Kind::NameNew,
        ":empty" => Kind::Empty,
        _ if here.starts_with(":errno") => Kind::Unreadable,
        _ if zeros(here).any(|place| !places.contains(&place)) => Kind::Zeros,
        _ => Kind::Mixed,
    })
}

/// At which places of a content's text zeros stand. A zero after a star or a digit is part of a length.
fn zeros(text: &str) -> impl Iterator<Item = usize> {
    let letters = text.char_indices().scan(false, |in_length, (place, letter)| {
        *in_length = letter == '*' || *in_length && letter.is_ascii_digit();
        Some((place, letter == '0' && !*in_length))
    });
    letters.filter(|(_, is_zeros)| *is_zeros).map(|(place, _)| place)
}

/// What stands under each name of a tree's text ([`crate::tree::Tree`]), as text; `None` if there is no tree. For trees whose
/// names and contents are letters.
fn entries(tree: &str) -> Option<BTreeMap<&str, &str>> {
    let inside = tree.strip_prefix('{')?.strip_suffix('}')?;
    let entries = inside.split(", ").filter(|entry| !entry.is_empty());
    Some(entries.map(|entry| entry.split_at(end_of_name(entry))).collect())
}

/// Where the name ends in `d/f:A`, `y->f` or `d/`.
fn end_of_name(entry: &str) -> usize {
    let end = entry.find(':').or_else(|| entry.find("->"));
    end.or_else(|| entry.strip_suffix('/').map(str::len)).unwrap_or(entry.len())
}

/// What is unseen of one program on one file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// The program's name.
    pub program: String,
    /// The file system.
    pub filesystem: String,
    /// The outcome.
    pub outcome: Outcome,
    /// Its kind.
    pub kind: Kind,
    /// How the explorer got it.
    pub way: Way,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, filesystem, outcome, kind, way } = self;
        write!(f, "{kind}: {program} on {filesystem}: {outcome}: {way}")
    }
}

/// The outcomes that are not among the native ones.
pub fn unseen(
    program: &str,
    filesystem: &str,
    ways: &BTreeMap<Outcome, Way>,
    native: &BTreeSet<Outcome>,
) -> Vec<Unseen> {
    let unseen = ways.iter().filter(|(outcome, _)| !native.contains(outcome));
    let unseen = unseen.map(|(outcome, way)| Unseen {
        program: program.into(),
        filesystem: filesystem.into(),
        outcome: outcome.clone(),
        kind: Kind::of(outcome, way.torn, native),
        way: way.clone(),
    });
    unseen.collect()
}

/// How many there are of each kind on each of these file systems, as a table; kinds that do not occur are left out.
pub fn counts(all: &[Unseen], filesystems: &[&str]) -> String {
    let mut text = format!("| kind | {} |\n| --- |{}\n", filesystems.join(" | "), " --- |".repeat(filesystems.len()));
    for kind in Kind::ALL {
        let of_kind = |filesystem: &&str| {
            all.iter().filter(|unseen| unseen.kind == kind && unseen.filesystem == *filesystem).count()
        };
        let counts: Vec<usize> = filesystems.iter().map(of_kind).collect();
        if counts.iter().any(|count| *count > 0) {
            let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
            text.push_str(&format!("| {kind} | {} |\n", counts.join(" | ")));
        }
    }
    text
}

/// The one of each kind that takes the plainest way.
pub fn examples(all: &[Unseen]) -> Vec<&Unseen> {
    let of_kind = |kind| all.iter().filter(move |unseen| unseen.kind == kind).min_by_key(|unseen| &unseen.way);
    Kind::ALL.into_iter().filter_map(of_kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(tree: &str, promises: usize) -> Outcome {
        Outcome { tree: tree.into(), promises }
    }

    fn native() -> BTreeSet<Outcome> {
        let native = [("{f:O, t:N}", 0), ("{f:N}", 1), ("{f:N0}", 1), ("{d/, d/e:A, f:O}", 1), ("{f:O, y->f}", 2)];
        native.into_iter().map(|(tree, promises)| outcome(tree, promises)).collect()
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        let of = |tree: &str, promises| Kind::of(&outcome(tree, promises), false, &native());
        assert_eq!(of("refused: Structure needs cleaning", 0), Kind::Refused);
        assert_eq!(of("{}", 0), Kind::NameGone);
        assert_eq!(of("{f:O, g:O}", 0), Kind::NameNew);
        assert_eq!(of("{f:errno 5}", 0), Kind::Unreadable);
        assert_eq!(of("{f:empty}", 0), Kind::Empty);
        assert_eq!(of("{f:0}", 0), Kind::Zeros);
        assert_eq!(of("{f:O0}", 0), Kind::Mixed, "zeros have been seen there");
        assert_eq!(of("{f:ON}", 0), Kind::Mixed);
        assert_eq!(of("{f:N, t:N}", 0), Kind::Combination);
        assert_eq!(of("{f:N, y->f}", 0), Kind::Combination);
        assert_eq!(of("{f:O, t:N}", 1), Kind::MorePromises);
        assert_eq!(of("{f:O, y->f}", 0), Kind::FewerPromises);
    }

    #[test]
    fn the_worst_of_several_files_counts() {
        let kind = Kind::of(&outcome("{d/, d/e:empty, f:0, h:N}", 0), false, &native());
        assert_eq!(kind, Kind::NameNew);
    }

    #[test]
    fn a_torn_write_explains_everything() {
        let of = |tree: &str| Kind::of(&outcome(tree, 0), true, &native());
        assert_eq!([of("{f:empty}"), of("refused: Input/output error")], [Kind::Torn, Kind::TornRefused]);
    }

    #[test]
    fn zeros_of_lengths_are_none() {
        assert_eq!(zeros("A00B*100 0*3000 0").collect::<Vec<_>>(), [1, 2, 9, 16]);
    }

    #[test]
    fn only_what_is_unseen_is_counted_and_the_plainest_is_shown() {
        let way = |injected| Way { injected, ..Way::default() };
        let ways = BTreeMap::from([
            (outcome("{f:N}", 1), way(0)),
            (outcome("{f:empty}", 0), way(1)),
            (outcome("{f:empty}", 1), way(0)),
        ]);
        let all = unseen("p", "xfs", &ways, &native());
        assert_eq!(all.len(), 2);
        assert_eq!(
            counts(&all, &["ext4", "xfs"]),
            "| kind | ext4 | xfs |\n| --- | --- | --- |\n| a file empty | 0 | 2 |\n"
        );
        let shown: Vec<String> = examples(&all).iter().map(|unseen| unseen.outcome.to_string()).collect();
        assert_eq!(shown, ["{f:empty} [1]"]);
    }
}
