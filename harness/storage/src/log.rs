//! The block log: what the disk saw during one replay, in order.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::SECTOR;

/// One write request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteEntry {
    /// First sector.
    pub sector: u64,
    /// The bytes, a whole number of sectors.
    pub data: Arc<Vec<u8>>,
    /// The step of the replay that was under way when the guest issued it: what had been asked of the kernel by then.
    pub step: u32,
}

impl WriteEntry {
    /// Number of sectors.
    pub fn sectors(&self) -> u64 {
        (self.data.len() / SECTOR) as u64
    }

    /// How many bytes of it lie in these of the units that it touches, counted from the first, where units have `unit`
    /// sectors ([`DiskModel::unit`](crate::DiskModel)): at either end, a write may cover a part of one.
    pub fn bytes_in(&self, units: Range<u32>, unit: u32) -> u64 {
        let unit = u64::from(unit);
        let before = |number: u32| {
            let end = (self.sector / unit + u64::from(number)) * unit;
            end.saturating_sub(self.sector).min(self.sectors())
        };
        (before(units.end) - before(units.start)) * SECTOR as u64
    }

    /// The bytes for one absolute sector number that this write covers.
    pub fn at(&self, sector: u64) -> &[u8] {
        &self.data[(sector - self.sector) as usize * SECTOR..][..SECTOR]
    }
}

/// The end of one step of the replay, reported by the agent in order with the disk's own requests. A step begins
/// where the one before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Index of the step (an op, or an injected commit or writeback).
    pub step: u32,
    /// What the call returned in the guest: its result, or the negative errno.
    pub result: i64,
}

/// When a write or a flush was under way, in the guest's own count of the requests to this disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queueing {
    /// The number of the request itself.
    pub request: u64,
    /// How many requests the guest had queued when it completed: those with a lower number had been issued.
    pub available: u64,
}

/// One thing the disk saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A write; index into [`BlockLog::writes`].
    Write(u32),
    /// A flush that completed.
    Flush {
        /// Number of writes, from the first, that it makes durable: they had completed when it was issued.
        covers: u32,
        /// How many requests the guest had queued when it completed: writes with a lower number had been issued.
        available: u64,
    },
    /// Some writes became durable by themselves ([`BlockLog::with_fua`]), not the ones before them.
    Forced {
        /// The first of them.
        from: u32,
        /// The first after them.
        until: u32,
        /// How many requests the guest had queued when they were durable.
        available: u64,
    },
    /// A step of the replay ended.
    Mark(Mark),
}

/// No replay has so many steps: the highest numbers stand for other marks ([`protocol::frame`]).
const BEYOND: u32 = u32::MAX - 16;

/// What the disk saw during one replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockLog {
    /// Every write, in the order of completion.
    pub writes: Vec<WriteEntry>,
    /// For each write, when it was under way; `available` ascends.
    pub queueing: Vec<Queueing>,
    /// Everything, in order.
    pub entries: Vec<Entry>,
}

impl BlockLog {
    /// Logs a write that completes.
    pub(crate) fn write(&mut self, entry: WriteEntry, queueing: Queueing) {
        debug_assert_eq!(entry.data.len() % SECTOR, 0);
        self.entries.push(Entry::Write(self.writes.len() as u32));
        self.writes.push(entry);
        self.queueing.push(queueing);
    }

    /// Whether a disk of so many sectors can have logged this: what comes from a file may be damaged.
    pub fn fits(&self, sectors: u64) -> bool {
        let mut written = 0;
        let mut in_order = |entry: &Entry| match *entry {
            Entry::Write(index) => {
                let is_next = index == written;
                written += 1;
                is_next
            }
            Entry::Flush { covers, .. } => covers <= written,
            Entry::Forced { from, until, .. } => from < until && until <= written,
            // Steps are counted, and those that ended are one more.
            Entry::Mark(mark) => mark.step < BEYOND,
        };
        let inside = |write: &WriteEntry| {
            let whole = !write.data.is_empty() && write.data.len().is_multiple_of(SECTOR);
            whole && write.step < BEYOND && write.sector.checked_add(write.sectors()).is_some_and(|end| end <= sectors)
        };
        self.entries.iter().all(&mut in_order)
            && written as usize == self.writes.len()
            && self.queueing.len() == self.writes.len()
            && self.queueing.is_sorted_by_key(|queueing| queueing.available)
            && self.writes.iter().all(inside)
    }

    /// Logs a flush that completes.
    pub(crate) fn flush(&mut self, flush: Queueing) {
        let covers = self.queueing.partition_point(|queueing| queueing.available <= flush.request);
        self.entries.push(Entry::Flush { covers: covers as u32, available: flush.available });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{CacheKind, Decision, DiskModel, Image, Layers, State, Tear, TearKind, epochs};

    fn a_number() -> impl Strategy<Value = u64> {
        prop_oneof![8 => 0..6u64, 1 => Just(u64::from(u32::MAX)), 1 => Just(u64::MAX), 1 => any::<u64>()]
    }

    /// A log that a file may hold, and no disk need have seen.
    fn a_log() -> impl Strategy<Value = BlockLog> {
        let write = (a_number(), 0..3usize, a_number());
        let write = write.prop_map(|(sector, sectors, step)| WriteEntry {
            sector,
            data: Arc::new(vec![sector as u8; sectors * SECTOR]),
            step: step as u32,
        });
        let writes = prop::collection::vec((write, a_number(), a_number()), 0..4);
        let other = (0..4u8, a_number(), a_number(), a_number()).prop_map(|(kind, one, two, three)| match kind {
            0 => Entry::Write(one as u32),
            1 => Entry::Flush { covers: one as u32, available: two },
            2 => Entry::Forced { from: one as u32, until: two as u32, available: three },
            _ => Entry::Mark(Mark { step: one as u32, result: two as i64 }),
        });
        let others = prop::collection::vec((any::<prop::sample::Index>(), other), 0..5);
        (writes, others, any::<bool>()).prop_map(|(writes, others, is_sorted)| {
            let mut log = BlockLog::default();
            for (entry, request, available) in writes {
                log.write(entry, Queueing { request, available });
            }
            if is_sorted {
                log.queueing.sort_by_key(|queueing| queueing.available);
            }
            for (at, entry) in others {
                log.entries.insert(at.index(log.entries.len() + 1), entry);
            }
            log
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        /// What fits is worked with: its epochs, fates and states, whatever else a file says of them.
        #[test]
        fn no_log_that_fits_makes_it_panic(
            log in a_log(),
            models in (0..3usize, 0..3usize, proptest::sample::select(vec![1u32, 8])),
            numbers in prop::collection::vec((a_number(), a_number(), any::<bool>()), 0..4),
        ) {
            if !log.fits(128) {
                return Ok(());
            }
            let (cache, tear, unit) = models;
            let cache = [CacheKind::Writeback, CacheKind::Writethrough, CacheKind::Lying][cache];
            let tear = [TearKind::None, TearKind::One, TearKind::Any][tear];
            let model = DiskModel { cache, tear, unit, fua: true };
            let log = log.with_fua(|step, _| step % 2 == 1);
            let decisions: Vec<Decision> = numbers
                .iter()
                .map(|&(write, unit, survived)| Decision { write: write as u32, unit: unit as u32, survived })
                .collect();
            let states = [
                State { lost: decisions.iter().map(|decision| decision.write).collect(), ..State::default() },
                State {
                    torn: decisions.iter().map(|decision| (decision.write, Tear::Head(decision.unit))).collect(),
                    ..State::default()
                },
                State {
                    lost_units: decisions.iter().map(|decision| (decision.write, decision.unit)).collect(),
                    ..State::default()
                },
            ];
            for epoch in epochs(&log, &model) {
                let layers = Arc::new(Layers::new(Image::zeroed(65536), &log, &epoch, model));
                let mut fates = layers.fates();
                if fates.settle_these(&decisions) {
                    let _ = (fates.count(), fates.fewest_lost(), fates.count_by_losses::<3>());
                    let recovered = Layers::recovered(&layers, &fates, &log, &epoch);
                    states.iter().filter(|state| recovered.fates().allows(state)).for_each(|state| {
                        recovered.image(state);
                    });
                }
                for state in states.iter().filter(|state| layers.fates().allows(state)) {
                    layers.image(state);
                    layers.fates().settle_all(state);
                }
            }
        }

        #[test]
        fn no_image_makes_it_panic(changes in prop::collection::vec((0..9000usize, a_number()), 1..4)) {
            let mut image = Image::zeroed(1 << 20);
            image.write(3, &[7; 2 * SECTOR]);
            image.write(200, &[8; SECTOR]);
            let mut bytes = Vec::new();
            image.save(&mut bytes).unwrap();
            for (at, number) in changes {
                let at = at.min(bytes.len() - 8);
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            let _ = Image::load(&bytes[..]);
        }
    }

    fn write(sector: u64, sectors: usize) -> WriteEntry {
        WriteEntry { sector, data: Arc::new(vec![0; sectors * SECTOR]), step: 0 }
    }

    #[test]
    fn units_at_the_ends_of_a_write_are_parts() {
        let odd = write(3, 15);
        let bytes = |units| odd.bytes_in(units, 8);
        assert_eq!([bytes(0..1), bytes(1..2), bytes(2..3), bytes(0..3)], [5 * 512, 8 * 512, 2 * 512, 15 * 512]);
        assert_eq!(odd.bytes_in(2..3, 1), 512);
    }

    #[test]
    fn what_no_disk_can_have_logged_does_not_fit() {
        let mut log = BlockLog::default();
        log.write(write(0, 8), Queueing { request: 0, available: 1 });
        log.flush(Queueing { request: 1, available: 2 });
        log.write(write(992, 8), Queueing { request: 2, available: 3 });
        assert!(log.fits(1000) && !log.fits(999));
        let damaged: [fn(&mut BlockLog); 9] = [
            |log| log.entries[0] = Entry::Write(7),
            |log| log.entries[0] = Entry::Write(u32::MAX),
            |log| log.entries[1] = Entry::Flush { covers: 2, available: 2 },
            |log| log.entries.push(Entry::Mark(Mark { step: u32::MAX, result: 0 })),
            |log| log.writes[0].step = u32::MAX,
            |log| log.entries.truncate(2),
            |log| log.queueing.truncate(1),
            |log| log.queueing[0].available = 9,
            |log| log.writes[0].data = Arc::new(vec![0; 100]),
        ];
        for damage in damaged {
            let mut log = log.clone();
            damage(&mut log);
            assert!(!log.fits(1000), "{log:?}");
        }
        log.writes[0].sector = u64::MAX;
        assert!(!log.fits(1000));
    }
}
