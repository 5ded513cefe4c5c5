//! How far the guest must read a file before every invariant about it is decided.
//!
//! Each byte that is read costs decisions, so nothing is read that no invariant asks about: a file whose size
//! fits no candidate is decided by its size, and reading stops at the first chunk after which no candidate is left.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trace::{Content, RelPath};

/// What the agent is told about the files that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guide {
    /// Contents that a file is compared with.
    pub contents: Vec<Content>,
    /// For each file that an invariant is about: the candidates, as indices into `contents`.
    pub files: BTreeMap<RelPath, Vec<u32>>,
    /// Files not named in `files` are read whole if no larger than this (bytes); 0 reads none of them.
    /// With a value above 0, files in `files` are read whole up to this size too, and reported as [`Seen::Bytes`].
    pub read_all_up_to: u64,
}

/// What was read of a regular file.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Seen {
    /// Nothing: no invariant needs it, or its size already decides.
    NotRead,
    /// Read to its end; it equals these candidates (ascending indices into [`Guide::contents`]).
    Equals { candidates: Vec<u32> },
    /// All before `offset` equals each of `candidates`; `chunk`, the bytes from `offset`, equals none of them further on.
    Differs { candidates: Vec<u32>, offset: u64, chunk: Vec<u8> },
    /// All before `offset` equals each of `candidates`; reading at `offset` failed with this errno.
    Failed { candidates: Vec<u32>, offset: u64, errno: i32 },
    /// The whole content (see [`Guide::read_all_up_to`]).
    Bytes(Content),
}

/// How many bytes the agent reads at a time: one page, the unit in which file systems read.
pub const CHUNK: usize = 4096;

/// The state of reading one file along a guide: pure, fed chunk by chunk.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    guide: &'a Guide,
    candidates: Vec<u32>,
    offset: u64,
}

impl<'a> Reading<'a> {
    /// Begins to read the file at `path` of `size` bytes; `None` if nothing of it needs to be read.
    pub fn begin(guide: &'a Guide, path: &RelPath, size: u64) -> Option<Self> {
        let same_size =
            |index: &u32| guide.contents.get(*index as usize).is_some_and(|content| content.len() as u64 == size);
        let candidates: Vec<u32> = guide.files.get(path)?.iter().copied().filter(same_size).collect();
        (!candidates.is_empty()).then_some(Self { guide, candidates, offset: 0 })
    }

    /// Where the next chunk is to be read; `None` at the end of the file.
    pub fn next_offset(&self) -> Option<u64> {
        let size = self.guide.contents[self.candidates[0] as usize].len() as u64;
        (self.offset < size).then_some(self.offset)
    }

    /// Takes the bytes at [`Self::next_offset`]; `Some` if they end the reading.
    pub fn feed(&mut self, chunk: &[u8]) -> Option<Seen> {
        let start = self.offset as usize;
        let matches = |index: &u32| self.guide.contents[*index as usize].get(start..start + chunk.len()) == Some(chunk);
        let left: Vec<u32> = self.candidates.iter().copied().filter(matches).collect();
        if left.is_empty() || chunk.is_empty() {
            let candidates = std::mem::take(&mut self.candidates);
            return Some(Seen::Differs { candidates, offset: self.offset, chunk: chunk.to_vec() });
        }
        self.candidates = left;
        self.offset += chunk.len() as u64;
        None
    }

    /// Ends a reading whose chunks all matched.
    pub fn finish(self) -> Seen {
        Seen::Equals { candidates: self.candidates }
    }

    /// Ends a reading at an error.
    pub fn fail(self, errno: i32) -> Seen {
        Seen::Failed { candidates: self.candidates, offset: self.offset, errno }
    }
}
