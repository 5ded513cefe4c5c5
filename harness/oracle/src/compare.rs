//! What the explorer finds of a program, and which native outcomes are not among that.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use checker::{CrashWindow, EntryKind, Mount, Observation, ReadPlan, Seen};
use engine::execute::{ExecutionError, Live, execute, give, populate};
use engine::label::Labels;
use engine::spec::RunSpec;
use engine::unit::Executed;
use engine::visit::{EquivalenceClass, Guests, explore};
use engine::window::window;
use explore::Evidence as _;
use explore::Key;
use filesystems::Filesystem;
use plan::{Injection, Overwrites, Schedule, schedules};
use program::{Call, History, Trace};
use protocol::Command;
use storage::{DiskModel, Fates, Tear, WriteEntry};
use vm::{Guest, GuestError, Limits, Machine};

use crate::native::Outcome;
use crate::tree::{Entry, Tree};

/// Why the explorer's outcomes are not known.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The guest.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// A replay.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The fresh file system.
    #[error(transparent)]
    Mkfs(#[from] engine::mkfs::MkfsError),
    /// What guests boot from.
    #[error("failed to make what guests boot from: {0}")]
    Initramfs(String),
}

/// 512-byte sectors of the guest's disk: as large as the native one.
const SECTORS: u64 = 1 << 20;

/// One guest, booted when it is needed, that reads every file whole.
pub struct OneGuest {
    machine: Box<dyn Machine>,
    initramfs: std::path::PathBuf,
    guest: Option<Guest>,
}

impl OneGuest {
    /// On this machine, with files kept in the cache directory.
    pub fn new(machine: Box<dyn Machine>, cache: &std::path::Path) -> Result<Self, CompareError> {
        // What a kernel of the user's choice may lack is left out there.
        let [all, needed] = [filesystems::ALL, filesystems::DEFAULTS];
        let needed = if machine.initramfs(cache, all).is_ok() { all } else { needed };
        let initramfs = machine.initramfs(cache, needed).map_err(|error| CompareError::Initramfs(error.to_string()))?;
        Ok(Self { machine, initramfs, guest: None })
    }
}

impl Guests for OneGuest {
    async fn guest(&mut self) -> Result<&mut Guest, GuestError> {
        let guest = match self.guest.take() {
            Some(guest) => guest,
            None => {
                let mut guest = Guest::boot(&*self.machine, &self.initramfs, SECTORS, Limits::default()).await?;
                let read_plan = ReadPlan { read_all_up_to: 64 << 20, ..ReadPlan::default() };
                guest.call(&Command::ReadPlan(Arc::new(read_plan))).await?;
                guest
            }
        };
        Ok(self.guest.insert(guest))
    }

    fn lost(&mut self) {
        self.guest = None;
    }

    async fn witness(&mut self) -> Result<(), GuestError> {
        Guest::boot(&*self.machine, &self.initramfs, SECTORS, Limits::default()).await.map(drop)
    }
}

/// What the explorer found.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// The outcomes, as [`crate::native::look`] gives them.
    pub outcomes: BTreeSet<Outcome>,
    /// For each of them the plainest way to it.
    pub ways: BTreeMap<Outcome, Way>,
    /// How many schedules were replayed.
    pub schedules: usize,
    /// How many states were mounted.
    pub mounts: usize,
}

/// One way to an outcome. The least one is the plainest: without a torn write, with few coincidences, with little lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Whether some write is torn.
    pub torn: bool,
    /// How many coincidences the schedule has.
    pub injected: u32,
    /// How many writes are lost, or torn.
    pub losses: usize,
    /// The schedule.
    pub schedule: String,
    /// What is injected in it.
    pub injections: Vec<Injection>,
    /// How many ops had begun, at least, and had ended, at most.
    pub ops: (usize, usize),
    /// What is lost, and what is torn.
    pub lost: Vec<String>,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lost = if self.lost.is_empty() { "nothing".into() } else { self.lost.join("; ") };
        write!(f, "{}; ops begun {}, ended {}; lost: {lost}", self.schedule, self.ops.0, self.ops.1)
    }
}

/// A file system as `--fs` takes it: of this kind, with the options that it has by itself unless some are given.
///
/// # Panics
/// The harness knows none of that name.
pub fn plain(kind: &str) -> Filesystem {
    kind.parse().unwrap_or_else(|unknown| panic!("{unknown}"))
}

/// The schedules that the harness executes on this file system, with up to `bound` injections.
pub fn executed(filesystem: &Filesystem, trace: &Trace, bound: u32) -> Vec<Schedule> {
    let history = History::new(trace);
    let overwrites = Overwrites::new(trace, &history);
    let mut all = schedules(trace, &history, bound);
    all.retain(|schedule| !overwrites.imply(schedule, filesystem, &RunSpec::default().model(filesystem.kind)));
    all
}

/// Every outcome of what was recorded that the explorer finds with up to `bound` injections, until `enough` says so.
pub async fn explored(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    trace: &Trace,
    bound: u32,
    enough: impl FnMut(&BTreeSet<Outcome>) -> bool,
) -> Result<Explored, CompareError> {
    outcomes_of(guests, filesystem, trace, executed(filesystem, trace, bound), enough).await
}

/// Every outcome that these schedules show, until `enough` says so.
pub async fn outcomes_of(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    trace: &Trace,
    schedules: Vec<Schedule>,
    mut enough: impl FnMut(&BTreeSet<Outcome>) -> bool,
) -> Result<Explored, CompareError> {
    let history = History::new(trace);
    let live = Live::new(&trace.after, Default::default());
    let fresh = engine::mkfs::mkfs(filesystem, SECTORS * storage::SECTOR as u64)?;
    let base = populate(guests.guest().await?, filesystem, fresh, trace).await?;
    let model = RunSpec::default().model(filesystem.kind);
    let mut found = Explored::default();
    let labels = Labels::new(&history);
    let mut known: HashSet<Key> = HashSet::new();
    for (index, schedule) in schedules.into_iter().enumerate() {
        let plan = schedule.plan(trace, &history);
        let guest = guests.guest().await?;
        give(guest, trace, &live, false).await?;
        let (execution, _) = execute(guest, filesystem, &base, &plan, trace, &live).await?;
        found.schedules += 1;
        let execution = if model.fua { execution.with_fua(&plan, trace) } else { execution };
        let executed = Executed::new(index, plan, execution, &model);
        for (number, key) in executed.keys().into_iter().enumerate() {
            if enough(&found.outcomes) {
                return Ok(found);
            }
            if known.insert(key) {
                let epoch =
                    OneEpoch { filesystem, trace, labels: &labels, schedule: &schedule, executed: &executed, number };
                epoch.explore(guests, model, &mut found).await?;
            }
        }
    }
    Ok(found)
}

/// One epoch of one replay.
struct OneEpoch<'a> {
    filesystem: &'a Filesystem,
    trace: &'a Trace,
    labels: &'a Labels,
    schedule: &'a Schedule,
    executed: &'a Executed,
    number: usize,
}

impl OneEpoch<'_> {
    /// Adds the outcomes of it.
    async fn explore(
        &self,
        guests: &mut impl Guests,
        model: DiskModel,
        found: &mut Explored,
    ) -> Result<(), GuestError> {
        let epoch = &self.executed.epochs[self.number];
        let volatile: Vec<_> = epoch.volatile_writes(&self.executed.log).cloned().collect();
        let layers = Arc::new(self.executed.layers(self.number, model));
        let class = |class: EquivalenceClass| {
            found.mounts += 1;
            let survived = class.fates.decisions().iter().filter(|decision| decision.survived);
            let when = window(&self.executed.plan, epoch, &self.executed.log, survived.map(|decision| decision.write));
            let tree = tree_of(&class.observation);
            let way = self.way(&class.fates, &volatile, when);
            for promises in self.promises(when.begun_earliest.min(when.ended_latest))..=self.promises(when.ended_latest)
            {
                let outcome = Outcome { tree: tree.clone(), promises };
                found.outcomes.insert(outcome.clone());
                let plainest = found.ways.entry(outcome).or_insert_with(|| way.clone());
                if way < *plainest {
                    *plainest = way.clone();
                }
            }
        };
        explore(guests, self.filesystem, &layers, || true, class).await.map(drop)
    }

    /// How many promises are among the first ops.
    fn promises(&self, ops: usize) -> usize {
        let ops = &self.trace.ops[..ops.min(self.trace.ops.len())];
        ops.iter().filter(|op| matches!(op.call, Call::Ack { .. })).count()
    }

    /// The way to one class of states, of which the one that loses the least is described.
    fn way(&self, fates: &Fates, volatile: &[WriteEntry], when: CrashWindow) -> Way {
        let state = fates.fewest_lost();
        let name = |write: &u32| match volatile.get(*write as usize) {
            Some(write) => {
                let holds = self.labels.content(self.filesystem.kind, write);
                reporters::sentences::block(write.sector, write.data.len() as u64, Some(&holds))
            }
            None => "a write that is not known".into(),
        };
        let torn = |(write, tear): &(u32, Tear)| {
            let kept = match tear {
                Tear::Head(unit) => format!("all but the first {unit} sectors"),
                Tear::Tail(unit) => format!("the first {unit} sectors"),
            };
            format!("{kept} of {}", name(write))
        };
        Way {
            torn: fates.torn(),
            injected: self.schedule.injected(),
            losses: state.lost.len() + state.torn.len(),
            schedule: self.schedule.text(),
            injections: self.schedule.injections.clone(),
            ops: (when.begun_earliest, when.ended_latest),
            lost: state.lost.iter().map(name).chain(state.torn.iter().map(torn)).collect(),
        }
    }
}

/// What the guest saw, as [`crate::native`] says it.
pub fn tree_of(observation: &Observation) -> String {
    if let Mount::Refused { errno, .. } = &observation.mount {
        return format!("refused: {}", std::io::Error::from_raw_os_error(*errno));
    }
    if let Mount::Died { .. } = &observation.mount {
        return "died".into();
    }
    let mut tree = Tree::default();
    for (path, entry) in observation.entries.iter().filter(|(path, _)| !path.is_root()) {
        let entry = match &entry.kind {
            EntryKind::File { size: 0, .. } => Entry::File(Vec::new()),
            EntryKind::File { seen: Seen::Bytes(content), .. } => Entry::File(content.to_vec()),
            EntryKind::File { seen: Seen::Failed { errno, .. }, .. } => Entry::Unreadable(*errno),
            // Not with a read plan that has everything read.
            EntryKind::File { .. } | EntryKind::Special { .. } => Entry::Unreadable(0),
            EntryKind::Directory { error: None } => Entry::Directory,
            EntryKind::Directory { error: Some(errno) } | EntryKind::Unreadable { errno } => Entry::Unreadable(*errno),
            EntryKind::Symlink { target } => Entry::Symlink(String::from_utf8_lossy(target).into_owned()),
        };
        tree.0.insert(path.to_string(), entry);
    }
    tree.to_string()
}

/// The native outcomes that the explorer has not, each with whatever is known of the way to it.
pub fn missing<'a, W>(native: &'a BTreeMap<Outcome, W>, explored: &BTreeSet<Outcome>) -> Vec<(&'a Outcome, &'a W)> {
    native.iter().filter(|(outcome, _)| !explored.contains(outcome)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let outcome = |tree: &str, promises| Outcome { tree: tree.into(), promises };
        let native = BTreeMap::from([(outcome("{f:O}", 0), 1), (outcome("{f:0}", 0), 2), (outcome("{f:O}", 1), 3)]);
        let explored = BTreeSet::from([outcome("{f:O}", 0), outcome("{f:N}", 0)]);
        let names: Vec<_> =
            missing(&native, &explored).into_iter().map(|(outcome, way)| (outcome.tree.as_str(), *way)).collect();
        assert_eq!(names, [("{f:0}", 2), ("{f:O}", 3)]);
    }
}
