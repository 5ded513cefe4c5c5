//! One cell: a recorded workload on one file system. What is done in which order, and what it comes to.
//!
//! Whoever asks gets the next piece of work: make the start state, replay a schedule, enter some branches of an epoch's
//! tree of decisions, look at the shown states once more. Any number of workers can ask. What the cell comes to does
//! not depend on how many there are, nor on who is faster:
//!
//! - replays are admitted in the order of schedules, and an epoch belongs to the first of them that has it;
//! - branches are entered in rounds. A round is put in order when it begins, and nothing of the next is begun before it
//!   is over, so that a budget of mounts always cuts at the same place;
//! - sums do not depend on the order of their terms.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use explore::{Branch, Frontier};
use filesystems::Filesystem;
use num_bigint::BigUint;
use report::{CellId, ProgressReport};
use storage::{Contents, DiskModel, Image, Recovery};

use crate::cause::{Cause, TOLD_APART};
use crate::spec::{Budget, RunSpec};
use crate::subject::Subject;
use crate::tally::{self, Key, Tally, Violation};
use crate::unit::{Executed, ToVisit, Unit};

/// What the disk was given in all replays that are explored together, bytes: they are held in memory.
const HELD: usize = 1 << 30;

/// How many replays may be done before their turn, so that workers need not wait for the slowest.
const AHEAD: usize = 8;

/// One cell.
pub struct Cell {
    /// Its place in the report.
    pub index: usize,
    /// Its name.
    pub id: CellId,
    /// The workload.
    pub subject: Arc<Subject>,
    /// The file system.
    pub filesystem: Filesystem,
    /// The disk model.
    pub model: DiskModel,
    /// The budget.
    pub budget: Budget,
    /// Whether the machine may crash again while it recovers.
    pub recovery_crashes: bool,
    /// How many of the schedules, from the first, are executed at all: the others count as not explored.
    until: usize,
    /// Set when nothing more is to be begun: the budget is spent.
    closed: AtomicBool,
    state: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    preparing: bool,
    base: Option<Arc<Image>>,
    clock: Clock,
    executions: Replays,
    /// Which epochs are explored, or were, and for which schedule.
    owned: HashMap<explore::Key, usize>,
    /// For each schedule that was admitted, those that its epochs are explored for: itself, and some before it.
    shared: Vec<BTreeSet<usize>>,
    units: Vec<Open>,
    frontier: Frontier<Unit>,
    /// For each schedule that has units of its own: how many are not explored to their end.
    open: HashMap<usize, usize>,
    /// What recoveries wrote.
    contents: Contents,
    /// Mounts that were given.
    given: u64,
    result: CellResult,
    told: BTreeSet<Key>,
    failure: Option<String>,
    machine: Option<(String, String)>,
    confirming: bool,
    finished: bool,
}

/// How long the cell has been at work: its budget is not spent while workers are with other cells.
#[derive(Default)]
struct Clock {
    /// Pieces of work that were given and not answered.
    running: usize,
    since: Option<Instant>,
    before: Duration,
}

impl Clock {
    fn begin(&mut self) {
        self.running += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    fn end(&mut self) {
        self.running = self.running.saturating_sub(1);
        if self.running == 0 {
            self.before += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        }
    }

    fn elapsed(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Where the replays are.
#[derive(Default)]
struct Replays {
    /// The next to be given.
    next: usize,
    /// Those that have come back before their turn.
    arrived: BTreeMap<usize, Executed>,
    /// How many have had their turn.
    admitted: usize,
    /// Bytes of those that are explored together.
    held: usize,
    /// Whether the next must wait until these are explored.
    full: bool,
}

/// A unit that is not explored to its end.
struct Open {
    /// Branches that nobody has answered.
    branches: u64,
    allowed: BigUint,
    covered: BigUint,
}

/// A piece of work.
#[derive(Debug)]
pub enum Job {
    /// Make the durable start state.
    Prepare,
    /// Replay this schedule, from this start state.
    Execute(usize, Arc<Image>),
    /// Enter these branches.
    Enter(Vec<ToVisit>),
    /// Look at the states that are to be shown, each by itself.
    Confirm(Vec<(Key, Violation, Arc<Unit>)>),
}

/// What a worker learns when it asks a cell for work.
#[derive(Debug)]
pub enum Ask {
    /// Do this.
    Job(Job),
    /// Nothing now; there may be something when another worker is done.
    Later,
    /// Never again.
    Nothing,
}

/// What entering one branch came to.
#[derive(Debug)]
pub struct Entered {
    /// What was given.
    pub entry: ToVisit,
    /// What is left of the branch.
    pub rest: Vec<Branch>,
    /// Whether the class breaks an invariant.
    pub violates: bool,
    /// How many states it holds.
    pub states: BigUint,
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
        let state = Mutex::new(Progress { frontier: Frontier::new(spec.seed), ..Progress::default() });
        let closed = AtomicBool::new(false);
        let RunSpec { budget, recovery_crashes, .. } = *spec;
        let until = subject.schedules.len();
        let model = spec.model();
        Self { index, id, subject, filesystem, model, budget, recovery_crashes, until, closed, state }
    }

    /// The same without any budget, and with no schedules but those before `until`.
    pub fn up_to(self, until: usize) -> Self {
        Self { until, budget: Budget::default(), ..self }
    }

    fn state(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has begun to prepare it.
    pub fn is_new(&self) -> bool {
        let state = self.state();
        !state.preparing && state.failure.is_none()
    }

    /// The next piece of work. Whatever is given must be answered by [`Cell::prepared`], [`Cell::replayed`],
    /// [`Cell::entered`], [`Cell::confirmed`] or [`Cell::failed`].
    pub fn ask(&self) -> Ask {
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
            state.clock.begin();
            return Ask::Job(Job::Prepare);
        };
        let total = self.until;
        if self.may_go_on(state) {
            self.pass_over(state);
            state.next_round(total, &self.model, self.budget.mounts);
            let most = self.budget.mounts.map_or(u64::MAX, |limit| limit - state.given);
            // Which schedules were replayed before a budget of mounts was spent must not depend on who was faster.
            let ready = self.budget.mounts.is_none() || state.executions.admitted == total || state.executions.full;
            let entries = state.frontier.take(if ready { most } else { 0 });
            if !entries.is_empty() {
                state.given += entries.len() as u64;
                state.clock.begin();
                return Ask::Job(Job::Enter(entries));
            }
            let executions = &mut state.executions;
            if executions.next < total && !executions.full && executions.next < executions.admitted + AHEAD {
                executions.next += 1;
                state.clock.begin();
                return Ask::Job(Job::Execute(executions.next - 1, base));
            }
        }
        if state.clock.running > 0 {
            return Ask::Later;
        }
        if !state.confirming {
            state.confirming = true;
            state.result.tally.fold();
            let shown = state.result.shown();
            if !shown.is_empty() {
                state.clock.begin();
                return Ask::Job(Job::Confirm(shown));
            }
        }
        Ask::Nothing
    }

    /// Takes the next schedules for done that are implied by others.
    fn pass_over(&self, state: &mut Progress) {
        while state.executions.next < self.until
            && self.subject.is_implied(state.executions.next, &self.filesystem, &self.model)
        {
            let implied = Executed::implied(state.executions.next);
            state.executions.arrived.insert(state.executions.next, implied);
            state.executions.next += 1;
            state.admit(&self.model, self.budget.mounts);
        }
    }

    /// Whether the budget allows to begin anything.
    fn may_go_on(&self, state: &Progress) -> bool {
        if self.closed.load(Ordering::Relaxed) {
            return false;
        }
        let more = !state.frontier.is_empty() || state.executions.admitted < self.until;
        let late = self.budget.time.is_some_and(|limit| state.clock.elapsed() >= limit);
        if more && (late || self.budget.mounts.is_some_and(|limit| state.given >= limit)) {
            self.closed.store(true, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Whether the time is over: what was given and is not begun need not be done.
    pub fn is_late(&self) -> bool {
        let late = self.budget.time.is_some_and(|limit| self.state().clock.elapsed() >= limit);
        if late {
            self.closed.store(true, Ordering::Relaxed);
        }
        late
    }

    /// The start state is there.
    pub fn prepared(&self, base: Image, machine: &str, kernel: &str) {
        let mut state = self.state();
        state.clock.end();
        state.base = Some(Arc::new(base));
        state.machine = Some((machine.into(), kernel.into()));
    }

    /// A schedule was replayed.
    pub fn executed(&self, executed: Executed) {
        let mut state = self.state();
        let state = &mut *state;
        state.clock.end();
        state.executions.arrived.insert(executed.schedule, executed);
        state.admit(&self.model, self.budget.mounts);
    }

    /// Branches were entered; `tally` is what they came to. Those that are missing were left when the time was over.
    pub fn entered(&self, entered: Vec<Entered>, tally: Tally) {
        let mut state = self.state();
        let state = &mut *state;
        state.clock.end();
        state.result.tally.merge(tally);
        for Entered { entry, rest, violates, states, recovery } in entered {
            if let Some(mut recovery) = recovery {
                state.contents.share(&mut recovery.log);
                let units = entry.unit.again(entry.branch.key, recovery, &self.model);
                let units = units.into_iter().map(|unit| state.open(unit, &self.model)).collect();
                state.frontier.begin_again(&entry, units, violates);
            }
            let unit = &mut state.units[entry.unit.index];
            unit.branches = unit.branches - 1 + rest.len() as u64;
            unit.covered += states;
            if unit.branches == 0 {
                if unit.covered != unit.allowed {
                    // The partition into classes is broken: say so rather than believe any number.
                    let reason = format!(
                        "a defect of the harness: the classes of schedule {}, epoch {} hold {} states, the disk model \
                         allows {}",
                        entry.unit.executed.schedule, entry.unit.epoch, unit.covered, unit.allowed
                    );
                    state.failure.get_or_insert(reason);
                    return;
                }
                state.unit_explored(entry.unit.executed.schedule);
            }
            state.result.keep(&entry.unit);
            state.frontier.add(&entry, rest, violates);
        }
        state.result.forget();
    }

    /// Nobody has visited a branch that was given, and nobody will: its states stay uncovered.
    pub fn left(&self) {
        self.state().frontier.leave();
    }

    /// The states that are shown were looked at again: what there is to say of each, or why it does not show what it
    /// should.
    pub fn confirmed(&self, looked: Vec<(Key, Result<Seen, String>)>) {
        let mut state = self.state();
        state.clock.end();
        for (key, looked) in looked {
            match looked {
                Ok(seen) => drop(state.result.seen.insert(key, seen)),
                Err(wrong) => drop(state.failure.get_or_insert_with(|| format!("a defect of the harness: {wrong}"))),
            }
        }
    }

    /// Whether nobody has asked this of this kind of violation before.
    pub fn is_news(&self, kind: &Key) -> bool {
        let mut state = self.state();
        let told = &mut state.told;
        let is_failure = |key: &&Key| matches!(key.cause, Cause::Failure(_));
        // A check that prints something else each time is no news each time.
        let enough = is_failure(&kind) && told.iter().filter(is_failure).count() >= TOLD_APART;
        !enough && told.insert(kind.clone())
    }

    /// The cell cannot be judged: the answer to a piece of work that came to nothing.
    pub fn failed(&self, reason: String) {
        let mut state = self.state();
        state.clock.end();
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
        if state.finished || state.clock.running > 0 || !over {
            return false;
        }
        state.finished = true;
        true
    }

    /// How far it is.
    pub fn progress(&self) -> ProgressReport {
        let state = self.state();
        let tally = &state.result.tally;
        ProgressReport {
            schedules_done: state.executions.admitted as u64,
            schedules_total: self.subject.schedules.len() as u64,
            states_covered: tally.covered.clone(),
            states_allowed: tally.allowed.clone(),
            mounts: tally.mounts,
            violations: tally.violations.keys().filter(|key| !key.informational).count(),
        }
    }

    /// Everything that the cell came to. Call once, at the end.
    pub fn result(&self) -> CellResult {
        let mut state = self.state();
        state.result.tally.fold();
        CellResult {
            machine: state.machine.clone(),
            failure: state.failure.clone(),
            spent: self.closed.load(Ordering::Relaxed),
            explored: state.explored(),
            executed: state.executions.admitted as u64,
            ..std::mem::take(&mut state.result)
        }
    }
}

impl Progress {
    /// Admits the replays whose turn it is, if there is room, and mounts enough to enter at least what they begin with.
    fn admit(&mut self, model: &DiskModel, mounts: Option<u64>) {
        while let Some(next) = self.executions.arrived.first_entry() {
            let held = self.executions.held + next.get().bytes();
            if *next.key() != self.executions.admitted {
                return;
            }
            let beyond = mounts.is_some_and(|most| self.units.len() as u64 >= most);
            if beyond || (self.executions.held > 0 && held > HELD) {
                self.executions.full = true;
                return;
            }
            let executed = Arc::new(next.remove());
            self.executions.admitted += 1;
            self.executions.held = held;
            self.result.new += u64::from(self.begin(&executed, model));
        }
    }

    /// Begins to explore what no replay before has shown; whether there is anything.
    fn begin(&mut self, executed: &Arc<Executed>, model: &DiskModel) -> bool {
        let (mut new, mut owners) = (0, BTreeSet::new());
        for (epoch, key) in executed.keys().into_iter().enumerate() {
            let owner = *self.owned.entry(key).or_insert(executed.schedule);
            owners.insert(owner);
            if owner != executed.schedule {
                continue;
            }
            new += 1;
            let unit = self.open(Unit { index: 0, executed: executed.clone(), epoch, key, again: None }, model);
            self.frontier.begin(unit);
        }
        self.shared.push(owners);
        new > 0
    }

    /// Opens a unit: gives it its place, and counts its states.
    fn open(&mut self, unit: Unit, model: &DiskModel) -> Arc<Unit> {
        let allowed = unit.fates(model);
        tally::add(&mut self.result.tally.allowed_by_losses, allowed.count_by_losses());
        let allowed = allowed.count();
        self.result.tally.allowed += &allowed;
        *self.open.entry(unit.executed.schedule).or_default() += 1;
        let unit = Unit { index: self.units.len(), ..unit };
        self.units.push(Open { branches: 1, allowed, covered: BigUint::ZERO });
        Arc::new(unit)
    }

    /// One unit less of this schedule is open.
    fn unit_explored(&mut self, schedule: usize) {
        if let Some(open) = self.open.get_mut(&schedule) {
            *open -= 1;
        }
    }

    /// How many schedules are explored to their end.
    fn explored(&self) -> u64 {
        let done = |schedule: &usize| self.open.get(schedule).is_none_or(|open| *open == 0);
        self.shared.iter().filter(|owners| owners.iter().all(done)).count() as u64
    }

    /// Begins the next round if this one is over.
    fn next_round(&mut self, total: usize, model: &DiskModel, mounts: Option<u64>) {
        let all = self.executions.admitted == total || self.executions.full;
        // Replays may be under way: those that come after the ones which are explored now change nothing.
        if !all || self.frontier.is_under_way() {
            return;
        }
        if self.frontier.next_round() || !self.executions.full {
            return;
        }
        self.executions.held = 0;
        self.executions.full = false;
        self.admit(model, mounts);
    }
}

/// What the confirming look at a shown state has to say beyond what its class showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the file holds, read whole: in the words of the report in place of those of the class.
    pub observed: Option<String>,
    /// What to advise, where it takes a look at all files to know.
    pub reason: Option<String>,
}

/// What a cell came to, before it is put into words.
#[derive(Debug, Default)]
pub struct CellResult {
    /// Machine and kernel; `None` if it never got one.
    pub machine: Option<(String, String)>,
    /// Schedules explored to their end.
    pub explored: u64,
    /// Schedules replayed, whose states are known.
    pub executed: u64,
    /// Schedules that showed anything which those before them had not.
    pub new: u64,
    /// All that was found.
    pub tally: Tally,
    /// What was seen when the shown states were looked at once more.
    pub seen: BTreeMap<Key, Seen>,
    /// The units that violations are shown from.
    pub units: BTreeMap<explore::Key, Arc<Unit>>,
    /// Why it cannot be judged.
    pub failure: Option<String>,
    /// Whether the budget ran out.
    pub spent: bool,
}

impl CellResult {
    /// Keeps a unit that may be shown.
    fn keep(&mut self, unit: &Arc<Unit>) {
        self.units.entry(unit.key).or_insert_with(|| unit.clone());
    }

    /// Forgets the units that are not shown: a log holds all that was written, and an example that was surpassed is
    /// never shown again.
    fn forget(&mut self) {
        let shown: BTreeSet<explore::Key> =
            self.tally.violations.values().map(|found| found.example.place.unit).collect();
        self.units.retain(|key, _| shown.contains(key));
    }

    fn shown(&self) -> Vec<(Key, Violation, Arc<Unit>)> {
        let with_unit = |(key, violation): (&Key, &Violation)| {
            let unit = self.units.get(&violation.example.place.unit)?;
            Some((key.clone(), violation.clone(), unit.clone()))
        };
        self.tally.violations.iter().filter_map(with_unit).collect()
    }
}

#[cfg(test)]
mod tests;
