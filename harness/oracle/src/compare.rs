//! What the explorer finds of a program, and which native outcomes are not among that.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use checker::{EntryKind, Guide, Mount, Observation, Seen};
use disk::DiskModel;
use harness::explore::{Class, Guests, explore};
use harness::moment::moment;
use harness::replay::{ReplayError, give, live_guide, populate, replay};
use harness::schedule::{Overwrites, Schedule, schedules};
use harness::unit::{Key, Replayed};
use protocol::{Command, Filesystem};
use trace::{Call, History, Trace};
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
    Replay(#[from] ReplayError),
    /// The fresh file system.
    #[error(transparent)]
    Mkfs(#[from] harness::mkfs::MkfsError),
    /// What guests boot from.
    #[error("failed to make what guests boot from: {0}")]
    Initramfs(String),
}

/// 512-byte sectors of the guest's disk: as large as the native one.
const SECTORS: u64 = 1 << 20;

/// One guest, booted when it is needed, that reads every file whole.
pub struct OneGuest<M> {
    machine: M,
    initramfs: std::path::PathBuf,
    guest: Option<Guest>,
}

impl<M: Machine> OneGuest<M> {
    /// On this machine, with files kept in the cache directory.
    pub fn new(machine: M, cache: &std::path::Path) -> Result<Self, CompareError> {
        let kinds = crate::fresh::KINDS.map(String::from);
        let initramfs = machine.initramfs(cache, &kinds).map_err(|error| CompareError::Initramfs(error.to_string()))?;
        Ok(Self { machine, initramfs, guest: None })
    }
}

impl<M: Machine> Guests for OneGuest<M> {
    async fn guest(&mut self) -> Result<&mut Guest, GuestError> {
        let guest = match self.guest.take() {
            Some(guest) => guest,
            None => {
                let mut guest = Guest::boot(&self.machine, &self.initramfs, SECTORS, Limits::default()).await?;
                let guide = Guide { read_all_up_to: 64 << 20, ..Guide::default() };
                guest.call(&Command::Guide(Arc::new(guide))).await?;
                guest
            }
        };
        Ok(self.guest.insert(guest))
    }

    fn lost(&mut self) {
        self.guest = None;
    }

    async fn witness(&mut self) -> Result<(), GuestError> {
        Guest::boot(&self.machine, &self.initramfs, SECTORS, Limits::default()).await.map(drop)
    }
}

/// What the explorer found.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// The outcomes, as [`crate::native::look`] gives them.
    pub outcomes: BTreeSet<Outcome>,
    /// How many schedules were replayed.
    pub schedules: usize,
    /// How many states were mounted.
    pub mounts: usize,
}

/// A file system of this kind with the options that it has by itself.
pub fn plain(kind: &str) -> Filesystem {
    Filesystem { kind: kind.into(), options: String::new() }
}

/// The schedules that the harness executes on this file system, with up to `bound` injections.
pub fn executed(filesystem: &Filesystem, trace: &Trace, bound: u32) -> Vec<Schedule> {
    let history = History::new(trace);
    let mut all = schedules(trace, &history, bound);
    if harness::mkfs::overwrites_in_place(filesystem) {
        let overwrites = Overwrites::new(trace, &history);
        all.retain(|schedule| !overwrites.imply(schedule));
    }
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
    let live = Arc::new(live_guide(&trace.after));
    let fresh = harness::mkfs::mkfs(filesystem, SECTORS * disk::SECTOR as u64)?;
    let base = populate(guests.guest().await?, filesystem, fresh, trace).await?;
    let model = DiskModel::default();
    let mut found = Explored::default();
    let mut known: HashSet<Key> = HashSet::new();
    for (index, schedule) in schedules.into_iter().enumerate() {
        let plan = schedule.plan(trace, &history);
        let guest = guests.guest().await?;
        give(guest, trace, &live).await?;
        let replay = replay(guest, filesystem, &base, &plan, trace, &live).await?;
        found.schedules += 1;
        let replay = if model.fua { replay.with_fua(&plan, trace) } else { replay };
        let replayed = Replayed::new(index, plan, replay, &model);
        for (number, key) in replayed.keys().into_iter().enumerate() {
            if enough(&found.outcomes) {
                return Ok(found);
            }
            if known.insert(key) {
                explore_epoch(guests, filesystem, trace, &replayed, number, model, &mut found).await?;
            }
        }
    }
    Ok(found)
}

/// The outcomes of one epoch.
async fn explore_epoch(
    guests: &mut impl Guests,
    filesystem: &Filesystem,
    trace: &Trace,
    replayed: &Replayed,
    number: usize,
    model: DiskModel,
    found: &mut Explored,
) -> Result<(), GuestError> {
    let epoch = &replayed.epochs[number];
    let volatile: Vec<_> = epoch.volatile_writes(&replayed.log).cloned().collect();
    let promises = |ops: usize| {
        let ops = &trace.ops[..ops.min(trace.ops.len())];
        ops.iter().filter(|op| matches!(op.call, Call::Ack { .. })).count()
    };
    let layers = Arc::new(replayed.layers(number, model));
    let class = |class: Class| {
        found.mounts += 1;
        let survived = class.fates.decisions().iter().filter(|decision| decision.survived);
        let when = moment(&replayed.plan, epoch, &volatile, survived.map(|decision| decision.write));
        let tree = tree_of(&class.observation);
        let outcome = |promises| Outcome { tree: tree.clone(), promises };
        let promises = promises(when.begun_earliest.min(when.ended_latest))..=promises(when.ended_latest);
        found.outcomes.extend(promises.map(outcome));
    };
    explore(guests, filesystem, &layers, || true, class).await.map(drop)
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
            // Not with a guide that has everything read.
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
