//! What can be wrong with a crash state.

use std::fmt;

use program::{RelPath, thousands};
use serde::{Deserialize, Serialize};

use crate::{Ack, Observed};

/// A rule that a crash state can break.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Invariant {
    /// The file system mounts and the guest survives it: holds for every workload without being named.
    Mountable,
    /// See [`crate::Wanted::AtomicReplace`].
    AtomicReplace,
    /// See [`crate::Wanted::DurableAfter`].
    DurableAfter(Ack),
    /// See [`crate::Wanted::AppendOnly`].
    AppendOnly,
    /// See [`crate::Wanted::PrefixOfHistory`].
    PrefixOfHistory,
    /// See [`crate::Wanted::AllOrNothing`]: its paths.
    AllOrNothing(Vec<RelPath>),
    /// See [`crate::Wanted::OneIsWhole`]: its paths.
    OneIsWhole(Vec<RelPath>),
    /// See [`crate::Wanted::Tree`]: its marker and its paths.
    Tree(RelPath, Vec<RelPath>),
    /// See [`crate::Wanted::MetadataPreserved`].
    MetadataPreserved,
    /// See [`crate::Wanted::NoLeftovers`].
    NoLeftovers,
    /// The workload's own `check` command ends with exit status 0.
    Check,
    /// See [`crate::Wanted::View`]: what looks, as [`crate::View`] is displayed.
    View(String),
    /// See [`crate::Wanted::View`]: what the view showed when this was promised, or something later.
    ViewAfter(String, Ack),
}

impl fmt::Display for Invariant {
    /// As it stands in `report.json`: `mountable`, `atomic-replace`, `durable-after exit`, `durable-after "saved"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invariant::Mountable => f.write_str("mountable"),
            Invariant::AtomicReplace => f.write_str("atomic-replace"),
            Invariant::DurableAfter(promise) => write!(f, "durable-after {promise}"),
            Invariant::AppendOnly => f.write_str("append-only"),
            Invariant::PrefixOfHistory => f.write_str("prefix-of-history"),
            Invariant::AllOrNothing(paths) => write!(f, "all-or-nothing {}", listed(paths)),
            Invariant::OneIsWhole(paths) => write!(f, "one-is-whole {}", listed(paths)),
            Invariant::Tree(marker, paths) => write!(f, "tree {marker}: {}", listed(paths)),
            Invariant::MetadataPreserved => f.write_str("metadata-preserved"),
            Invariant::NoLeftovers => f.write_str("no-leftovers"),
            Invariant::Check => f.write_str("check"),
            Invariant::View(view) => write!(f, "view {view}"),
            Invariant::ViewAfter(view, ack) => write!(f, "view {view} after {ack}"),
        }
    }
}

fn listed(paths: &[RelPath]) -> String {
    paths.iter().map(RelPath::to_string).collect::<Vec<_>>().join(", ")
}

/// How a crash state breaks a rule. A function of the observation and the rules, so that states can be counted by it.
///
/// The kinds from `Empty` to `Garbage` speak about a regular file that is none of the file's versions, and are tried in
/// that order. Contents are looked at in chunks of [`crate::CHUNK`] bytes from the start, up to the first chunk after
/// which no version of the same size is left; only that chunk decides, each byte of it compared with that at the same
/// place of every version of whatever size. For `prefix-of-history` every state counts as a version; for `append-only`
/// all that the log may be, and zero-filled and garbage are told apart from the first wrong byte on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The name is absent, and absence is no version; or a promised file is absent that was not there before the run.
    Missing,
    /// The size is 0, and no version is empty.
    Empty,
    /// The size is that of no version (the content is not read), or the file ends before its size.
    WrongLength,
    /// Each byte of the deciding chunk is some version's.
    Mixed,
    /// Not mixed, and each byte that is no version's is zero.
    ZeroFilled,
    /// Anything else that can be read.
    Garbage,
    /// The name stands for another kind of thing (a directory, say) than any version.
    NotAFile,
    /// The file, its attributes or a directory above it cannot be read.
    ReadError,
    /// Exactly a version, but an older one than what had been current when a promise was made; not `Missing`.
    Stale,
    /// A log is shorter than before the run, and not empty (the content is not read).
    Truncated,
    /// The size of a log lies between those that whole records make (the content is not read).
    TornRecord,
    /// Of files that belong together, some are as before the run and some as after it.
    Partial,
    /// Mode, owner or group are not those of the old file.
    MetadataChanged,
    /// The name is there neither before nor after the run.
    Leftover,
    /// The workload's own check says so.
    CheckFailed,
    /// The workload's own check did not end in time, and was killed.
    CheckTimedOut,
    /// What a view shows is what it shows of no directory that the program could have left when it was killed.
    WrongView,
    /// What a view shows is what it shows of a directory that the program leaves when it is killed at a point of which
    /// nothing was asked for.
    KilledView,
    /// What a view shows is right, but of a directory later than any that the program could have left by then.
    EarlyView,
    /// A view fails (by its exit status, a signal or its time limit), though it succeeds wherever only the program is
    /// killed.
    Unreadable,
    /// The kernel refuses to mount.
    Unmountable,
    /// The guest panicked, hung, or stopped making sense.
    GuestDied,
}

impl fmt::Display for Kind {
    /// As it stands in `report.json`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Missing => "missing",
            Kind::Empty => "empty",
            Kind::WrongLength => "wrong-length",
            Kind::Mixed => "mixed",
            Kind::ZeroFilled => "zero-filled",
            Kind::Garbage => "garbage",
            Kind::NotAFile => "not-a-file",
            Kind::ReadError => "read-error",
            Kind::Stale => "stale",
            Kind::Truncated => "truncated",
            Kind::TornRecord => "torn-record",
            Kind::Partial => "partial",
            Kind::MetadataChanged => "metadata-changed",
            Kind::Leftover => "leftover",
            Kind::CheckFailed => "check-failed",
            Kind::CheckTimedOut => "check-timed-out",
            Kind::WrongView => "wrong-view",
            Kind::KilledView => "killed-view",
            Kind::EarlyView => "early-view",
            Kind::Unreadable => "unreadable",
            Kind::Unmountable => "unmountable",
            Kind::GuestDied => "guest-died",
        })
    }
}

/// A crash state breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// The rule.
    pub invariant: Invariant,
    /// How it is broken.
    pub kind: Kind,
    /// The file; the root where the whole file system is meant.
    pub path: RelPath,
    /// What was seen.
    pub observed: Observed,
    /// Whether this fails the run. Durability that nobody asked for, and leftovers, are told, but do not.
    pub fails: bool,
    /// What the workload's own check said, if it is what found fault.
    pub check: Option<CheckFailure>,
}

/// How a workload's own check failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckFailure {
    /// How it ended: `exit 11`.
    pub ended: String,
    /// The message in what it printed.
    pub message: String,
    /// What it printed.
    pub output: Output,
}

/// Lines that a program printed: the first and the last ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Output {
    /// The first lines; all of them, if they are few.
    pub first: Vec<String>,
    /// How many lines between these and the last ones are left out.
    #[serde(default)]
    pub left_out: usize,
    /// The last lines.
    #[serde(default)]
    pub last: Vec<String>,
}

impl Output {
    /// So many of the first lines, and as many of the last.
    pub fn of(lines: &[&str], ends: usize) -> Self {
        let own = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        if lines.len() <= ends.saturating_mul(2) {
            return Self { first: own(lines), ..Self::default() };
        }
        let (first, rest) = lines.split_at(ends);
        let (middle, last) = rest.split_at(rest.len() - ends);
        Self { first: own(first), left_out: middle.len(), last: own(last) }
    }

    /// The lines, with a mark where some are left out.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let plural = if self.left_out == 1 { "" } else { "s" };
        let mark = format!("… {} line{plural} left out …", thousands(self.left_out as u64));
        let mark = (self.left_out > 0).then_some(mark);
        self.first.iter().cloned().chain(mark).chain(self.last.iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_lines() {
        let all = ["1", "2", "3", "4", "5", "6", "7"];
        let shown = |count: usize| Output::of(&all[..count], 2).lines().collect::<Vec<_>>().join("|");
        assert_eq!(
            [0, 4, 5, 7].map(shown),
            ["", "1|2|3|4", "1|2|… 1 line left out …|4|5", "1|2|… 3 lines left out …|6|7"]
        );
        assert_eq!(Output::of(&all, usize::MAX).first, all);
    }

    #[test]
    fn the_names_are_those_of_the_report() {
        let new = [Kind::Truncated, Kind::TornRecord, Kind::Partial, Kind::MetadataChanged, Kind::Leftover];
        let old = [Kind::Missing, Kind::WrongLength, Kind::ZeroFilled, Kind::NotAFile, Kind::GuestDied];
        let views = [Kind::WrongView, Kind::KilledView, Kind::EarlyView, Kind::Unreadable];
        for kind in [&new[..], &old, &views, &[Kind::CheckFailed, Kind::CheckTimedOut]].concat() {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        assert_eq!(Invariant::DurableAfter(Ack::Text("a \"b\"".into())).to_string(), r#"durable-after "a \"b\"""#);
    }
}
