//! Which reads of a mount are only read ahead: pure.
//!
//! A disk that decides late decides all that lies where the guest reads. What it only reads ahead, it may never look at. So
//! such a read is refused if anything is open there, and the guest reads what it needs once more, in small pieces.
//!
//! Recovery may read a [`Journal`] ahead, and look at few of these blocks: jbd2, for one, of a transaction without a commit
//! record at none but its descriptors (fs/jbd2/recovery.c, `jread`, `do_readahead`). If a read ahead fails, nothing comes of
//! it: `jread` reads a block that it needs and that is not there yet once more, by itself (since Linux 6.1: "jbd2: replace
//! ll_rw_block()"), as if nobody had read ahead. Only a block that nobody has asked for before makes it read ahead again, and
//! then it asks once more for all that is not there yet within the same distance. [`ReadAhead`] follows what `jread` does, to
//! know one read from the other.
//!
//! Files are read ahead by the agent, in requests of more than one page; it says when it begins
//! ([`CONTENTS`](protocol::frame::CONTENTS)).

use std::collections::HashSet;

use filesystems::Journal;

use crate::SECTOR;

/// What a file is read in at least, sectors.
const PAGE: usize = 4096 / SECTOR;

/// Follows the reads of one mount.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// What recovery reads ahead.
    journal: Option<&'static Journal>,
    /// First and last sector of the journal, the latter not included, once its superblock was read.
    place: Option<(u64, u64)>,
    /// The first sector of the last block that was needed and had not been read before.
    needed: u64,
    /// First sectors of the blocks that were asked for: if they are asked for again, they are needed.
    asked: HashSet<u64>,
    /// First sectors of the blocks that were refused, and not read since.
    refused: HashSet<u64>,
    /// Whether files are being read.
    contents: bool,
}

impl ReadAhead {
    /// For the mount of a file system with this journal, if there is one that recovery reads ahead.
    pub(crate) fn new(journal: Option<&'static Journal>) -> Self {
        Self { journal, ..Self::default() }
    }

    /// From here on, files are read.
    pub(crate) fn contents(&mut self) {
        self.contents = true;
    }

    /// Whether a read of so many sectors from `sector` on is only read ahead.
    pub(crate) fn is_ahead(&mut self, sector: u64, sectors: usize) -> bool {
        if self.contents { sectors > PAGE } else { self.is_journal_ahead(sector) }
    }

    /// A block of the journal that nobody has asked for, and that lies where recovery reads ahead after the block that it
    /// needed last.
    fn is_journal_ahead(&mut self, sector: u64) -> bool {
        let Some((journal, (first, end))) = self.journal.zip(self.place) else { return false };
        let within = first < sector && sector < end;
        if !within || !self.asked.insert(sector) {
            return false;
        }
        let distance = journal.ahead / SECTOR as u64;
        let ahead = self.needed < sector && sector < self.needed + distance && self.needed > 0;
        if !ahead {
            self.needed = sector;
            for block in self.refused.extract_if(|&block| sector < block && block < sector + distance) {
                self.asked.remove(&block);
            }
        }
        ahead
    }

    /// Takes note of a read that was refused.
    pub(crate) fn refused(&mut self, sector: u64) {
        self.refused.insert(sector);
    }

    /// Takes note of what was read: the first superblock of a journal says where that is.
    pub(crate) fn read(&mut self, sector: u64, data: &[u8]) {
        self.refused.remove(&sector);
        if self.place.is_none()
            && !self.contents
            && let Some(journal) = self.journal
            && data.starts_with(journal.superblock)
            && let Some(block) = number(data, journal.block_size)
            && let Some(blocks) = number(data, journal.blocks)
        {
            self.place = Some((sector, sector + block / SECTOR as u64 * blocks));
        }
    }
}

/// The big-endian 32-bit number at this byte.
fn number(data: &[u8], at: usize) -> Option<u64> {
    let bytes = data.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes).into())
}

#[cfg(test)]
mod tests {
    use filesystems::{EXT4, XFS};

    use super::*;

    fn ext4() -> ReadAhead {
        ReadAhead::new(EXT4.journal)
    }

    /// The superblock of a journal of 1,024 blocks of 4,096 bytes.
    fn superblock() -> Vec<u8> {
        let mut block = vec![0; 4096];
        block[..8].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4]);
        block[12..20].copy_from_slice(&[0, 0, 16, 0, 0, 0, 4, 0]);
        block
    }

    fn asked(ahead: &mut ReadAhead, blocks: impl IntoIterator<Item = u64>) -> Vec<bool> {
        blocks.into_iter().map(|block| ahead.is_ahead(8000 + block * 8, 8)).collect()
    }

    #[test]
    fn what_follows_a_needed_block_is_read_ahead_once() {
        let mut ahead = ext4();
        assert!(!ahead.is_ahead(8008, 8), "no journal is known");
        ahead.read(8000, &superblock());
        assert_eq!(asked(&mut ahead, [1, 2, 3, 32, 33]), [false, true, true, true, false]);
        // Those that were refused are needed, and so is the first beyond what was read ahead.
        assert_eq!(asked(&mut ahead, [2, 34, 3, 64, 65]), [false, true, false, true, false]);
        // The journal goes on at its beginning.
        assert_eq!(asked(&mut ahead, [1020, 1021, 1023, 5, 6]), [false, true, true, false, true]);
        // The superblock itself and what lies beyond are no part of it.
        assert_eq!(asked(&mut ahead, [0, 1024]), [false, false]);
    }

    /// What is missing in the window of a block that is needed and new is read ahead once more: found by the replay pass of
    /// ext4, which begins to read blocks that the scan had skipped.
    #[test]
    fn what_was_refused_is_read_ahead_again() {
        let mut ahead = ext4();
        ahead.read(8000, &superblock());
        assert_eq!(asked(&mut ahead, [40, 45, 46, 47, 50]), [false, true, true, true, true]);
        [45, 46, 50].iter().for_each(|block| ahead.refused(8000 + block * 8));
        // 45 is needed, and that it is asked for again is no reason to read ahead.
        assert_eq!(asked(&mut ahead, [45]), [false]);
        ahead.read(8000 + 45 * 8, &[]);
        // 18 is new, and with it all that is missing as far as 49 is asked for.
        assert_eq!(asked(&mut ahead, [18, 19, 46]), [false, true, true]);
        ahead.refused(8000 + 46 * 8);
        assert_eq!(asked(&mut ahead, [46, 50, 45]), [false; 3]);
    }

    #[test]
    fn other_superblocks_are_files() {
        let mut ahead = ext4();
        ahead.read(8000, &superblock()[..16]);
        ahead.read(8000, &vec![0; 4096]);
        ahead.read(8000, &superblock());
        ahead.read(100_000, &superblock());
        assert!(!ahead.is_ahead(100_008, 8) && !ahead.is_ahead(100_016, 8));
        assert_eq!(asked(&mut ahead, [7, 8]), [false, true]);
    }

    #[test]
    fn without_a_journal_no_superblock_counts() {
        let mut ahead = ReadAhead::new(XFS.journal);
        ahead.read(8000, &superblock());
        assert_eq!(asked(&mut ahead, [1, 2, 3]), [false; 3]);
    }

    #[test]
    fn of_files_all_that_is_longer_than_a_page_is_read_ahead() {
        let mut ahead = ext4();
        ahead.read(8000, &superblock());
        assert!(!ahead.is_ahead(50_000, 32), "an inode cluster of xfs");
        ahead.contents();
        assert!(ahead.is_ahead(50_000, 512) && ahead.is_ahead(50_000, 9));
        assert!(!ahead.is_ahead(50_000, 8));
        assert_eq!(asked(&mut ahead, [1, 2, 3]), [false; 3]);
    }
}
