//! What a disk was asked for, in the order in which it was asked and answered.

use std::sync::Arc;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where, bytes.
    pub offset: u64,
    /// What.
    pub data: Arc<[u8]>,
}

impl Write {
    /// The letter that it is full of, if it holds the data of a program: these write pages of one letter. Nothing else
    /// that a file system writes begins with so many letters of one kind.
    pub fn letter(&self) -> Option<char> {
        let start = self.data.get(..64)?;
        let letter = start[0];
        (letter.is_ascii_alphabetic() && start.iter().all(|byte| *byte == letter)).then_some(letter.into())
    }

    /// Whether it holds data with this letter on some page.
    pub fn has(&self, letter: char) -> bool {
        self.letter().is_some() && self.data.chunks(4096).any(|page| page[0] == letter as u8)
    }
}

/// Something that happened at the disk, or in the program above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The write with this index arrived.
    Begun(usize),
    /// It was answered.
    Done(usize),
    /// A flush arrived; flushes are numbered from 0.
    FlushBegun(usize),
    /// It was answered.
    FlushDone(usize),
    /// The step of the program with this index was begun.
    StepBegun(usize),
    /// It has ended.
    StepDone(usize),
}

/// The log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The writes, in the order in which they arrived.
    pub writes: Vec<Write>,
    /// What happened.
    pub events: Vec<Event>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_known_by_their_letters() {
        let write = |data: &[u8]| Write { offset: 0, data: data.into() };
        assert_eq!(write(&[b'N'; 4096]).letter(), Some('N'));
        assert_eq!(write(&[0; 4096]).letter(), None);
        assert_eq!(write(b"XFSB").letter(), None);
        let two = write(&[[b'A'; 4096], [b'B'; 4096]].concat());
        assert!(two.has('A') && two.has('B') && !two.has('C'));
        let mut cut = [0; 4096];
        cut[..100].fill(b'Q');
        assert!(write(&cut).has('Q'));
        let mut journal = [b'A'; 4096];
        journal[3] = 0x98;
        assert!(!write(&journal).has('A'));
    }
}
