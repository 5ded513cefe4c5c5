//! What the disk saw during one execution, without what was written: enough to count crash states, to name them, and to
//! say when they can occur, but not to build one.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{BlockLog, Entry, Queueing, SECTOR, WriteEntry};

/// A [`BlockLog`] without the data of its writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogShape {
    writes: Vec<WriteShape>,
    queueing: Vec<Queueing>,
    entries: Vec<Entry>,
}

/// A [`WriteEntry`] without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WriteShape {
    /// The first sector.
    sector: u64,
    /// How many sectors it has.
    sectors: u32,
    /// See [`WriteEntry::step`].
    step: u32,
}

/// No disk is given more in one request, sectors, and no log has writes of so many lengths that one of each takes more.
const MOST: u64 = (256 << 20) / SECTOR as u64;

impl From<&BlockLog> for LogShape {
    fn from(log: &BlockLog) -> Self {
        let shape = |write: &WriteEntry| WriteShape {
            sector: write.sector,
            sectors: u32::try_from(write.sectors()).unwrap_or(u32::MAX),
            step: write.step,
        };
        Self {
            writes: log.writes.iter().map(shape).collect(),
            queueing: log.queueing.clone(),
            entries: log.entries.clone(),
        }
    }
}

impl LogShape {
    /// A log of this shape, in which every write is of zeros. `None` if no disk of so many `sectors` can have seen it:
    /// what comes from a file may be damaged.
    pub fn of_zeros(&self, sectors: u64) -> Option<BlockLog> {
        let mut lengths: Vec<u64> = self.writes.iter().map(|write| write.sectors.into()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        if lengths.iter().sum::<u64>() > MOST {
            return None;
        }
        // Writes of one length share their zeros.
        let zeros: HashMap<u32, Arc<Vec<u8>>> =
            lengths.into_iter().map(|count| (count as u32, Arc::new(vec![0; count as usize * SECTOR]))).collect();
        let write = |&WriteShape { sector, sectors, step }: &WriteShape| WriteEntry {
            sector,
            data: zeros[&sectors].clone(),
            step,
        };
        let log = BlockLog {
            writes: self.writes.iter().map(write).collect(),
            queueing: self.queueing.clone(),
            entries: self.entries.clone(),
        };
        log.fits(sectors).then_some(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_data_comes_back() {
        let mut log = BlockLog::default();
        for (sector, length) in [(8, 2), (100, 1), (9, 2)] {
            let data = Arc::new(vec![7; length * SECTOR]);
            let request = log.writes.len() as u64;
            log.write(WriteEntry { sector, data, step: 3 }, Queueing { request, available: request + 1 });
        }
        log.flush(Queueing { request: 3, available: 4 });
        let shape = LogShape::from(&log);
        let zeros = shape.of_zeros(1000).unwrap();
        assert!(zeros.writes.iter().all(|write| write.data.iter().all(|&byte| byte == 0)));
        assert_eq!((LogShape::from(&zeros), &zeros.entries), (shape.clone(), &log.entries));
        assert!(shape.of_zeros(100).is_none());
        let large = WriteShape { sector: 0, sectors: u32::MAX, step: 0 };
        assert!(LogShape { writes: vec![large], ..shape }.of_zeros(u64::MAX).is_none());
    }
}
