//! Writes with forced unit access (FUA): durable once they complete, without a flush.
//!
//! The disk that a guest sees has no FUA: virtio-blk has none (Virtual I/O Device 1.2, section 5.2.3), and its kernel
//! sends a flush behind the write instead (block/blk-flush.c). That flush makes durable whatever had completed before,
//! which a disk with FUA leaves volatile. Most disks have FUA.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::{BlockLog, Entry, WriteEntry};

impl BlockLog {
    /// The log of a disk with FUA: each flush that stands behind the writes of one step, and is `fua` of these by the
    /// number of that step, makes only them durable.
    ///
    /// Where they overlap with writes that are volatile, the flush stays what it was: what a disk does with the older
    /// ones when it is forced to write the newer ones through is not said anywhere.
    pub fn with_fua(mut self, fua: impl Fn(u32, &[WriteEntry]) -> bool) -> Self {
        let (mut durable, mut written, mut step) = (0, 0, 0);
        let mut forced: BTreeSet<usize> = BTreeSet::new();
        for index in 0..self.entries.len() {
            match self.entries[index] {
                Entry::Write(write) => written = write as usize + 1,
                Entry::Mark(mark) => step = mark.step + 1,
                Entry::Forced { .. } => {}
                Entry::Flush { covers, available } => {
                    let own = self.own(durable, written, step);
                    let volatile: Vec<usize> = (durable..own.start).filter(|write| !forced.contains(write)).collect();
                    if covers as usize == written
                        && !own.is_empty()
                        && self.are_apart(&volatile, own.clone())
                        && fua(step, &self.writes[own.clone()])
                    {
                        let (from, until) = (own.start as u32, own.end as u32);
                        self.entries[index] = Entry::Forced { from, until, available };
                        forced.extend(own);
                    } else {
                        durable = durable.max(covers as usize);
                    }
                }
            }
        }
        self
    }

    /// The writes of this step among these: they come last.
    fn own(&self, from: usize, until: usize, step: u32) -> Range<usize> {
        let others = self.writes[from..until].iter().rposition(|write| write.step != step).map_or(0, |last| last + 1);
        from + others..until
    }

    fn are_apart(&self, some: &[usize], others: Range<usize>) -> bool {
        let overlap = |one: &WriteEntry, other: &WriteEntry| {
            one.sector < other.sector + other.sectors() && other.sector < one.sector + one.sectors()
        };
        let apart = |one: &usize| self.writes[others.clone()].iter().all(|other| !overlap(&self.writes[*one], other));
        some.iter().all(apart)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{DiskModel, Mark, Queueing, SECTOR, epochs};

    /// What a program has the disk do in one step.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Write(u64),
        Flush,
        /// A write with FUA: a write and a flush, on this disk.
        Forced(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![3 => (0u64..4).prop_map(Act::Write), 1 => Just(Act::Flush), 2 => (0u64..4).prop_map(Act::Forced)]
    }

    fn log(acts: &[Act]) -> BlockLog {
        let mut log = BlockLog::default();
        for (step, act) in (0..).zip(acts) {
            if let Act::Write(sector) | Act::Forced(sector) = *act {
                let number = log.writes.len() as u64;
                let data = Arc::new(vec![number as u8 + 1; SECTOR]);
                log.write(WriteEntry { sector, data, step }, Queueing { request: number, available: number + 1 });
            }
            if let Act::Flush | Act::Forced(_) = act {
                let covers = log.writes.len() as u32;
                log.entries.push(Entry::Flush { covers, available: u64::from(covers) });
            }
            log.entries.push(Entry::Mark(Mark { step, result: 0 }));
        }
        log
    }

    type Disk = [u8; 4];

    /// All states that a disk with FUA may be in after a crash at any point: by doing what it does.
    fn states(acts: &[Act]) -> BTreeSet<Disk> {
        let (mut durable, mut volatile) = (Disk::default(), Vec::<(u64, u8)>::new());
        let mut states = BTreeSet::from([durable]);
        let mut number = 0;
        for act in acts {
            if let Act::Write(sector) | Act::Forced(sector) = *act {
                number += 1;
                volatile.push((sector, number));
                states.extend(subsets(durable, &volatile));
                // A disk that writes through to where a volatile write goes has no older one to lose any more.
                if matches!(act, Act::Forced(_)) {
                    let overlaps = volatile[..volatile.len() - 1].iter().any(|(other, _)| *other == sector);
                    let forced = volatile.split_off(if overlaps { 0 } else { volatile.len() - 1 });
                    forced.into_iter().for_each(|(sector, number)| durable[sector as usize] = number);
                }
            }
            if matches!(act, Act::Flush) {
                volatile.drain(..).for_each(|(sector, number)| durable[sector as usize] = number);
            }
            states.extend(subsets(durable, &volatile));
        }
        states
    }

    fn subsets(durable: Disk, volatile: &[(u64, u8)]) -> BTreeSet<Disk> {
        volatile.iter().fold(BTreeSet::from([durable]), |states, (sector, number)| {
            let with = |mut disk: Disk| {
                disk[*sector as usize] = *number;
                disk
            };
            states.iter().copied().chain(states.iter().copied().map(with)).collect()
        })
    }

    proptest! {
        #[test]
        fn the_states_are_those_of_a_disk_with_fua(acts in prop::collection::vec(act(), 0..9)) {
            let is_forced = |step: u32, _: &[WriteEntry]| matches!(acts[step as usize], Act::Forced(_));
            let log = log(&acts).with_fua(is_forced);
            let mut found = BTreeSet::new();
            for epoch in epochs(&log, &DiskModel::default()) {
                let mut durable = Disk::default();
                for write in epoch.durable_writes(&log) {
                    durable[write.sector as usize] = write.data[0];
                }
                let volatile: Vec<_> = epoch.volatile_writes(&log).map(|write| (write.sector, write.data[0])).collect();
                found.extend(subsets(durable, &volatile));
            }
            prop_assert_eq!(found, states(&acts));
        }
    }

    /// Litmus 15: what came before a synchronous overwrite stays volatile after its promise.
    #[test]
    fn a_forced_write_leaves_others_volatile() {
        let acts = [Act::Write(1), Act::Forced(0)];
        let last = |log: BlockLog| epochs(&log, &DiskModel::default()).pop().unwrap();
        let with = last(log(&acts).with_fua(|step, _| step == 1));
        assert_eq!((with.durable, with.forced, with.volatile, with.ended_last), (0, vec![1], vec![0], 2));
        let without = last(log(&acts));
        assert_eq!((without.durable, without.volatile), (2, vec![]));
    }
}
