//! What a workload was asked to hold.

use checker::{Invariant, Wanted};
use program::RelPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was asked for of one workload. A violation of what a later run no longer asks for is not fixed by that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// The workload's name, or the bare command.
    pub workload: String,
    /// Its invariants, with the keys of `workload.toml`.
    #[schemars(with = "Vec<serde_json::Map<String, serde_json::Value>>")]
    pub invariants: Vec<Wanted>,
    /// Without any, and without a check: what was chosen by what the command does to each file. Reports of older versions do
    /// not have it: there, every file that the command changed was to be replaced atomically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<serde_json::Map<String, serde_json::Value>>>")]
    pub chosen: Option<Vec<Wanted>>,
    /// Patterns of the names that matter to nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Its check, as written: a list of arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Vec<String>>,
    /// Whether whatever the command changed must be durable after its exit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_durable: bool,
}

impl Asked {
    /// Whether violations that a report shows with this `invariant` and `path` are looked for, and as many of them as
    /// `before` asked for: all that there are, if that is not known.
    pub(crate) fn asks_again(&self, before: Option<&Self>, invariant: &str, path: &str) -> bool {
        // Where more is ignored, the file may be among that.
        let ignores_more = |before: &Self| self.ignore.iter().any(|pattern| !before.ignore.contains(pattern));
        let rules = self.rules(invariant, path, !before.is_some_and(ignores_more));
        let were = before.map(|before| before.rules(invariant, path, true)).unwrap_or_default();
        !rules.is_empty() && were.iter().all(|rule| rules.contains(rule))
    }

    /// What is asked for that such a violation breaks; `of_all` is whether what is asked of all files is asked of this one.
    fn rules(&self, invariant: &str, path: &str, of_all: bool) -> Vec<Rule<'_>> {
        let is = |known: Invariant| invariant == known.to_string();
        // Whatever a workload asks for, its file system is to mount.
        let always = is(Invariant::Mountable).then_some(Rule::Plain);
        let nothing = self.invariants.is_empty() && self.check.is_none() && self.chosen.is_none();
        let default = (nothing && is(Invariant::AtomicReplace)).then_some(Rule::Plain);
        let check = self.check.as_deref().filter(|_| is(Invariant::Check)).map(Rule::Check);
        let all = self.invariants.iter().chain(self.chosen.iter().flatten());
        let wanted = all.filter(|wanted| of_all || !matches!(wanted, Wanted::DurableAfter { path: None, .. }));
        let wanted = wanted.filter(|wanted| is_broken(wanted, invariant, path)).map(Rule::of);
        let of_view = invariant.starts_with("view ") && invariant.ends_with(" after exit");
        let after_exit = of_view || is(Invariant::DurableAfter(checker::Ack::Exit));
        let durable = (self.require_durable && of_all && after_exit).then_some(Rule::Plain);
        always.into_iter().chain(durable).chain(default).chain(check).chain(wanted).collect()
    }
}

/// What is asked for by the name of an invariant and of a file.
#[derive(Debug, PartialEq)]
enum Rule<'a> {
    /// No more than these.
    Plain,
    /// An invariant that has options besides: with others it asks for something else.
    With(&'a Wanted),
    /// What this check looks for.
    Check(&'a [String]),
}

impl<'a> Rule<'a> {
    fn of(wanted: &'a Wanted) -> Self {
        match wanted {
            // Of one file it asks the same, whether it names that file or all that were changed.
            Wanted::AtomicReplace { .. } | Wanted::DurableAfter { .. } => Self::Plain,
            other => Self::With(other),
        }
    }
}

/// Whether a violation that is shown with this `invariant` and `path` breaks what is `wanted`.
fn is_broken(wanted: &Wanted, invariant: &str, path: &str) -> bool {
    let named = |known: &RelPath| known.to_string() == path;
    let (known, named) = match wanted {
        Wanted::AtomicReplace { path } => (Invariant::AtomicReplace, named(path)),
        Wanted::DurableAfter { ack, path } => (Invariant::DurableAfter(ack.clone()), path.as_ref().is_none_or(named)),
        Wanted::AppendOnly { path, .. } => (Invariant::AppendOnly, named(path)),
        Wanted::PrefixOfHistory { path } => (Invariant::PrefixOfHistory, named(path)),
        Wanted::AllOrNothing { paths } => (Invariant::AllOrNothing(paths.clone()), paths.iter().any(named)),
        Wanted::OneIsWhole { paths } => (Invariant::OneIsWhole(paths.clone()), paths.iter().any(named)),
        Wanted::Tree { marker, paths } => (Invariant::Tree(marker.clone(), paths.clone()), paths.iter().any(named)),
        Wanted::MetadataPreserved { path } => (Invariant::MetadataPreserved, named(path)),
        // Whatever ack it is about.
        Wanted::View(view) => {
            let known = Invariant::View(view.to_string()).to_string();
            let after = invariant.strip_prefix(&known).is_some_and(|rest| rest.starts_with(" after "));
            return named(&view.about()) && (after || invariant == known);
        }
        // `no-leftovers` is broken by no violation; of what is not known here, nobody knows.
        _ => return false,
    };
    named && known.to_string() == invariant
}

#[cfg(test)]
mod tests {
    use checker::Ack;

    use super::*;

    fn asked(invariants: &[Wanted], check: Option<&str>) -> Asked {
        let check = check.map(|program| vec![program.to_owned()]);
        let invariants = invariants.to_vec();
        Asked { workload: "w".into(), invariants, chosen: None, ignore: vec![], check, require_durable: false }
    }

    #[test]
    fn durability_that_is_required_is_asked_for_whatever_else_is() {
        let required = |require_durable| Asked { require_durable, ..asked(&[], None) };
        for invariant in ["durable-after exit", "view cat f after exit"] {
            let again = |now: bool| required(now).asks_again(Some(&required(true)), invariant, "f");
            assert_eq!([again(true), again(false)], [true, false], "{invariant}");
        }
    }

    #[test]
    fn a_view_is_asked_for_again_if_it_is_the_same() {
        let by = |line: &str| asked(&[Wanted::View(checker::View::by_command(line))], None);
        let again = |now: &str, invariant: &str| by(now).asks_again(Some(&by("cat f")), invariant, ".");
        assert!(again("cat f", "view cat f") && again("cat f", "view cat f after \"saved\""));
        assert!(!again("cat g", "view cat f") && !again("cat f", "view cat f g"));
    }

    /// Where nobody asked, it depends on what was chosen for each file.
    #[test]
    fn what_was_chosen_is_asked_for() {
        let chosen = |wanted: &[Wanted]| Asked { chosen: Some(wanted.to_vec()), ..asked(&[], None) };
        let atomic = chosen(&[Wanted::AtomicReplace { path: "f".into() }]);
        assert!(atomic.asks_again(Some(&atomic), "atomic-replace", "f"));
        assert!(!atomic.asks_again(Some(&atomic), "atomic-replace", "g"));
        assert!(!chosen(&[]).asks_again(Some(&atomic), "atomic-replace", "f"), "it is unjudged now");
        assert!(atomic.asks_again(Some(&asked(&[], None)), "atomic-replace", "f"), "an older version asked it of all");
    }

    #[test]
    fn what_is_ignored_is_not_asked_again() {
        let all = asked(&[Wanted::DurableAfter { ack: Ack::Exit, path: None }], None);
        let fewer = Asked { ignore: vec!["*.log".into()], ..all.clone() };
        let again = |now: &Asked, before| now.asks_again(Some(before), "durable-after exit", "f.log");
        assert!(again(&all, &all) && again(&fewer, &fewer) && again(&all, &fewer) && !again(&fewer, &all));
    }

    #[test]
    fn what_is_asked_for_by_name_and_by_default() {
        let atomic = |path: &str| Wanted::AtomicReplace { path: path.into() };
        let durable = |path: Option<&str>| Wanted::DurableAfter { ack: Ack::Exit, path: path.map(RelPath::from) };
        let asks = |invariants: &[Wanted], invariant, path| asked(invariants, None).asks_again(None, invariant, path);
        assert!(asks(&[], "mountable", ".") && asks(&[atomic("f")], "mountable", "."));
        assert!(asks(&[], "atomic-replace", "f") && !asks(&[], "durable-after exit", "f"));
        assert!(asks(&[atomic("f")], "atomic-replace", "f") && !asks(&[atomic("f")], "atomic-replace", "g"));
        assert!(!asks(&[durable(None)], "atomic-replace", "f"));
        assert!(asks(&[durable(None)], "durable-after exit", "f"));
        assert!(!asks(&[durable(None)], "durable-after \"exit\"", "f"));
        assert!(asks(&[durable(Some("f"))], "durable-after exit", "f"));
        assert!(!asks(&[durable(Some("f"))], "durable-after exit", "g"));
        let both = Wanted::AllOrNothing { paths: vec!["f".into(), "g".into()] };
        assert!(asks(std::slice::from_ref(&both), "all-or-nothing f, g", "g"));
        assert!(!asks(&[both], "all-or-nothing f, g, h", "g"));
        assert!(!asked(&[], Some("check")).asks_again(None, "atomic-replace", "f"));
    }

    /// A rule that lets more pass is another, and so is another check.
    #[test]
    fn what_is_asked_for_in_another_way_is_not_asked_again() {
        let log = |garbage_tail| {
            let record = Some(checker::Record::Line);
            asked(&[Wanted::AppendOnly { path: "log".into(), record, garbage_tail }], None)
        };
        let again = |now: &Asked, before: &Asked| now.asks_again(Some(before), "append-only", "log");
        assert!(again(&log(None), &log(None)));
        assert!(!again(&log(Some(checker::GarbageTail::Dropped)), &log(None)));
        let again = |now, before| asked(&[], now).asks_again(Some(&asked(&[], before)), "check", ".");
        assert!(again(Some("a"), Some("a")) && !again(Some("b"), Some("a")) && !again(None, Some("a")));
        // The same of one file, by whichever way it is named.
        let durable =
            |path: Option<&str>| asked(&[Wanted::DurableAfter { ack: Ack::Exit, path: path.map(RelPath::from) }], None);
        assert!(durable(Some("f")).asks_again(Some(&durable(None)), "durable-after exit", "f"));
        assert!(durable(None).asks_again(Some(&durable(Some("f"))), "durable-after exit", "f"));
    }
}
