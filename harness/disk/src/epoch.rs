//! Cuts a block log into epochs: between two completed flushes, what is durable and what is volatile.

use std::ops::Range;

use crate::{BlockLog, CacheKind, DiskModel, Entry, Image};

/// The part of a block log between two completed flushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Writes that are volatile at the epoch's last crash point, as log indices; all before them are durable. Every earlier crash point of
    /// the epoch has a subset of them, so the states of the last one include those of all.
    pub volatile: Range<usize>,
    /// Steps that had ended when the epoch began: no crash state of it can occur earlier.
    pub ended_first: u32,
    /// Steps that had ended at the epoch's last crash point: the promises that had been made by then.
    pub ended_last: u32,
}

impl Epoch {
    /// Brings `durable`, the durable state at the epoch before (`from` writes of the log), up to this one.
    pub fn advance(&self, durable: &mut Image, log: &BlockLog, from: usize) {
        for write in &log.writes[from..self.volatile.start] {
            durable.write(write.sector, &write.data);
        }
    }
}

/// The epochs of `log`, in order, under `model`. At least one: a log without writes has one epoch with one state.
///
/// A write that completed before a flush was issued is durable once that flush completes; everything else is
/// volatile. A flush that makes nothing durable does not end an epoch: it changes no crash state, only how long
/// the states last.
pub fn epochs(log: &BlockLog, model: &DiskModel) -> Vec<Epoch> {
    let mut epochs = Vec::new();
    let mut written = 0;
    let mut durable = 0;
    let mut ended = 0;
    let mut ended_first = 0;
    let mut close = |durable: u32, written: u32, ended_first: u32, ended_last: u32| {
        epochs.push(Epoch { volatile: durable as usize..written as usize, ended_first, ended_last });
    };
    for entry in &log.entries {
        match *entry {
            Entry::Write(index) => written = index + 1,
            Entry::Mark(mark) => ended = mark.step + 1,
            Entry::Flush { covers } => {
                if model.cache == CacheKind::Lying || covers <= durable {
                    continue;
                }
                close(durable, written, ended_first, ended);
                durable = covers;
                ended_first = ended;
            }
        }
    }
    // The last epoch is there even without writes: its one state is what a crash after the last op leaves.
    close(durable, written, ended_first, ended);
    epochs
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Mark, SECTOR, WriteEntry};

    /// `w` a write, `f` a flush that covers all before it, `1`-`9` a flush that covers so many, `.` the end of a step.
    fn log(text: &str) -> BlockLog {
        let mut log = BlockLog::default();
        let mut step = 0;
        for letter in text.chars() {
            let written = log.writes.len() as u32;
            match letter {
                'w' => {
                    log.writes.push(WriteEntry { sector: 0, data: Arc::new(vec![0; SECTOR]), step });
                    log.entries.push(Entry::Write(written));
                }
                'f' => log.entries.push(Entry::Flush { covers: written }),
                '.' => {
                    log.entries.push(Entry::Mark(Mark { step, result: 0 }));
                    step += 1;
                }
                digit => log.entries.push(Entry::Flush { covers: digit.to_digit(10).unwrap() }),
            }
        }
        log
    }

    fn shape(text: &str, model: &DiskModel) -> Vec<(usize, usize, u32, u32)> {
        let epochs = epochs(&log(text), model);
        epochs.iter().map(|e| (e.volatile.start, e.volatile.len(), e.ended_first, e.ended_last)).collect()
    }

    #[test]
    fn flushes_cut_epochs() {
        let model = DiskModel::default();
        assert_eq!(shape("ww.wf.w.", &model), [(0, 3, 0, 1), (3, 1, 1, 3)]);
        assert_eq!(shape("", &model), [(0, 0, 0, 0)]);
        assert_eq!(shape("wf..", &model), [(0, 1, 0, 0), (1, 0, 0, 2)]);
    }

    #[test]
    fn a_flush_that_makes_nothing_durable_ends_no_epoch() {
        assert_eq!(shape("f.wf.f.f.", &DiskModel::default()), [(0, 1, 0, 1), (1, 0, 1, 4)]);
    }

    #[test]
    fn a_write_in_flight_when_the_flush_was_issued_stays_volatile() {
        assert_eq!(shape("www2.w", &DiskModel::default()), [(0, 3, 0, 0), (2, 2, 0, 1)]);
    }

    #[test]
    fn a_lying_disk_has_one_epoch() {
        let model = DiskModel { cache: CacheKind::Lying, ..DiskModel::default() };
        assert_eq!(shape("wf.wf.w.", &model), [(0, 3, 0, 3)]);
    }
}
