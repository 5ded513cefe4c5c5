//! Two runs compared: what is fixed, what is new.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    CellId, CellReport, Durable, ExitStatus, Explored, OTHER_FAILURES, ProcessReport, Report, Verdict, ViolationReport,
};

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

/// What makes a violation the same in two runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The workload, and the file system or the process crash.
    pub subject: Subject,
    /// The invariant, as [`checker::Invariant`] shows it.
    pub invariant: String,
    /// How it is broken, as the report names it.
    pub kind: String,
    /// The file, relative to the run's directory.
    pub path: String,
    /// Which failure of the workload's own check it is; missing in reports of older versions.
    pub cause: Option<String>,
}

impl Key {
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
    /// Violations that both runs have.
    pub unchanged: Vec<Key>,
    /// What only the earlier run has; its violations there are in no other list.
    pub only_before: Vec<Subject>,
    /// What only the later run has; its violations there are new.
    pub only_after: Vec<Subject>,
    /// What the earlier run covered fully, and the later one did not.
    pub no_longer_exhaustive: Vec<Subject>,
    /// What could be judged, and no longer can.
    pub no_longer_judged: Vec<Subject>,
    /// Where every file had a rule that was held against it, and some file has none any more.
    pub no_longer_ruled: Vec<Subject>,
    /// Where what the command wrote is durable once it has ended, and was not; nobody asked for that, so that no
    /// violation tells.
    pub now_durable: Vec<Subject>,
    /// Where it was durable and no longer is: told, and no violation.
    pub no_longer_durable: Vec<Subject>,
    /// Where it was not durable and still is not, though nobody asked.
    pub still_not_durable: Vec<Subject>,
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
        if was.ruled && !is.ruled {
            diff.no_longer_ruled.push(subject.clone());
        }
        // What is asked for shows as a violation, below.
        if !was.asks_for_durability() && !is.asks_for_durability() {
            match (was.durable, is.durable) {
                // That it is in fewer states proves nothing.
                (Durable::No, Durable::Yes) if diff.narrower.is_none() => diff.now_durable.push(subject.clone()),
                (Durable::Yes, Durable::No) => diff.no_longer_durable.push(subject.clone()),
                (Durable::No, Durable::No) => diff.still_not_durable.push(subject.clone()),
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
    /// Whether a rule was held against each file that was changed.
    ruled: bool,
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
        // Of a view, whatever it is called.
        let of_view = |name: &str| name.starts_with("view ") && name.ends_with(" after exit");
        self.violations.keys().any(|key| key.invariant == exit || of_view(&key.invariant))
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
            ruled: cell.unjudged.is_empty(),
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
        let ruled = killed.unjudged.is_empty();
        Self { exhaustive: judged, judged, ruled, durable, violations: violations.collect(), told: BTreeSet::new() }
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
                known.ruled &= outcome.ruled;
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
}
