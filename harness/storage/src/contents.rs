//! One copy of what many logs hold.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::BlockLog;

/// The contents of writes, each kept once. Each recovery of an xfs log clears the same 2 MiB of it, and a crash during
/// recovery is explored for thousands of recoveries at once.
#[derive(Debug, Default)]
pub struct Contents {
    known: HashSet<Arc<Vec<u8>>>,
    /// How many were in use when it was last looked.
    used: usize,
}

impl Contents {
    /// Has the writes of `log` hold the copies that are there already.
    pub fn share(&mut self, log: &mut BlockLog) {
        for write in &mut log.writes {
            match self.known.get(&write.data) {
                Some(known) => write.data = known.clone(),
                None => drop(self.known.insert(write.data.clone())),
            }
        }
        // Rarely enough that it costs next to nothing, often enough that what nobody uses is at most as much again.
        if self.known.len() > 2 * self.used + 64 {
            self.known.retain(|data| Arc::strong_count(data) > 1);
            self.used = self.known.len();
        }
    }
}

/// Zeros that were written: those of each length are kept once. Programs fill files with them, and file systems their logs.
#[derive(Debug, Default)]
pub(crate) struct Zeros(BTreeMap<usize, Arc<Vec<u8>>>);

impl Zeros {
    /// What was written, to be shared.
    pub(crate) fn share(&mut self, data: Vec<u8>) -> Arc<Vec<u8>> {
        static ZEROS: [u8; 4096] = [0; 4096];
        if !data.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()]) {
            return Arc::new(data);
        }
        self.0.entry(data.len()).or_insert_with(|| Arc::new(vec![0; data.len()])).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Queueing, WriteEntry};

    fn log(contents: impl IntoIterator<Item = u32>) -> BlockLog {
        let mut log = BlockLog::default();
        for content in contents {
            let data = Arc::new(content.to_le_bytes().repeat(crate::SECTOR / 4));
            log.write(WriteEntry { sector: 0, data, step: 0 }, Queueing::default());
        }
        log
    }

    #[test]
    fn zeros_of_each_length_are_held_once() {
        let mut zeros = Zeros::default();
        let (one, other) = (zeros.share(vec![0; 8192]), zeros.share(vec![0; 8192]));
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!((*one).clone(), vec![0; 8192]);
        let mut last = vec![0; 8192];
        last[8191] = 1;
        assert_eq!(*zeros.share(last.clone()), last);
        assert_eq!(zeros.share(vec![0; 512]).len(), 512);
    }

    #[test]
    fn equal_contents_are_held_once_and_only_while_they_are_used() {
        let mut contents = Contents::default();
        let (mut one, mut other) = (log([1, 2]), log([2, 3]));
        contents.share(&mut one);
        contents.share(&mut other);
        assert!(Arc::ptr_eq(&one.writes[1].data, &other.writes[0].data));
        assert_eq!(other, log([2, 3]));
        for content in 4..1000 {
            contents.share(&mut log([content]));
        }
        assert!(contents.known.len() < 100, "{}", contents.known.len());
        assert!(Arc::strong_count(&one.writes[0].data) > 1);
    }
}
