//! One cell: a recorded workload on one file system. What is done in which order, and what it comes to.
//!
//! Whoever asks gets the next piece of work: make the start state, execute a schedule, visit some branches of an epoch's
//! tree of decisions, look at the shown states once more. Any number of workers can ask. What the cell comes to does
//! not depend on how many there are, nor on who is faster: executions are admitted to the [`Exploration`] in the order of
//! schedules, and that keeps the rest of the promise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use checker::{Hint, Observed};
use explore::{Answer, BrokenPartition, Exploration, Spending};
use filesystems::Filesystem;
use report::{CellId, ProgressReport, Verdict};
use storage::{Contents, DiskModel, Image, Recovery};

use crate::spec::{Budget, RunSpec};
use crate::subject::Subject;
use crate::tally::{Example, Tally, Violation, ViolationKey};
use crate::unit::{Executed, ToVisit, Unit};

/// What the disks were given in all executions of a run that are explored together, bytes: they are held in memory. Cells
/// share this evenly, whatever each needs: how it is explored must not depend on how far others are.
const HELD: usize = 1 << 30;

/// What a cell may hold in any case: of a run with very many cells, only as many as there are workers are at work.
const HELD_AT_LEAST: usize = 128 << 20;

/// How many executions may be done before their turn, so that workers need not wait for the slowest.
const AHEAD: usize = 8;

/// A workload on a file system, and how far it has been explored.
pub struct Cell {
    /// Its place in the report.
    pub index: usize,
    /// The workload's name, the file system and its options, as reports name the cell.
    pub id: CellId,
    /// The recorded workload.
    pub subject: Arc<Subject>,
    /// The file system, and how it is made and mounted.
    pub filesystem: Filesystem,
    /// The disk model under that file system.
    pub model: DiskModel,
    /// Bytes that are not torn because the file system relies on it, if that is more than was asked for.
    pub assumed_atomic: Option<u32>,
    /// Whether the machine may crash again while it recovers.
    pub recovery_crashes: bool,
    /// How many of the schedules, from the first, are executed at all: the others count as not explored.
    until: usize,
    /// How many bytes of executions it may hold at once, unless one alone has more.
    may_hold: usize,
    /// The cell whose rules this one tries out, if it does ([`crate::teeth`]).
    tries: Option<Arc<Cell>>,
    state: Mutex<Progress>,
}

struct Progress {
    preparing: bool,
    base: Option<Arc<Image>>,
    exploration: Exploration<Unit, ViolationKey, Example>,
    executions: Executions,
    /// The contents of what recoveries wrote, each once.
    contents: Contents,
    /// What was seen when the shown states were looked at once more.
    seen: BTreeMap<ViolationKey, Seen>,
    /// Schedules that showed anything which those before them had not.
    new: u64,
    failure: Option<String>,
    machine: Option<(String, String)>,
    confirming: bool,
    finished: bool,
    verdict: Option<Verdict>,
}

/// Where the executions are. How many have had their turn, the exploration knows.
#[derive(Default)]
struct Executions {
    /// The next to be given.
    next: usize,
    /// Those that have come back before their turn.
    arrived: BTreeMap<usize, Executed>,
    /// Bytes of those that are explored together.
    held: usize,
    /// Whether the next must wait until these are explored.
    full: bool,
}

/// A piece of work.
#[derive(Debug)]
pub enum Job {
    /// Make the durable start state.
    Prepare,
    /// Execute this schedule, from this start state.
    Execute(usize, Arc<Image>),
    /// Visit these branches.
    Enter(Vec<ToVisit>),
    /// Look at the states that are to be shown, each by itself.
    Confirm(Vec<(ViolationKey, Violation, Arc<Unit>)>),
}

/// What a worker learns when it asks a cell for work.
#[derive(Debug)]
pub enum Ask {
    /// There is work: this.
    Job(Job),
    /// Nothing now; there may be something when another worker is done.
    Later,
    /// There is no more work, and never will be.
    Nothing,
}

/// What the visit of one branch came to.
#[derive(Debug)]
pub struct Entered {
    /// That.
    pub answer: Answer<Unit>,
    /// What the guest wrote while it recovered, if that is to be explored too.
    pub recovery: Option<Recovery>,
}

impl Cell {
    /// A cell that has not begun: `subject` on `filesystem`, explored as `spec` says.
    pub fn new(index: usize, subject: Arc<Subject>, filesystem: Filesystem, spec: &RunSpec) -> Self {
        let id = CellId {
            workload: subject.name.clone(),
            fs: filesystem.kind.name.into(),
            mount_options: filesystem.options.clone(),
            mkfs_options: filesystem.mkfs.clone(),
        };
        let RunSpec { budget, recovery_crashes, seed, .. } = *spec;
        let state = Mutex::new(Progress::new(Exploration::new(seed, budget)));
        let until = subject.scheduled(&filesystem).chosen;
        let model = spec.model(filesystem.kind);
        let atomic = filesystem.kind.atomic;
        let assumed_atomic = (atomic > u32::from(spec.sector)).then_some(atomic);
        let (may_hold, tries) = (HELD, None);
        Self { index, id, subject, filesystem, model, assumed_atomic, recovery_crashes, until, may_hold, tries, state }
    }

    /// The same, as one that tries out the rules of another: it begins when that one has passed, and ends at the first
    /// violation.
    pub fn trying(self, other: Arc<Cell>) -> Self {
        Self { tries: Some(other), ..self }
    }

    /// The cell whose rules it tries out, if it does: it is no cell of the report then.
    pub fn tried(&self) -> Option<&Arc<Cell>> {
        self.tries.as_ref()
    }

    /// Takes in what the finished cell came to.
    pub fn concluded(&self, verdict: Verdict) {
        self.state().verdict = Some(verdict);
    }

    /// Whether it has come to a pass; `None` as long as that is not known.
    pub fn has_passed(&self) -> Option<bool> {
        self.state().verdict.map(|verdict| verdict == Verdict::Pass)
    }

    /// The same, as one of so many cells of a run: they share the memory.
    pub fn among(self, cells: usize) -> Self {
        Self { may_hold: (HELD / cells.max(1)).max(HELD_AT_LEAST), ..self }
    }

    /// The same without any budget, and with no schedules but those before `until`.
    pub fn up_to(self, until: usize) -> Self {
        self.state().exploration.spending = Spending::new(Budget::default());
        Self { until, ..self }
    }

    fn state(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has begun to prepare it.
    pub fn is_new(&self) -> bool {
        let state = self.state();
        !state.preparing && state.failure.is_none()
    }

    /// The next piece of work. Whatever is given must be answered by [`Cell::prepared`], [`Cell::executed`],
    /// [`Cell::entered`], [`Cell::confirmed`] or [`Cell::failed`].
    pub fn ask(&self) -> Ask {
        if let Some(tried) = &self.tries {
            match tried.has_passed() {
                None => return Ask::Later,
                Some(false) => return Ask::Nothing,
                Some(true) => {}
            }
        }
        let mut state = self.state();
        let state = &mut *state;
        if state.failure.is_some() || state.finished {
            return Ask::Nothing;
        }
        let Some(base) = state.base.clone() else {
            if state.preparing {
                return Ask::Later;
            }
            state.preparing = true;
            state.exploration.spending.begin();
            return Ask::Job(Job::Prepare);
        };
        let is_settled = self.tries.is_some() && state.is_violated();
        if !is_settled && state.exploration.may_begin(state.exploration.admitted() < self.until) {
            self.pass_over(state);
            self.next_round(state);
            // Which schedules were executed before a budget of mounts was spent must not depend on who was faster.
            let entries =
                if state.has_budget_of_mounts() && !self.is_all(state) { vec![] } else { state.exploration.take() };
            if !entries.is_empty() {
                state.exploration.spending.begin();
                return Ask::Job(Job::Enter(entries));
            }
            let (admitted, executions) = (state.exploration.admitted(), &mut state.executions);
            if executions.next < self.until && !executions.full && executions.next < admitted + AHEAD {
                executions.next += 1;
                state.exploration.spending.begin();
                return Ask::Job(Job::Execute(executions.next - 1, base));
            }
        }
        if state.exploration.spending.is_running() {
            return Ask::Later;
        }
        if !state.confirming {
            state.confirming = true;
            state.exploration.tally.fold();
            let shown = if self.tries.is_none() { state.shown() } else { Vec::new() };
            if !shown.is_empty() {
                state.exploration.spending.begin();
                return Ask::Job(Job::Confirm(shown));
            }
        }
        Ask::Nothing
    }

    /// Whether all executions that are to be explored together are there.
    fn is_all(&self, state: &Progress) -> bool {
        state.exploration.admitted() == self.until || state.executions.full
    }

    /// Takes the next schedules for done that are implied by others.
    fn pass_over(&self, state: &mut Progress) {
        while state.executions.next < self.until
            && self.subject.is_implied(state.executions.next, &self.filesystem, &self.model)
        {
            let implied = Executed::implied(state.executions.next, &self.model);
            state.executions.arrived.insert(state.executions.next, implied);
            state.executions.next += 1;
            state.admit(self.may_hold);
        }
    }

    /// Begins the next round if this one is over.
    fn next_round(&self, state: &mut Progress) {
        // Executions may be under way: those that come after the ones which are explored now change nothing.
        if !self.is_all(state) || state.exploration.is_under_way() {
            return;
        }
        if state.exploration.next_round() || !state.executions.full {
            return;
        }
        state.executions.held = 0;
        state.executions.full = false;
        state.admit(self.may_hold);
    }

    /// Whether the time is over: what was given and is not begun need not be done.
    pub fn is_late(&self) -> bool {
        self.state().exploration.spending.is_late()
    }

    /// The start state is there.
    pub fn prepared(&self, base: Image, machine: &str, kernel: &str) {
        let mut state = self.state();
        state.exploration.spending.end();
        state.base = Some(Arc::new(base));
        state.machine = Some((machine.into(), kernel.into()));
    }

    /// Takes in an execution.
    pub fn executed(&self, executed: Executed) {
        let mut state = self.state();
        let state = &mut *state;
        state.exploration.spending.end();
        state.executions.arrived.insert(executed.schedule, executed);
        state.admit(self.may_hold);
    }

    /// Branches were visited; `tally` is what they came to. Those that are missing were left when the time was over.
    pub fn entered(&self, entered: Vec<Entered>, tally: Tally) {
        let mut state = self.state();
        let state = &mut *state;
        state.exploration.spending.end();
        state.exploration.tally.merge(tally);
        for Entered { answer, recovery } in entered {
            if let Some(mut recovery) = recovery {
                state.contents.share(&mut recovery.log);
                let Answer { to_visit, violates, .. } = &answer;
                let units = to_visit.unit.recovery_crashes(to_visit.branch.key, recovery);
                let units = units.into_iter().map(|unit| move |index| Unit { index, ..unit });
                state.exploration.begin_recovery_crashes(to_visit, units, *violates);
            }
            if let Err(broken) = state.exploration.visited(answer) {
                // Say so rather than believe any number.
                let BrokenPartition { unit, covered, allowed } = broken;
                let (schedule, epoch) = (unit.executed.schedule, unit.epoch);
                let reason = format!(
                    "a defect of the harness: the classes of schedule {schedule}, epoch {epoch} hold {covered} states, \
                     the disk model allows {allowed}"
                );
                state.failure.get_or_insert(reason);
                return;
            }
        }
        state.exploration.forget();
    }

    /// Nobody has visited a branch that was given, and nobody will: its states stay uncovered.
    pub fn left(&self) {
        self.state().exploration.leave();
    }

    /// The states that are shown were looked at again: what there is to say of each, or why it does not show what it
    /// should.
    pub fn confirmed(&self, looked: Vec<(ViolationKey, Result<Seen, String>)>) {
        let mut state = self.state();
        state.exploration.spending.end();
        for (key, looked) in looked {
            match looked {
                Ok(seen) => drop(state.seen.insert(key, seen)),
                Err(wrong) => drop(state.failure.get_or_insert_with(|| format!("a defect of the harness: {wrong}"))),
            }
        }
    }

    /// Whether nobody has asked this of this kind of violation before.
    pub fn is_news(&self, kind: &ViolationKey) -> bool {
        self.state().exploration.is_news(kind)
    }

    /// The cell cannot be judged: the answer to a piece of work that came to nothing.
    pub fn failed(&self, reason: String) {
        let mut state = self.state();
        state.exploration.spending.end();
        state.failure.get_or_insert(reason);
    }

    /// The cell could not be judged when it was explored, for this reason.
    pub fn failed_before(&self, reason: String) {
        self.state().failure.get_or_insert(reason);
    }

    /// Whether this call is the first that finds the cell done: no work left, none under way.
    pub fn finish(&self) -> bool {
        let mut state = self.state();
        let over = state.failure.is_some() || state.confirming;
        if state.finished || state.exploration.spending.is_running() || !over {
            return false;
        }
        state.finished = true;
        true
    }

    /// How many schedules, crash states and mounts are done.
    pub fn progress(&self) -> ProgressReport {
        let state = self.state();
        let tally = &state.exploration.tally;
        ProgressReport {
            schedules_done: state.exploration.admitted() as u64,
            schedules_total: self.subject.scheduled(&self.filesystem).chosen as u64,
            states_covered: tally.covered.clone(),
            states_allowed: tally.allowed.clone(),
            mounts: tally.visits,
            violations: tally.violations.keys().filter(|key| !key.informational).count(),
        }
    }

    /// Everything that the cell came to. Call once, at the end.
    pub fn result(&self) -> CellResult {
        let mut state = self.state();
        let Progress { exploration, .. } = &mut *state;
        exploration.tally.fold();
        CellResult {
            explored: exploration.explored(),
            executed: exploration.admitted() as u64,
            spent: exploration.spending.ran_out(),
            tally: std::mem::take(&mut exploration.tally),
            units: std::mem::take(&mut exploration.shown),
            seen: std::mem::take(&mut state.seen),
            new: state.new,
            machine: state.machine.clone(),
            failure: state.failure.clone(),
        }
    }
}

impl Progress {
    fn new(exploration: Exploration<Unit, ViolationKey, Example>) -> Self {
        Self {
            preparing: false,
            base: None,
            exploration,
            executions: Executions::default(),
            contents: Contents::default(),
            seen: BTreeMap::new(),
            new: 0,
            failure: None,
            machine: None,
            confirming: false,
            finished: false,
            verdict: None,
        }
    }

    fn is_violated(&self) -> bool {
        self.exploration.tally.violations.keys().any(|key| !key.informational)
    }

    fn has_budget_of_mounts(&self) -> bool {
        self.exploration.spending.budget().mounts.is_some()
    }

    /// Admits the executions whose turn it is, if there is room, and mounts enough to visit at least what they begin with.
    fn admit(&mut self, may_hold: usize) {
        let mounts = self.exploration.spending.budget().mounts;
        while let Some(next) = self.executions.arrived.first_entry() {
            let held = self.executions.held + next.get().bytes();
            if *next.key() != self.exploration.admitted() {
                return;
            }
            let beyond = mounts.is_some_and(|most| self.exploration.units() as u64 >= most);
            if beyond || (self.executions.held > 0 && held > may_hold) {
                self.executions.full = true;
                return;
            }
            let executed = Arc::new(next.remove());
            self.executions.held = held;
            self.new += u64::from(self.exploration.admit(&executed));
        }
    }

    fn shown(&self) -> Vec<(ViolationKey, Violation, Arc<Unit>)> {
        let Exploration { tally, shown, .. } = &self.exploration;
        let with_unit = |(key, violation): (&ViolationKey, &Violation)| {
            let unit = shown.get(&violation.example.place.unit)?;
            Some((key.clone(), violation.clone(), unit.clone()))
        };
        tally.violations.iter().filter_map(with_unit).collect()
    }
}

/// What the confirming look at a shown state has to say beyond what its equivalence class showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the file holds, read whole: in place of what its class showed.
    pub observed: Option<Observed>,
    /// What to advise, where it takes a look at all files to know.
    pub hint: Option<Hint>,
}

/// What a cell came to, before it is put into a report.
#[derive(Debug, Default)]
pub struct CellResult {
    /// Machine and kernel; `None` if it never got one.
    pub machine: Option<(String, String)>,
    /// Schedules explored to their end.
    pub explored: u64,
    /// Schedules executed, whose states are known.
    pub executed: u64,
    /// Schedules that showed anything which those before them had not.
    pub new: u64,
    /// The counts of states, and the violations.
    pub tally: Tally,
    /// What was seen when the shown states were looked at once more.
    pub seen: BTreeMap<ViolationKey, Seen>,
    /// The units that violations are shown from.
    pub units: BTreeMap<explore::Key, Arc<Unit>>,
    /// Why it cannot be judged.
    pub failure: Option<String>,
    /// Whether the budget ran out.
    pub spent: bool,
}

#[cfg(test)]
mod tests;
