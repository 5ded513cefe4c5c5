//! One cell: a recorded workload on one file system. What is done in which order, and what it comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use disk::{BlockLog, DiskModel, Image};
use protocol::Filesystem;
use report::{CellId, ProgressReport};

use crate::subject::Subject;
use crate::tally::{Key, Tally};

/// How much work a cell may take. Without any limit, it is explored whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Wall time, from the cell's first schedule on.
    pub time: Option<Duration>,
    /// Mounts.
    pub mounts: Option<u64>,
}

/// What one schedule came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was found.
    pub tally: Tally,
    /// Whether every state was covered.
    pub complete: bool,
    /// For tokens: what the replay left, if anything was found.
    pub replay: Option<(Image, BlockLog)>,
}

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
    mounts: AtomicU64,
    /// Set when nothing more is to be begun: the budget is spent, or the cell has failed.
    closed: AtomicBool,
    state: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    preparing: bool,
    base: Option<Arc<Image>>,
    next: usize,
    running: usize,
    started: Option<Instant>,
    /// Schedules that were begun and have ended, whole or not.
    done: u64,
    result: CellResult,
    told: BTreeSet<Key>,
    failure: Option<String>,
    machine: Option<(String, String)>,
    finished: bool,
}

/// A piece of work.
#[derive(Debug)]
pub enum Job {
    /// Make the durable start state.
    Prepare,
    /// Replay and explore this schedule, from this start state.
    Schedule(usize, Arc<Image>),
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

impl Cell {
    /// A cell that has not begun.
    pub fn new(index: usize, subject: Arc<Subject>, filesystem: Filesystem, model: DiskModel, budget: Budget) -> Self {
        let id = CellId {
            workload: subject.name.clone(),
            fs: filesystem.kind.clone(),
            mount_options: filesystem.options.clone(),
        };
        Self {
            index,
            id,
            subject,
            filesystem,
            model,
            budget,
            mounts: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has begun to prepare it.
    pub fn is_new(&self) -> bool {
        let state = self.state();
        !state.preparing && state.failure.is_none()
    }

    /// The next piece of work. Whatever is given must be answered by [`Cell::prepared`], [`Cell::explored`] or [`Cell::failed`].
    pub fn ask(&self) -> Ask {
        let mut state = self.state();
        if self.closed.load(Ordering::Relaxed) || state.failure.is_some() {
            return Ask::Nothing;
        }
        let Some(base) = state.base.clone() else {
            if state.preparing {
                return Ask::Later;
            }
            state.preparing = true;
            return Ask::Job(Job::Prepare);
        };
        if state.next == self.subject.schedules.len() {
            return Ask::Nothing;
        }
        state.started.get_or_insert_with(Instant::now);
        state.next += 1;
        state.running += 1;
        Ask::Job(Job::Schedule(state.next - 1, base))
    }

    /// The start state is there.
    pub fn prepared(&self, base: Image, machine: &str, kernel: &str) {
        let mut state = self.state();
        state.base = Some(Arc::new(base));
        state.machine = Some((machine.into(), kernel.into()));
    }

    /// A schedule is done.
    pub fn explored(&self, schedule: usize, outcome: Outcome) {
        let mut state = self.state();
        state.running -= 1;
        state.done += 1;
        state.result.add(schedule, outcome);
    }

    /// Whether nobody has asked this of this kind of violation before.
    pub fn is_news(&self, kind: &Key) -> bool {
        self.state().told.insert(kind.clone())
    }

    /// The cell cannot be judged.
    pub fn failed(&self, reason: String) {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        state.failure.get_or_insert(reason);
    }

    /// Counts one mount, and says whether there may be another.
    pub fn may_go_on(&self) -> bool {
        let mounts = self.mounts.fetch_add(1, Ordering::Relaxed);
        let started = self.state().started;
        let late = match (self.budget.time, started) {
            (Some(limit), Some(started)) => started.elapsed() >= limit,
            _ => false,
        };
        let spent = late || self.budget.mounts.is_some_and(|limit| mounts >= limit);
        if spent {
            self.closed.store(true, Ordering::Relaxed);
        }
        !spent
    }

    /// Whether this call is the first that finds the cell done: no work left, none under way.
    pub fn finish(&self) -> bool {
        let mut state = self.state();
        let closed = self.closed.load(Ordering::Relaxed) || state.failure.is_some();
        let all = state.base.is_some() && state.next == self.subject.schedules.len();
        if state.finished || state.running > 0 || !(closed || all) {
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
            schedules_done: state.done,
            schedules_total: self.subject.schedules.len() as u64,
            states_covered: tally.covered.clone(),
            states_allowed: tally.allowed.clone(),
            mounts: tally.mounts,
            violations: tally.violations.keys().filter(|key| !key.told_only).count(),
        }
    }

    /// Everything that the cell came to. Call once, at the end.
    pub fn result(&self) -> CellResult {
        let mut state = self.state();
        CellResult {
            machine: state.machine.clone(),
            failure: state.failure.clone(),
            spent: self.closed.load(Ordering::Relaxed),
            ..std::mem::take(&mut state.result)
        }
    }
}

/// What a cell came to, before it is put into words.
#[derive(Debug, Default)]
pub struct CellResult {
    /// Machine and kernel; `None` if it never got one.
    pub machine: Option<(String, String)>,
    /// Schedules explored to their end.
    pub explored: u64,
    /// All that was found.
    pub tally: Tally,
    /// The replays that violations are shown from.
    pub replays: BTreeMap<usize, (Image, BlockLog)>,
    /// Why it cannot be judged.
    pub failure: Option<String>,
    /// Whether the budget ran out.
    pub spent: bool,
}

impl CellResult {
    /// Adds what one schedule came to, in whatever order they end.
    fn add(&mut self, schedule: usize, outcome: Outcome) {
        self.explored += u64::from(outcome.complete);
        self.tally.merge(outcome.tally);
        self.replays.extend(outcome.replay.map(|replay| (schedule, replay)));
        // A log holds all that was written. An example that was surpassed is never shown again.
        let shown: BTreeSet<usize> = self.tally.violations.values().map(|found| found.example.schedule).collect();
        self.replays.retain(|schedule, _| shown.contains(schedule));
    }
}
