//! Cuts a block log into epochs: spans of time in each of which one set of writes is volatile.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{BlockLog, CacheKind, DiskModel, Entry, Image, WriteEntry};

/// A span of a block log: the crash states of its last crash point include those of all its others.
///
/// With a cache that obeys flushes, that is the part between two completed flushes. On a disk without a cache, it is
/// the part up to the completion of a write, as long as others are under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Epoch {
    /// How many writes of the log, from the first, are durable.
    pub durable: usize,
    /// Others that are durable by themselves ([`BlockLog::with_fua`]), as log indices, ascending; none below `durable`.
    pub forced: Vec<usize>,
    /// Writes that are volatile at the epoch's last crash point, as log indices, ascending; none below `durable`.
    /// Every earlier crash point of the epoch has a subset of them. Those that were under way then have not been logged
    /// yet.
    pub volatile: Vec<usize>,
    /// How many writes had been logged at the epoch's last crash point.
    pub logged: usize,
    /// Steps that had begun when the epoch began: no crash state of it can occur earlier. The first begins before all of
    /// them; every other while one is under way, which began where the one before it ended.
    pub begun_first: u32,
    /// Steps that had ended at the epoch's last crash point: the promises that had been made by then.
    pub ended_last: u32,
}

impl Epoch {
    /// Brings `durable`, the durable state at the epoch before (`from` writes of the log), up to this one.
    pub fn advance(&self, durable: &mut Image, log: &BlockLog, from: usize) {
        for write in log.writes[from..self.durable].iter().chain(self.forced_writes(log)) {
            durable.write(write.sector, &write.data);
        }
    }

    /// The durable writes, in an order in which they can be written one after the other.
    pub fn durable_writes<'a>(&self, log: &'a BlockLog) -> impl Iterator<Item = &'a WriteEntry> {
        log.writes[..self.durable].iter().chain(self.forced_writes(log))
    }

    fn forced_writes<'a>(&self, log: &'a BlockLog) -> impl Iterator<Item = &'a WriteEntry> {
        self.forced.iter().map(|&index| &log.writes[index])
    }

    /// The volatile writes, in log order.
    pub fn volatile_writes<'a>(&self, log: &'a BlockLog) -> impl Iterator<Item = &'a WriteEntry> {
        self.volatile.iter().map(|&index| &log.writes[index])
    }
}

/// The epochs of `log`, in order, under `model`. At least one: a log without writes has one epoch with one state.
pub fn epochs(log: &BlockLog, model: &DiskModel) -> Vec<Epoch> {
    match model.cache {
        CacheKind::Writeback => between_flushes(log, true),
        CacheKind::Lying => between_flushes(log, false),
        CacheKind::Writethrough => in_flight(log),
    }
}

/// Which writes had been issued and had not completed when something else did.
struct UnderWay<'a> {
    log: &'a BlockLog,
    /// The lowest number among the requests of each write and all later ones: where to stop looking.
    lowest: Vec<u64>,
}

impl<'a> UnderWay<'a> {
    fn new(log: &'a BlockLog) -> Self {
        let mut lowest: Vec<u64> = log.queueing.iter().map(|queueing| queueing.request).collect();
        for index in (1..lowest.len()).rev() {
            lowest[index - 1] = lowest[index - 1].min(lowest[index]);
        }
        Self { log, lowest }
    }

    /// Among the writes that were logged from `from` on, when the guest had queued so many requests.
    fn among(&self, from: usize, available: u64) -> impl Iterator<Item = usize> {
        let until = from + self.lowest[from..].partition_point(|&lowest| lowest < available);
        (from..until).filter(move |&write| self.log.queueing[write].request < available)
    }
}

/// A write that completed before a flush was issued is durable once that flush completes; everything else is
/// volatile, also what is under way then: a disk may have put it where it stays before it says so. A flush that makes
/// nothing durable does not end an epoch: it changes no crash state, only how long the states last.
fn between_flushes(log: &BlockLog, obeyed: bool) -> Vec<Epoch> {
    let under_way = UnderWay::new(log);
    let mut epochs = Vec::new();
    let mut written = 0;
    let mut durable = 0;
    let mut forced: BTreeSet<usize> = BTreeSet::new();
    let mut ended = 0;
    let mut begun_first = 0;
    let mut close = |durable, forced: &BTreeSet<usize>, logged, available: u64, begun_first: u32, ended_last: u32| {
        let volatile = (durable..logged).filter(|write| !forced.contains(write));
        let volatile = volatile.chain(under_way.among(logged, available)).collect();
        let forced = forced.iter().copied().collect();
        epochs.push(Epoch { durable, forced, volatile, logged, begun_first, ended_last });
    };
    for entry in &log.entries {
        match *entry {
            Entry::Write(index) => written = index as usize + 1,
            Entry::Mark(mark) => ended = mark.step + 1,
            Entry::Flush { covers, available } => {
                let covers = covers as usize;
                if !obeyed || covers <= durable {
                    continue;
                }
                if !(durable..covers).all(|write| forced.contains(&write)) {
                    close(durable, &forced, written, available, begun_first, ended);
                    begun_first = ended + 1;
                }
                durable = covers;
                forced = forced.split_off(&durable);
            }
            Entry::Forced { from, until, available } => {
                if !obeyed {
                    continue;
                }
                close(durable, &forced, written, available, begun_first, ended);
                forced.extend(from as usize..until as usize);
                begun_first = ended + 1;
            }
        }
    }
    // The last epoch is there even without writes: its one state is what a crash after the last op leaves.
    close(durable, &forced, written, 0, begun_first, ended);
    epochs
}

/// Just before a write completes, it and the others that have been issued and have not completed are volatile, and all
/// that completed before is durable.
///
/// Such a window adds nothing to the one before if that has its states, and the same promises had been given by then.
/// If a step has ended in between, the window stands for itself: its states can occur after that promise, those of the
/// other window in which the write that has completed since is lost can not.
fn in_flight(log: &BlockLog) -> Vec<Epoch> {
    let under_way = UnderWay::new(log);
    let mut epochs: Vec<Epoch> = Vec::new();
    let mut close = |epoch: Epoch| {
        // What has become durable since the last window was volatile in it: it is the write that completed, or was
        // under way in a window that added nothing.
        let known = |last: &Epoch, write| last.volatile.binary_search(write).is_ok();
        let adds = |last: &Epoch| {
            epoch.ended_last != last.ended_last || !epoch.volatile.iter().all(|write| known(last, write))
        };
        if epochs.last().is_none_or(adds) {
            epochs.push(epoch);
        }
    };
    let (mut ended, mut begun_first) = (0, 0);
    for entry in &log.entries {
        match *entry {
            Entry::Write(index) => {
                let durable = index as usize;
                let volatile = under_way.among(durable, log.queueing[durable].available).collect();
                close(Epoch { durable, forced: Vec::new(), volatile, logged: durable, begun_first, ended_last: ended });
                begun_first = ended + 1;
            }
            Entry::Mark(mark) => ended = mark.step + 1,
            Entry::Flush { .. } | Entry::Forced { .. } => {}
        }
    }
    let (durable, forced) = (log.writes.len(), Vec::new());
    close(Epoch { durable, forced, volatile: Vec::new(), logged: durable, begun_first, ended_last: ended });
    epochs
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{Mark, Queueing, SECTOR};

    fn entry(step: u32) -> WriteEntry {
        WriteEntry { sector: 0, data: Arc::new(vec![0; SECTOR]), step }
    }

    /// `w` a write, `f` a flush that covers all before it, `1`-`9` a flush that covers so many, `.` the end of a step.
    fn log(text: &str) -> BlockLog {
        let mut log = BlockLog::default();
        let mut step = 0;
        for letter in text.chars() {
            let written = log.writes.len() as u32;
            match letter {
                'w' => {
                    let request = u64::from(written);
                    log.write(entry(step), Queueing { request, available: request + 1 });
                }
                'f' => log.entries.push(Entry::Flush { covers: written, available: 0 }),
                '.' => {
                    log.entries.push(Entry::Mark(Mark { step, result: 0 }));
                    step += 1;
                }
                digit => log.entries.push(Entry::Flush { covers: digit.to_digit(10).unwrap(), available: 0 }),
            }
        }
        log
    }

    fn shape(text: &str, model: &DiskModel) -> Vec<(usize, usize, u32, u32)> {
        let epochs = epochs(&log(text), model);
        epochs.iter().map(|e| (e.durable, e.volatile.len(), e.begun_first, e.ended_last)).collect()
    }

    #[test]
    fn flushes_cut_epochs() {
        let model = DiskModel::default();
        assert_eq!(shape("ww.wf.w.", &model), [(0, 3, 0, 1), (3, 1, 2, 3)]);
        assert_eq!(shape("", &model), [(0, 0, 0, 0)]);
        assert_eq!(shape("wf..", &model), [(0, 1, 0, 0), (1, 0, 1, 2)]);
    }

    #[test]
    fn a_flush_that_makes_nothing_durable_ends_no_epoch() {
        assert_eq!(shape("f.wf.f.f.", &DiskModel::default()), [(0, 1, 0, 1), (1, 0, 2, 4)]);
    }

    #[test]
    fn a_write_in_flight_when_the_flush_was_issued_stays_volatile() {
        assert_eq!(shape("www2.w", &DiskModel::default()), [(0, 3, 0, 0), (2, 2, 1, 1)]);
    }

    #[test]
    fn a_lying_disk_has_one_epoch() {
        let model = DiskModel { cache: CacheKind::Lying, ..DiskModel::default() };
        assert_eq!(shape("wf.wf.w.", &model), [(0, 3, 0, 3)]);
    }

    /// What happens on a disk.
    #[derive(Clone, Debug)]
    enum Event {
        /// The guest queues a write.
        Issue,
        /// One of the writes under way completes: this one, modulo their number.
        Complete(usize),
        /// The guest queues a flush, and it completes.
        Flush,
        /// A step ends.
        End,
    }

    fn event() -> impl Strategy<Value = Event> {
        let complete = (0usize..3).prop_map(Event::Complete);
        prop_oneof![4 => Just(Event::Issue), 4 => complete, 1 => Just(Event::Flush), 1 => Just(Event::End)]
    }

    /// A crash point, writes by their request numbers.
    #[derive(Clone, Default)]
    struct Point {
        flushed: Vec<u64>,
        completed: Vec<u64>,
        under_way: Vec<u64>,
        /// How many steps have ended.
        ended: u32,
    }

    /// The log of such events, and its crash points.
    fn happen(events: &[Event]) -> (BlockLog, Vec<Point>) {
        let mut log = BlockLog::default();
        let mut issued = 0;
        let mut now = Point::default();
        let mut points = vec![now.clone()];
        // A replay ends with nothing under way.
        let rest = vec![Event::Complete(0); events.len()];
        for event in events.iter().chain(&rest) {
            match event {
                Event::Issue => {
                    now.under_way.push(issued);
                    issued += 1;
                }
                Event::Complete(which) if !now.under_way.is_empty() => {
                    let request = now.under_way.remove(which % now.under_way.len());
                    log.write(entry(now.ended), Queueing { request, available: issued });
                    now.completed.push(request);
                }
                Event::Complete(_) => continue,
                Event::Flush => {
                    issued += 1;
                    log.flush(Queueing { request: issued - 1, available: issued });
                    now.flushed = now.completed.clone();
                }
                Event::End => {
                    log.entries.push(Entry::Mark(Mark { step: now.ended, result: 0 }));
                    now.ended += 1;
                }
            }
            points.push(now.clone());
        }
        (log, points)
    }

    fn subsets(durable: &[u64], open: &[u64]) -> Vec<BTreeSet<u64>> {
        let chosen = |kept: u32| open.iter().enumerate().filter(move |(bit, _)| kept >> bit & 1 == 1).map(|(_, &w)| w);
        (0..1 << open.len()).map(|kept| durable.iter().copied().chain(chosen(kept)).collect()).collect()
    }

    proptest! {
        /// The epochs hold the states that can occur, no others, and each up to the last promise that it can follow.
        #[test]
        fn what_is_under_way_is_volatile(
            events in prop::collection::vec(event(), 0..14),
            cache in prop::sample::select(vec![CacheKind::Writeback, CacheKind::Lying, CacheKind::Writethrough]),
        ) {
            let (log, points) = happen(&events);
            let mut can: BTreeMap<BTreeSet<u64>, BTreeSet<u32>> = BTreeMap::new();
            for Point { flushed, completed, under_way, ended } in &points {
                let durable = match cache {
                    CacheKind::Writeback => flushed.clone(),
                    CacheKind::Lying => Vec::new(),
                    CacheKind::Writethrough => completed.clone(),
                };
                let open = completed.iter().filter(|request| !durable.contains(request)).chain(under_way);
                let open: Vec<u64> = open.copied().collect();
                for state in subsets(&durable, &open) {
                    can.entry(state).or_default().insert(*ended);
                }
            }
            let epochs = epochs(&log, &DiskModel { cache, ..DiskModel::default() });
            let mut found: BTreeMap<BTreeSet<u64>, (u32, u32)> = BTreeMap::new();
            for epoch in &epochs {
                let request = |write: usize| log.queueing[write].request;
                let durable: Vec<u64> = (0..epoch.durable).map(request).collect();
                let open: Vec<u64> = epoch.volatile.iter().copied().map(request).collect();
                for state in subsets(&durable, &open) {
                    let occurs = can.get(&state).is_some_and(|ended| ended.contains(&epoch.ended_last));
                    prop_assert!(occurs, "{state:?} cannot occur in {epoch:?}");
                    let (first, last) = found.entry(state).or_insert((epoch.begun_first, epoch.ended_last));
                    (*first, *last) = ((*first).min(epoch.begun_first), (*last).max(epoch.ended_last));
                }
            }
            for (state, ended) in &can {
                // Without any write it can occur before the first step.
                let begun = if state.is_empty() { 0 } else { ended.first().unwrap() + 1 };
                let (found, last) = (found.get(state), *ended.last().unwrap());
                prop_assert!(found.is_some_and(|found| found.0 <= begun && found.1 == last), "{state:?}: {found:?}");
            }
            for pair in epochs.windows(2).filter(|_| cache == CacheKind::Writethrough) {
                let within = pair[1].volatile.iter().all(|write| pair[0].volatile.contains(write));
                prop_assert!(pair[0].ended_last != pair[1].ended_last || !within);
            }
        }
    }

    #[test]
    fn writes_that_are_not_queued_together_are_never_volatile_together() {
        let model = DiskModel { cache: CacheKind::Writethrough, ..DiskModel::default() };
        assert_eq!(shape("ww.wf.", &model), [(0, 1, 0, 0), (1, 1, 1, 0), (2, 1, 1, 1), (3, 0, 2, 2)]);
        assert_eq!(shape("", &model), [(0, 0, 0, 0)]);
    }
}
