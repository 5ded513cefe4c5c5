//! What tells violations apart, and which of many crash states is shown for one: pure. They are added up by
//! [`explore::Tally`].

use checker::{CrashWindow, Finding, Invariant, Kind, Observed, Output};
use explore::{Distinct, Ranked};
use program::RelPath;
use storage::{Fates, State};

use crate::cause::Cause;

/// All crash states of a machine whose power fails that break one invariant in one way.
pub type Violation = explore::Violation<Example>;
/// What was found where the power fails.
pub type Tally = explore::Tally<ViolationKey, Example>;

/// One way in which an invariant is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViolationKey {
    /// Whether it fails the run: first, so that what does comes first.
    pub informational: bool,
    /// The file that is not as it should be.
    pub path: RelPath,
    /// The invariant that is broken.
    pub invariant: Invariant,
    /// How it is broken.
    pub kind: Kind,
    /// Which failure of the workload's own check it is.
    pub cause: Cause,
}

impl ViolationKey {
    /// What a finding is an example of.
    pub fn of(finding: &Finding) -> Self {
        let Finding { invariant, kind, path, fails, .. } = finding;
        let (path, invariant, cause) = (path.clone(), invariant.clone(), Cause::of(finding));
        Self { informational: !fails, path, invariant, kind: *kind, cause }
    }
}

impl Distinct for ViolationKey {
    fn variant(&self) -> Option<&str> {
        match &self.cause {
            Cause::Failure(text) => Some(text),
            Cause::None | Cause::Others => None,
        }
    }

    fn is_alike(&self, other: &Self) -> bool {
        let Self { informational, path, invariant, kind, cause: _ } = self;
        (informational, path, invariant, kind) == (&other.informational, &other.path, &other.invariant, &other.kind)
    }

    fn others(&self) -> Self {
        Self { cause: Cause::Others, ..self.clone() }
    }
}

/// Where an equivalence class was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundAt {
    /// The key of the exploration unit.
    pub unit: explore::Key,
    /// Whether the machine crashed again while it recovered.
    pub recovery_crash: bool,
    /// How many injections the schedule counts as.
    pub injections: u32,
    /// Index into the subject's schedules.
    pub schedule: usize,
    /// Index of the epoch in that schedule's log.
    pub epoch: usize,
}

/// An equivalence class that shows a violation: the one that is shown of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The epoch in which it was found.
    pub place: FoundAt,
    /// The state, of the equivalence class, that lost the fewest writes.
    pub state: State,
    /// When the states of that class can occur.
    pub window: CrashWindow,
    /// What was seen.
    pub observed: Observed,
    /// What the workload's own check printed, if it is what found fault.
    pub output: Option<Output>,
}

impl Example {
    /// The equivalence class as an example of what was found in it, at `place`.
    pub fn of(finding: &Finding, class: &Fates, place: FoundAt, window: CrashWindow) -> Self {
        let output = finding.check.as_ref().map(|check| check.output.clone());
        Self { place, state: class.fewest_lost(), window, observed: finding.observed.clone(), output }
    }
}

impl Ranked for Example {
    /// One crash only, fewer injections, fewer lost writes, an earlier schedule and epoch.
    fn rank(&self) -> impl Ord {
        let State { lost, torn, lost_units } = &self.state;
        let FoundAt { unit, recovery_crash, injections, schedule, epoch } = self.place;
        let losses = lost.len() + torn.len() + lost_units.len();
        (recovery_crash, injections, losses, schedule, epoch, &self.state, unit)
    }

    fn unit(&self) -> &explore::Key {
        &self.place.unit
    }
}
