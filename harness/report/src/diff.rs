//! Two runs compared: what is fixed, what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use crate::human::reproduce;
use crate::text::{OTHER_FAILURES, headline, many, tame};
use crate::{CellId, CellReport, Durable, ExitStatus, Explored, ProcessReport, Report, Verdict, ViolationReport};

/// What was tested, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The power failed: workload, file system and options.
    Power(CellId),
    /// The workload was killed while the kernel lived on.
    Process(String),
}

impl Subject {
    fn workload(&self) -> &str {
        match self {
            Self::Power(cell) => &cell.workload,
            Self::Process(workload) => workload,
        }
    }

    fn key(&self, invariant: &str, kind: checker::Kind, path: &str, cause: &Option<String>) -> Key {
        let (invariant, kind, path) = (invariant.into(), kind.to_string(), path.into());
        Key { subject: self.clone(), invariant, kind, path, cause: cause.clone() }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power(cell) => cell.fmt(f),
            Self::Process(workload) => write!(f, "{workload} killed"),
        }
    }
}

/// What makes a violation the same in two runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Where it was found.
    pub subject: Subject,
    /// The rule.
    pub invariant: String,
    /// How it is broken, as the report names it.
    pub kind: String,
    /// The file.
    pub path: String,
    /// Which failure of the workload's own check it is; missing in reports of older versions.
    pub cause: Option<String>,
}

impl Key {
    fn headline(&self) -> String {
        headline(&self.path, &self.kind, &self.invariant, self.cause.as_deref())
    }

    /// Whether this can be what another run calls `other`: a failure of a check is among the other failures there, or
    /// among all failures of a report that does not tell them apart.
    fn may_be(&self, other: &Key) -> bool {
        let cause = |key: &Key| key.cause.clone();
        let open = |key: &Key| key.cause.as_deref().is_none_or(|cause| cause == OTHER_FAILURES);
        let without = |key: &Key| Key { cause: None, ..key.clone() };
        without(self) == without(other) && (cause(self) == cause(other) || open(self) || open(other))
    }
}

/// Why a violation is not fixed, though the later run does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// What it breaks was not asked for again, as far as the later report tells.
    NotAsked,
    /// The later run was not about all the crash states of the earlier one, or nobody knows: see [`Diff::narrower`].
    Narrower,
    /// Not every state was covered, or the later run could not be judged.
    NotCovered,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAsked => "but the later run does not ask for that, as far as its report tells (see asked)",
            Self::Narrower => "but it is not known that the later run looked for it (see explored)",
            Self::NotCovered => "but not every state of this cell was covered and judged this time",
        })
    }
}

/// What differs between two runs. What could not be judged is neither a pass nor a violation: what was found there is in
/// no list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Violations of the later run alone, or for the first time in what could be judged, with their tokens: those after a
    /// power failure have one.
    pub new: Vec<(Key, Option<String>)>,
    /// Violations that the later run would have found, and did not: it asked for what they break, covered every state,
    /// all that the earlier one was about among them, and could be judged.
    pub fixed: Vec<Key>,
    /// Violations that the later run did not find, and might not have found: why.
    pub not_seen: Vec<(Key, Unseen)>,
    /// Violations of both.
    pub unchanged: Vec<Key>,
    /// What only the earlier run has; its violations there are in no other list.
    pub only_before: Vec<Subject>,
    /// What only the later run has; its violations there are new.
    pub only_after: Vec<Subject>,
    /// What the earlier run covered fully, and the later one did not.
    pub no_longer_exhaustive: Vec<Subject>,
    /// What could be judged, and no longer can.
    pub no_longer_judged: Vec<Subject>,
    /// Where what the command wrote is durable once it has ended, and was not; nobody asked for that, so that no
    /// violation tells.
    pub now_durable: Vec<Subject>,
    /// Where it was durable and no longer is: told, and no violation.
    pub no_longer_durable: Vec<Subject>,
    /// If the later run is not about all the crash states of file systems that the earlier one was about, or if a report
    /// of an older version does not tell: with which options they were explored, the earlier one first.
    pub narrower: Option<[Option<Explored>; 2]>,
}

/// Compares two runs.
pub fn diff(before: &Report, after: &Report) -> Diff {
    let (old, new) = (outcomes(before), outcomes(after));
    let mut diff = Diff { narrower: narrower(before, after), ..Diff::default() };
    let all: BTreeSet<&Subject> = old.keys().chain(new.keys()).collect();
    for subject in all {
        let (was, is) = match (old.get(subject), new.get(subject)) {
            (Some(was), Some(is)) => (was, is),
            (Some(_), None) => {
                diff.only_before.push(subject.clone());
                continue;
            }
            (None, Some(is)) => {
                diff.only_after.push(subject.clone());
                diff.new.extend(is.found().map(|(key, token)| (key.clone(), token.clone())));
                continue;
            }
            (None, None) => continue,
        };
        if was.exhaustive && !is.exhaustive {
            diff.no_longer_exhaustive.push(subject.clone());
        }
        if was.judged && !is.judged {
            diff.no_longer_judged.push(subject.clone());
        }
        // What is asked for shows as a violation, below.
        if !was.asks_for_durability() && !is.asks_for_durability() {
            match (was.durable, is.durable) {
                // That it is in fewer states proves nothing.
                (Durable::No, Durable::Yes) if diff.narrower.is_none() => diff.now_durable.push(subject.clone()),
                (Durable::Yes, Durable::No) => diff.no_longer_durable.push(subject.clone()),
                _ => {}
            }
        }
        for (key, token) in is.found() {
            if was.judged && was.has(key) {
                diff.unchanged.push(key.clone());
            } else {
                diff.new.push((key.clone(), token.clone()));
            }
        }
        // A program that is killed is killed at every point, whatever disks do.
        let all = diff.narrower.is_none() || matches!(subject, Subject::Process(_));
        for (key, _) in was.found().filter(|(key, _)| !is.judged || !is.has(key)) {
            let unseen = if is.told.iter().any(|told| told.may_be(key)) || !asks_again(before, after, key) {
                Unseen::NotAsked
            } else if !all {
                Unseen::Narrower
            } else if !is.exhaustive || !is.judged {
                Unseen::NotCovered
            } else {
                diff.fixed.push(key.clone());
                continue;
            };
            diff.not_seen.push((key.clone(), unseen));
        }
    }
    diff
}

/// What both explored, if the later run has not all crash states of the earlier one, or if nobody knows.
fn narrower(before: &Report, after: &Report) -> Option<[Option<Explored>; 2]> {
    if before.cells.is_empty() || after.cells.is_empty() {
        return None;
    }
    match (&before.explored, &after.explored) {
        (Some(was), Some(is)) if is.holds(was) => None,
        (None, None) => None,
        (was, is) => Some([was.clone(), is.clone()]),
    }
}

/// Whether the later run asks for what a violation of the earlier one breaks. Reports of older versions do not tell.
fn asks_again(before: &Report, after: &Report, key: &Key) -> bool {
    let [was, is] = [before, after].map(|run| run.asked.iter().find(|asked| asked.workload == key.subject.workload()));
    match (was, is) {
        (was, Some(is)) => is.asks_again(was, &key.invariant, &key.path),
        (None, None) => true,
        (Some(_), None) => false,
    }
}

/// What a run says of one subject.
struct Outcome {
    /// Whether every state was covered.
    exhaustive: bool,
    /// Whether it could be judged.
    judged: bool,
    /// Whether what the command wrote is durable once it has ended.
    durable: Durable,
    /// With their tokens.
    violations: BTreeMap<Key, Option<String>>,
    /// What is wrong and fails nothing, since nobody asked for it.
    told: BTreeSet<Key>,
}

impl Outcome {
    /// The violations, if it could be judged.
    fn found(&self) -> impl Iterator<Item = (&Key, &Option<String>)> {
        self.violations.iter().filter(|_| self.judged)
    }

    /// Whether a violation says that something is not durable after the exit.
    fn asks_for_durability(&self) -> bool {
        let exit = checker::Invariant::DurableAfter(checker::Ack::Exit).to_string();
        self.violations.keys().any(|key| key.invariant == exit)
    }

    /// Whether this was found, as far as the reports tell.
    fn has(&self, key: &Key) -> bool {
        self.violations.contains_key(key) || self.violations.keys().any(|known| known.may_be(key))
    }

    fn of_cell(cell: &CellReport) -> Self {
        let subject = Subject::Power(cell.id.clone());
        let key = |shown: &ViolationReport| subject.key(&shown.invariant, shown.kind, &shown.path, &shown.cause);
        Self {
            exhaustive: cell.exhaustive(),
            judged: cell.verdict() != Verdict::Invalid,
            durable: cell.durable_after_exit,
            violations: cell.violations.iter().map(|shown| (key(shown), Some(shown.token.clone()))).collect(),
            told: cell.not_durable.iter().chain(&cell.warnings).map(key).collect(),
        }
    }

    fn of_process(killed: &ProcessReport) -> Self {
        let subject = Subject::Process(killed.workload.clone());
        let violations = killed
            .violations
            .iter()
            .map(|shown| (subject.key(&shown.invariant, shown.kind, &shown.path, &shown.cause), None));
        // There is no budget: what can be judged was killed at every point.
        let judged = killed.verdict() != Verdict::Invalid;
        // What the kernel holds is not lost: that says nothing of disks.
        let durable = Durable::Unknown;
        Self { exhaustive: judged, judged, durable, violations: violations.collect(), told: BTreeSet::new() }
    }
}

/// By subject. One that a run has twice has covered what both have.
fn outcomes(report: &Report) -> BTreeMap<Subject, Outcome> {
    let cells = report.cells.iter().map(|cell| (Subject::Power(cell.id.clone()), Outcome::of_cell(cell)));
    let killed = report
        .process_crashes
        .iter()
        .map(|killed| (Subject::Process(killed.workload.clone()), Outcome::of_process(killed)));
    let mut outcomes: BTreeMap<Subject, Outcome> = BTreeMap::new();
    for (subject, outcome) in cells.chain(killed) {
        match outcomes.get_mut(&subject) {
            Some(known) => {
                known.exhaustive &= outcome.exhaustive;
                known.judged &= outcome.judged;
                known.durable = match (known.durable, outcome.durable) {
                    (Durable::No, _) | (_, Durable::No) => Durable::No,
                    (Durable::Yes, Durable::Yes) => Durable::Yes,
                    _ => Durable::Unknown,
                };
                known.violations.extend(outcome.violations);
                known.told.extend(outcome.told);
            }
            None => drop(outcomes.insert(subject, outcome)),
        }
    }
    outcomes
}

impl Diff {
    /// 1 if any violation is new.
    pub fn exit_status(&self) -> ExitStatus {
        if self.new.is_empty() { ExitStatus::Holds } else { ExitStatus::Violation }
    }

    /// For people: what is new first, and one line at the end that sums up. `results` is where tokens of the later run
    /// have to be looked for, if it is not where they are looked for by themselves.
    pub fn text(&self, results: Option<&Path>) -> String {
        let mut lines = Vec::new();
        let show = |key: &Key| format!("{}: {}", key.subject, key.headline());
        lines.extend(self.new.iter().map(|(key, token)| {
            let reproduce = token.as_ref().map_or_else(String::new, |token| format!(": {}", reproduce(token, results)));
            format!("new        {}{reproduce}", show(key))
        }));
        let lost = self.no_longer_durable.iter();
        lines.extend(lost.map(|cell| format!("new        {cell}: no longer durable after exit (which fails nothing)")));
        lines.extend(self.fixed.iter().map(|key| format!("fixed      {}", show(key))));
        lines.extend(self.now_durable.iter().map(|cell| format!("fixed      {cell}: now durable after exit")));
        lines.extend(self.not_seen.iter().map(|(key, why)| format!("not seen   {}; {why}", show(key))));
        if let Some([before, after]) = &self.narrower {
            let sets = [before, after].map(|run| run.as_ref().map(|run| run.set));
            let told = |run: &Option<Explored>| match run {
                None => "what its report does not tell".to_owned(),
                Some(run) if sets[0] == sets[1] => run.to_string(),
                Some(run) => format!("{run}, the schedules of set {}", run.set),
            };
            lines.push(format!("explored   the earlier run: {}", told(before)));
            lines.push(format!("explored   the later run: {}", told(after)));
        }
        lines.extend(self.unchanged.iter().map(|key| format!("unchanged  {}", show(key))));
        for (cells, what) in [
            (&self.only_before, "is in the earlier results only"),
            (&self.only_after, "is in the later results only"),
            (&self.no_longer_exhaustive, "is no longer exhaustive"),
            (&self.no_longer_judged, "can no longer be judged"),
        ] {
            lines.extend(cells.iter().map(|cell| format!("cell       {cell} {what}")));
        }
        let mut sum = format!(
            "{} new, {} fixed, {} unchanged",
            many(self.new.len(), "violation"),
            self.fixed.len(),
            self.unchanged.len()
        );
        if !self.not_seen.is_empty() {
            sum.push_str(&format!(", {} not seen", self.not_seen.len()));
        }
        for (cells, what) in [(&self.now_durable, "now durable"), (&self.no_longer_durable, "no longer durable")] {
            if !cells.is_empty() {
                sum.push_str(&format!(", {} {what}", cells.len()));
            }
        }
        lines.push(sum);
        lines.iter().map(|line| tame(line) + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use checker::Wanted;

    use super::*;
    use crate::testing::{
        self, bare_violation, cell, explored, incomplete, invalid, killed, killed_and_violated, violated, violation,
    };
    use crate::{Asked, Tear, ViolationReport};

    fn compare(before: &[CellReport], after: &[CellReport]) -> Diff {
        diff(&Report::new(before.to_vec()), &Report::new(after.to_vec()))
    }

    #[test]
    fn a_run_compared_with_itself() {
        let cells = [violated("ext4"), incomplete("xfs"), invalid("btrfs")];
        let diff = compare(&cells, &cells);
        assert_eq!(diff, Diff { unchanged: diff.unchanged.clone(), ..Diff::default() });
        assert_eq!(diff.exit_status(), ExitStatus::Holds);
    }

    #[test]
    fn only_a_cell_that_was_covered_and_judged_can_fix() {
        let fixed = compare(&[violated("ext4")], &[cell("ext4")]);
        assert_eq!((fixed.fixed.len(), fixed.not_seen.len()), (1, 0));
        for after in [incomplete("ext4"), invalid("ext4")] {
            let diff = compare(&[violated("ext4")], &[after]);
            assert_eq!((diff.fixed.len(), diff.not_seen.len()), (0, 1));
        }
        assert_eq!(compare(&[violated("ext4")], &[]).fixed, []);
    }

    /// A run that looks at less finds less.
    #[test]
    fn only_a_run_that_looks_at_as_much_can_fix() {
        let run = |cell, tear, schedules| Report {
            explored: Some(Explored { tear, schedules, ..explored() }),
            ..Report::new(vec![cell])
        };
        let before = run(violated("ext4"), Tear::One, 1);
        for (tear, schedules) in [(Tear::One, 1), (Tear::Any, 1), (Tear::One, 2)] {
            let diff = diff(&before, &run(cell("ext4"), tear, schedules));
            assert_eq!((diff.fixed.len(), diff.not_seen.len(), diff.narrower), (1, 0, None));
        }
        let less = diff(&before, &run(cell("ext4"), Tear::None, 1));
        assert_eq!((less.fixed.len(), less.not_seen.len()), (0, 1));
        insta::assert_snapshot!(less.text(None));
        let of_set = |set, cell| Report { explored: Some(Explored { set, ..explored() }), ..Report::new(vec![cell]) };
        let other = diff(&of_set(1, violated("ext4")), &of_set(2, cell("ext4")));
        assert_eq!((other.fixed.len(), other.not_seen.len()), (0, 1));
        assert!(other.text(None).contains(
            "the later run: --disk writeback --sector 512 --tear one --schedules 1, the schedules of set 2\n"
        ));
        let unknown = diff(&before, &Report::new(vec![cell("ext4")]));
        assert_eq!((unknown.fixed.len(), unknown.not_seen.len()), (0, 1));
        let killed = |killed| Report { process_crashes: vec![killed], ..run(cell("ext4"), Tear::One, 1) };
        let after = Report { process_crashes: vec![testing::killed("saver")], ..run(cell("ext4"), Tear::None, 1) };
        let fixed = diff(&killed(killed_and_violated("saver")), &after);
        assert_eq!((fixed.fixed.len(), fixed.not_seen.len()), (1, 0));
    }

    /// Whoever deletes an invariant has mended nothing.
    #[test]
    fn only_a_run_that_asks_for_as_much_can_fix() {
        let atomic = |path: &str| Wanted::AtomicReplace { path: path.into() };
        let asking = |cell: CellReport, invariants: &[Wanted]| {
            let workload = cell.id.workload.clone();
            let asked = vec![Asked { workload, invariants: invariants.to_vec(), check: None }];
            Report { asked, ..Report::new(vec![cell]) }
        };
        let before = asking(violated("ext4"), &[atomic("config.json"), atomic("other")]);
        for asked in [&[atomic("config.json")][..], &[]] {
            let diff = diff(&before, &asking(cell("ext4"), asked));
            assert_eq!((diff.fixed.len(), diff.not_seen.len()), (1, 0), "{asked:?}");
        }
        let less = diff(&before, &asking(cell("ext4"), &[atomic("other")]));
        assert_eq!((less.fixed.len(), less.not_seen.len()), (0, 1));
        insta::assert_snapshot!(less.text(None));
        let unknown = diff(&before, &Report::new(vec![cell("ext4")]));
        assert_eq!((unknown.fixed.len(), unknown.not_seen.len()), (0, 1));
        // A report of an older version can be compared with, and what the later one asks for can be fixed.
        let older = Report::new(vec![violated("ext4")]);
        assert_eq!(diff(&older, &asking(cell("ext4"), &[atomic("config.json")])).fixed.len(), 1);
        assert_eq!(diff(&older, &asking(cell("ext4"), &[atomic("other")])).fixed.len(), 0);
        let killed = |killed, invariants: &[Wanted]| Report {
            process_crashes: vec![killed],
            ..asking(cell("ext4"), invariants)
        };
        let workload = &cell("ext4").id.workload;
        let before = killed(killed_and_violated(workload), &[atomic("config.json")]);
        let after = |asked: &[Wanted]| diff(&before, &killed(testing::killed(workload), asked)).fixed.len();
        assert_eq!((after(&[atomic("config.json")]), after(&[atomic("other")])), (1, 0));
    }

    /// What is still found, though nobody asks for it any more, is not fixed, whatever reports do not tell.
    #[test]
    fn what_is_still_told_is_not_fixed() {
        let before = CellReport { violations: vec![bare_violation()], ..cell("ext4") };
        let not_durable = CellReport { not_durable: vec![bare_violation()], ..cell("ext4") };
        let warned = CellReport { warnings: vec![bare_violation()], ..cell("ext4") };
        for after in [not_durable, warned] {
            let diff = compare(std::slice::from_ref(&before), &[after]);
            assert_eq!((diff.fixed, diff.not_seen[0].1), (vec![], Unseen::NotAsked));
        }
    }

    /// The second mend, an fsync of the directory, mends no violation that anyone asked for.
    #[test]
    fn durability_counts_and_fails_nothing() {
        let with = |durable_after_exit| CellReport { durable_after_exit, ..cell("ext4") };
        let [no, yes, unknown] = [Durable::No, Durable::Yes, Durable::Unknown].map(with);
        let [one, other] = [&no, &yes].map(std::slice::from_ref);
        let (better, worse) = (compare(one, other), compare(other, one));
        assert_eq!((better.exit_status(), worse.exit_status()), (ExitStatus::Holds, ExitStatus::Holds));
        let sum = "0 violations new, 0 fixed, 0 unchanged";
        let fixed = format!("fixed      naive_config on ext4: now durable after exit\n{sum}, 1 now durable\n");
        assert_eq!(better.text(None), fixed);
        let new = "new        naive_config on ext4: no longer durable after exit (which fails nothing)";
        assert_eq!(worse.text(None), format!("{new}\n{sum}, 1 no longer durable\n"));
        for other in [&unknown, &no] {
            assert_eq!(compare(one, std::slice::from_ref(other)), Diff::default());
        }
        assert_eq!(compare(other, std::slice::from_ref(&unknown)), Diff::default());
        // Fewer states prove nothing.
        let run = |cell: &CellReport, tear| Report {
            explored: Some(Explored { tear, ..explored() }),
            ..Report::new(vec![cell.clone()])
        };
        assert_eq!(diff(&run(&no, Tear::One), &run(&yes, Tear::None)).now_durable, []);
        assert_eq!(diff(&run(&no, Tear::One), &run(&yes, Tear::Any)).now_durable.len(), 1);
        // What is asked for is a violation, and told once.
        let asked = CellReport { violations: vec![bare_violation()], ..no.clone() };
        let [asked, yes] = [&asked, &yes].map(std::slice::from_ref);
        assert_eq!(compare(asked, yes).text(None).lines().count(), 2);
        assert_eq!(compare(yes, asked).text(None).lines().count(), 2);
    }

    /// One fault of two that is mended is fixed, though the check still fails.
    #[test]
    fn failures_of_a_check_are_compared_by_their_causes() {
        let failing = |causes: &[Option<&str>]| {
            let failure = |cause: &Option<&str>| ViolationReport {
                invariant: "check".into(),
                kind: checker::Kind::CheckFailed,
                path: ".".into(),
                cause: cause.map(str::to_owned),
                ..bare_violation()
            };
            [CellReport { violations: causes.iter().map(failure).collect(), ..cell("ext4") }]
        };
        let counts = |before: &[Option<&str>], after: &[Option<&str>]| {
            let diff = compare(&failing(before), &failing(after));
            (diff.new.len(), diff.fixed.len(), diff.unchanged.len())
        };
        let (one, two, others) = (Some("exit 11: one"), Some("exit 22: two"), Some(OTHER_FAILURES));
        assert_eq!(counts(&[one, two], &[two]), (0, 1, 1));
        assert_eq!(counts(&[one], &[two]), (1, 1, 0));
        // Where a report does not tell them apart, nobody knows.
        assert_eq!(counts(&[None], &[one, two]), (0, 0, 2));
        assert_eq!(counts(&[one, two], &[None]), (0, 0, 1));
        assert_eq!(counts(&[one, others], &[two]), (0, 1, 1));
        assert_eq!(counts(&[one, two], &[two, others]), (0, 0, 2));
        insta::assert_snapshot!(compare(&failing(&[one, two]), &failing(&[two])).text(None));
    }

    /// It is neither a pass nor a violation.
    #[test]
    fn what_cannot_be_judged_is_no_violation() {
        let both = CellReport { violations: vec![violation(), bare_violation()], ..invalid("ext4") };
        let diff = compare(&[violated("ext4")], std::slice::from_ref(&both));
        assert_eq!((diff.new.len(), diff.unchanged.len(), diff.not_seen.len()), (0, 0, 1));
        assert_eq!((diff.no_longer_judged.len(), diff.exit_status()), (1, ExitStatus::Holds));
        insta::assert_snapshot!(diff.text(None));
        let diff = compare(&[], &[both]);
        assert_eq!((diff.new.len(), diff.only_after.len(), diff.exit_status()), (0, 1, ExitStatus::Holds));
        let failed = ProcessReport { failure: Some("no".into()), ..killed_and_violated("saver") };
        let run = |killed| Report::with_process_crashes(vec![], vec![killed]);
        assert_eq!(super::diff(&run(killed("saver")), &run(failed)).exit_status(), ExitStatus::Holds);
    }

    /// What was shown there was no violation: it cannot be fixed, and nobody has failed for it before.
    #[test]
    fn what_could_not_be_judged_was_no_violation() {
        let before = CellReport { violations: vec![violation()], ..invalid("ext4") };
        let diff = compare(std::slice::from_ref(&before), &[violated("ext4")]);
        assert_eq!((diff.new.len(), diff.unchanged.len(), diff.exit_status()), (1, 0, ExitStatus::Violation));
        for after in [cell("ext4"), before.clone()] {
            assert_eq!(compare(std::slice::from_ref(&before), &[after]), Diff::default());
        }
        let failed = ProcessReport { failure: Some("no".into()), ..killed_and_violated("saver") };
        let run = |killed| Report::with_process_crashes(vec![], vec![killed]);
        assert_eq!(super::diff(&run(failed.clone()), &run(killed_and_violated("saver"))).new.len(), 1);
        assert_eq!(super::diff(&run(failed), &run(killed("saver"))), Diff::default());
    }

    #[test]
    fn commands_find_the_results_that_were_compared() {
        let worse = compare(&[cell("ext4")], &[violated("ext4")]).text(Some(Path::new("my results")));
        assert!(worse.contains(": harness reproduce cc1-7f3k-9a --results 'my results'\n"), "{worse}");
    }

    #[test]
    fn another_option_is_another_cell() {
        let diff = compare(&[violated("ext4")], &[violated("ext4:noauto_da_alloc")]);
        assert_eq!((diff.new.len(), diff.only_before.len(), diff.only_after.len()), (1, 1, 1));
        assert_eq!(diff.exit_status(), ExitStatus::Violation);
    }

    /// A program that loses more than before when it is killed is worse than before.
    #[test]
    fn process_crashes_count() {
        let run = |killed: &[ProcessReport]| Report::with_process_crashes(vec![cell("ext4")], killed.to_vec());
        let (held, lost) = (killed("saver"), killed_and_violated("saver"));
        let worse = diff(&run(std::slice::from_ref(&held)), &run(std::slice::from_ref(&lost)));
        assert_eq!((worse.new.len(), worse.exit_status()), (1, ExitStatus::Violation));
        insta::assert_snapshot!(worse.text(None));
        let better = diff(&run(std::slice::from_ref(&lost)), &run(&[held]));
        assert_eq!((better.fixed.len(), better.exit_status()), (1, ExitStatus::Holds));
        let failed = ProcessReport { failure: Some("no".into()), violations: vec![], ..lost.clone() };
        let unknown = diff(&run(std::slice::from_ref(&lost)), &run(&[failed]));
        assert_eq!((unknown.not_seen.len(), unknown.no_longer_judged.len()), (1, 1));
        assert_eq!(diff(&run(&[]), &run(&[lost])).exit_status(), ExitStatus::Violation);
    }

    #[test]
    fn every_kind_of_line_side_by_side() {
        let with = |fs, violations| CellReport { violations, ..cell(fs) };
        let before = [
            with("ext4", vec![violation(), ViolationReport { path: "other".into(), ..violation() }]),
            violated("xfs"),
            cell("btrfs"),
            cell("xfs:ro"),
        ];
        let after =
            [with("ext4", vec![violation(), bare_violation()]), incomplete("xfs"), invalid("btrfs"), cell("f2fs")];
        insta::assert_snapshot!(compare(&before, &after).text(None));
    }
}
