//! One execution, cut into what is explored on its own; and how to tell that another execution offers the same.

use std::sync::Arc;

use explore::{Evidence, ExplorationUnit, Key, key};
use serde::Serialize;
use sha2::{Digest, Sha256};
use storage::{BlockLog, Decision, DiskModel, Entry, Epoch, Fates, Image, Layers, Recovery};

use crate::execute::Execution;
use plan::{Origin, Plan};

/// An execution: what came of one schedule, cut into epochs.
#[derive(Debug)]
pub struct Executed {
    /// Index into the subject's schedules.
    pub schedule: usize,
    /// The steps that the guest executed.
    pub plan: Plan,
    /// The disk model that the epochs follow from.
    pub model: DiskModel,
    /// The disk before the first step, all of it durable.
    pub start: Image,
    /// The writes, flushes and ends of steps that the disk saw.
    pub log: BlockLog,
    /// The epochs of the log: what is durable and what is volatile between two flushes.
    pub epochs: Vec<Epoch>,
    /// Whether the start state and the data of the log are those of the execution, not zeros in their place
    /// ([`Executed::without_data`]).
    pub has_data: bool,
}

/// One epoch of one execution: a tree of decisions of its own.
#[derive(Debug)]
pub struct Unit {
    /// Its place among the units of its cell: in the order of schedules and epochs, then, for recovery crashes, that in which
    /// recoveries were found.
    pub index: usize,
    /// The execution that the epoch is of.
    pub executed: Arc<Executed>,
    /// Index into the execution's epochs.
    pub epoch: usize,
    /// Names it, whatever run it is found in: the same for two epochs whose crash states are the same ([`Executed::keys`]).
    pub key: Key,
    /// If the machine crashed again while it recovered from a crash in that epoch: how.
    pub recovery_crash: Option<RecoveryCrash>,
}

/// A crash during the recovery from another.
#[derive(Debug)]
pub struct RecoveryCrash {
    /// The states that were recovered.
    pub class: Fates,
    /// The writes and flushes of the recovery that was interrupted.
    pub log: Arc<BlockLog>,
    /// Index of the epoch of that log.
    pub index: usize,
    /// The epoch of that log in which the machine crashed again.
    pub epoch: Epoch,
}

/// A branch of a unit, to be visited.
pub type ToVisit = explore::ToVisit<Unit>;

impl Evidence for Executed {
    type Unit = Unit;

    /// One key for each epoch. Epochs of two executions of one trace have the same key if the disk saw the same up to
    /// their ends: the same ops and works one after the other, and during each the same writes (place and length) and
    /// flushes. Work during which the disk saw nothing counts, too: it can change what the kernel does later (writeback
    /// of a small file of btrfs puts it into a tree in memory). A flush that makes nothing durable does not: it changes no
    /// crash state.
    ///
    /// Contents are not compared, since they differ for no reason: inode generations are random, times go on. What a
    /// kernel writes during the same calls to the same places is the same but for these.
    fn keys(&self) -> Vec<Key> {
        let mut hasher = Sha256::new();
        let mut entries = self.log.entries.iter().peekable();
        let mut keys = Vec::new();
        let mut covered = 0;
        for epoch in &self.epochs {
            let within = |entry: &&Entry| match **entry {
                Entry::Write(index) => (index as usize) < epoch.logged,
                Entry::Mark(mark) => mark.step < epoch.ended_last,
                Entry::Flush { .. } | Entry::Forced { .. } => true,
            };
            while let Some(entry) = entries.next_if(within) {
                let seen = match *entry {
                    Entry::Write(index) => bytes(&(0, self.place(index as usize))),
                    // Whether ext4 sends a second flush behind a commit depends on who wakes up first, the journal's thread
                    // or who waits for it (fs/jbd2/journal.c, `jbd2_trans_will_send_data_barrier`).
                    Entry::Flush { covers, .. } if covers <= covered => continue,
                    Entry::Flush { covers, .. } => {
                        covered = covers;
                        bytes(&(1, covers))
                    }
                    Entry::Forced { from, until, .. } => bytes(&(2, from, until)),
                    Entry::Mark(mark) => bytes(&(3, self.origin(mark.step))),
                };
                hasher.update(seen);
            }
            let under_way = epoch.volatile.iter().filter(|&&write| write >= epoch.logged);
            let under_way: Vec<_> = under_way.map(|&write| self.place(write)).collect();
            let states = bytes(&(epoch.durable, &epoch.forced, &epoch.volatile, under_way));
            keys.push(key(hasher.clone().chain_update(states)));
        }
        keys
    }

    /// Not where every crash comes before the exploration is to begin.
    fn is_explored(&self, place: usize) -> bool {
        let ended = self.plan.ops_ended(self.epochs[place].ended_last as usize);
        self.plan.explored_from.is_none_or(|from| ended > from)
    }

    fn unit(executed: &Arc<Self>, place: usize, key: Key, index: usize) -> Unit {
        Unit { index, executed: executed.clone(), epoch: place, key, recovery_crash: None }
    }
}

impl ExplorationUnit for Unit {
    type Space = Fates;

    fn index(&self) -> usize {
        self.index
    }

    fn key(&self) -> &Key {
        &self.key
    }

    fn evidence(&self) -> usize {
        self.executed.schedule
    }

    fn space(&self) -> Fates {
        let Executed { epochs, log, model, .. } = &*self.executed;
        match &self.recovery_crash {
            None => Fates::open(model, epochs[self.epoch].volatile_writes(log)),
            Some(RecoveryCrash { class, log, epoch, .. }) => class.clone().crashed(epoch.volatile_writes(log)),
        }
    }
}

impl Unit {
    /// The states that agree with these decisions, from a file; `None` if they do not fit, so that it must be damaged.
    pub fn settled(&self, decisions: &[Decision]) -> Option<Fates> {
        let mut fates = self.space();
        fates.settle_these(decisions).then_some(fates)
    }

    /// What the unit's states share; `first` is what those of its epoch do, without a recovery crash.
    pub fn layers(&self, first: &Arc<Layers>) -> Arc<Layers> {
        match &self.recovery_crash {
            None => first.clone(),
            Some(RecoveryCrash { class, log, epoch, .. }) => Arc::new(Layers::recovered(first, class, log, epoch)),
        }
    }

    /// The units of recovery crashes: one for each epoch of what recovery wrote. `branch` is the key of the branch that
    /// was visited when it did. Their indices are for the exploration to give.
    pub fn recovery_crashes(&self, branch: Key, Recovery { class, log }: Recovery) -> Vec<Unit> {
        let log = Arc::new(log);
        let unit = |(index, epoch): (usize, Epoch)| {
            let mut hasher = Sha256::new();
            hasher.update(self.key);
            hasher.update(branch);
            // The branch says how the run began that found this; what it settled while it recovered can be more.
            hasher.update(bytes(&(class.decisions(), index, &epoch)));
            for write in &log.writes {
                hasher.update(bytes(&(write.sector, write.sectors())));
            }
            let key = key(hasher);
            let recovery_crash = Some(RecoveryCrash { class: class.clone(), log: log.clone(), index, epoch });
            Unit { index: 0, executed: self.executed.clone(), epoch: self.epoch, key, recovery_crash }
        };
        storage::epochs(&log, &self.executed.model).into_iter().enumerate().map(unit).collect()
    }
}

/// How many bytes of a key name a recovery crash in tokens.
pub const SHORT: usize = 8;

/// The beginning of a key, for tokens.
pub fn short(key: &Key) -> String {
    hex::encode(&key[..SHORT])
}

/// What is hashed of a value: its form in postcard, which has no names of types and fields.
fn bytes(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_default()
}

impl Executed {
    /// Cuts an execution into epochs.
    pub fn new(schedule: usize, plan: Plan, Execution { start, log }: Execution, model: &DiskModel) -> Self {
        let epochs = storage::epochs(&log, model);
        Self { schedule, plan, model: *model, start, log, epochs, has_data: true }
    }

    /// One of which only the log's shape is known: its states can be counted and judged by what was seen of them, but not
    /// built.
    pub fn without_data(schedule: usize, plan: Plan, log: BlockLog, model: &DiskModel) -> Self {
        Self { has_data: false, ..Self::new(schedule, plan, Execution { start: Image::zeroed(1), log }, model) }
    }

    /// A schedule that is not executed, since another has all its crash states.
    pub fn implied(schedule: usize, model: &DiskModel) -> Self {
        let (start, log) = (Image::zeroed(1), BlockLog::default());
        Self { schedule, plan: Plan::default(), model: *model, start, log, epochs: Vec::new(), has_data: true }
    }

    /// What one epoch's states share.
    pub fn layers(&self, epoch: usize, model: DiskModel) -> Layers {
        let mut durable = self.start.clone();
        let epoch = &self.epochs[epoch];
        epoch.advance(&mut durable, &self.log, 0);
        Layers::new(durable, &self.log, epoch, model)
    }

    /// Bytes that the disk was given.
    pub fn bytes(&self) -> usize {
        self.log.writes.iter().map(|write| write.data.len()).sum()
    }

    fn origin(&self, step: u32) -> Option<&Origin> {
        self.plan.origins.get(step as usize)
    }

    /// Where a write went, and what caused it.
    fn place(&self, write: usize) -> (u64, u64, Option<&Origin>) {
        let write = &self.log.writes[write];
        (write.sector, write.sectors(), self.origin(write.step))
    }
}

#[cfg(test)]
mod tests {
    use storage::{CacheKind, Mark, Queueing, WriteEntry};

    use super::*;
    use plan::Work;

    /// `w` a write, `f` a flush, `o` the end of an op, `c` the end of a commit.
    fn executed(text: &str) -> Executed {
        let mut log = BlockLog::default();
        let mut origins = Vec::new();
        let mut ops = 0;
        for letter in text.chars() {
            let step = origins.len() as u32;
            let written = log.writes.len() as u32;
            match letter {
                'w' => {
                    let data = Arc::new(vec![0; storage::SECTOR]);
                    log.writes.push(WriteEntry { sector: u64::from(written), data, step });
                    log.queueing.push(Queueing { request: u64::from(written), available: u64::from(written) + 1 });
                    log.entries.push(Entry::Write(written));
                }
                'f' => log.entries.push(Entry::Flush { covers: written, available: u64::from(written) }),
                _ => {
                    log.entries.push(Entry::Mark(Mark { step, result: 0 }));
                    origins.push(if letter == 'o' { Origin::Op(ops) } else { Origin::Work(Work::Commit) });
                    ops += usize::from(letter == 'o');
                }
            }
        }
        let plan = Plan { origins, ..Plan::default() };
        Executed::new(0, plan, Execution { start: Image::zeroed(1), log }, &DiskModel::default())
    }

    fn shared(one: &str, other: &str) -> usize {
        let (one, other) = (executed(one).keys(), executed(other).keys());
        one.iter().zip(&other).take_while(|(one, other)| one == other).count()
    }

    #[test]
    fn what_went_before_an_injection_is_shared() {
        assert_eq!(shared("wfowfowfo", "wfowfowfo"), 4);
        assert_eq!(shared("wfowfowfo", "wfowfowfcwfo"), 2);
        assert_eq!(shared("wfowfowfo", "wfowfcwfowfo"), 1);
        assert_eq!(shared("wfowfowfo", "wfowowfo"), 1);
    }

    /// What is under way at the end of an epoch is in its states, and has not been logged yet.
    #[test]
    fn what_is_under_way_is_in_the_key() {
        let key = |cache, sector| {
            let write = |sector| WriteEntry { sector, data: Arc::new(vec![0; storage::SECTOR]), step: 0 };
            let log = BlockLog {
                writes: vec![write(7), write(sector)],
                queueing: vec![Queueing { request: 1, available: 2 }, Queueing { request: 0, available: 3 }],
                entries: vec![
                    Entry::Write(0),
                    Entry::Flush { covers: 1, available: 3 },
                    Entry::Mark(Mark { step: 0, result: 0 }),
                    Entry::Write(1),
                ],
            };
            let plan = Plan { origins: vec![Origin::Op(0)], ..Plan::default() };
            let model = DiskModel { cache, ..DiskModel::default() };
            Executed::new(0, plan, Execution { start: Image::zeroed(1), log }, &model).keys()[0]
        };
        for cache in [CacheKind::Writeback, CacheKind::Writethrough] {
            assert_eq!(key(cache, 1), key(cache, 1));
            assert_ne!(key(cache, 1), key(cache, 9), "{cache:?}");
        }
    }

    /// What one of them has found is not true of the other: it has states that the other has not.
    #[test]
    fn recoveries_of_two_classes_have_two_keys() {
        let model = DiskModel::default();
        let first = Arc::new(executed("wwfo"));
        let unit = Unit { index: 0, executed: first.clone(), epoch: 0, key: [0; 16], recovery_crash: None };
        let layers = first.layers(0, model);
        let key = |settled: &[storage::Decision]| {
            let mut class = layers.fates();
            assert!(class.settle_these(settled));
            let log = executed("w").log;
            unit.recovery_crashes([1; 16], Recovery { class, log }).first().map(|unit| unit.key)
        };
        let decision = storage::Decision { write: 0, unit: 0, survived: true };
        assert_eq!(key(&[]), key(&[]));
        assert_ne!(key(&[]), key(&[decision]));
    }

    /// Found by trying: without this, a violation on btrfs that only the schedule with such work shows was missed.
    #[test]
    fn work_that_the_disk_did_not_see_is_work() {
        assert_eq!(shared("wfowfowfo", "wfocwfowfo"), 1);
    }

    /// Found by counting: on ext4, whether it is there differs between two executions of one schedule.
    #[test]
    fn a_flush_of_nothing_is_no_difference() {
        assert_eq!(shared("wffowfowfo", "wfowfowfo"), shared("wfowfowfo", "wfowfowfo"));
    }
}
