//! How far the guest must read a file before every invariant about it is decided.
//!
//! Each byte that is read costs decisions, so nothing is read that no invariant asks about: a file whose size
//! fits no candidate is decided by its size, and reading stops at the first chunk after which no candidate is left.

use std::collections::BTreeMap;

use program::{Content, RelPath};
use serde::{Deserialize, Serialize};

use crate::Sizes;

/// What the agent is told about the files that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadPlan {
    /// Contents that a file is compared with.
    #[serde(with = "program::bytes::each")]
    pub contents: Vec<Content>,
    /// For each file that an invariant is about: the candidates, no content twice.
    pub files: BTreeMap<RelPath, Vec<Candidate>>,
    /// Files not named in `files` are read whole if no larger than this (bytes); 0 reads none of them.
    /// With a value above 0, files in `files` are read whole up to this size too, and reported as [`Seen::Bytes`].
    pub read_all_up_to: u64,
}

/// A content that files of some sizes are compared with, as far as both of them go.
///
/// So one content stands for all that a growing file was in the course of time (each is the beginning of the next).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Index into [`ReadPlan::contents`].
    pub content: u32,
    /// Files of other sizes are not compared with it.
    pub sizes: Sizes,
}

/// What was read of a regular file.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Seen {
    /// Nothing: no invariant needs it, or its size already decides.
    NotRead,
    /// Read to its end, or to that of the longest candidate left: it equals these, as far as both go (indices into
    /// [`ReadPlan::contents`]).
    Equals { candidates: Vec<u32> },
    /// All before `offset` equals each of `candidates`; `chunk`, the bytes from `offset`, decides: no candidate that
    /// equals it reaches to its end.
    Differs { candidates: Vec<u32>, offset: u64, chunk: Vec<u8> },
    /// All before `offset` equals each of `candidates`; reading at `offset` failed with this errno.
    Failed { candidates: Vec<u32>, offset: u64, errno: i32 },
    /// The whole content (see [`ReadPlan::read_all_up_to`]).
    Bytes(#[serde(with = "program::bytes")] Content),
}

/// How many bytes are compared at a time: one page, the unit in which file systems read.
pub const CHUNK: usize = 4096;

/// The state of reading one file along a read plan: pure, fed chunk by chunk.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    read_plan: &'a ReadPlan,
    size: u64,
    candidates: Vec<u32>,
    offset: u64,
}

impl<'a> Reading<'a> {
    /// Begins to read the file at `path` of `size` bytes; `None` if nothing of it needs to be read.
    pub fn begin(read_plan: &'a ReadPlan, path: &RelPath, size: u64) -> Option<Self> {
        let candidates = read_plan.candidates(path, size);
        (!candidates.is_empty()).then_some(Self { read_plan, size, candidates, offset: 0 })
    }

    /// Where the next chunk is to be read; `None` at the end of the file, or where no candidate goes on.
    pub fn next_offset(&self) -> Option<u64> {
        let goes_on = |index: &u32| self.length(*index) > self.offset;
        (self.offset < self.size && self.candidates.iter().any(goes_on)).then_some(self.offset)
    }

    fn length(&self, candidate: u32) -> u64 {
        self.read_plan.contents[candidate as usize].len() as u64
    }

    /// Takes the bytes at [`Self::next_offset`]; `Some` if they end the reading.
    pub fn feed(&mut self, chunk: &[u8]) -> Option<Seen> {
        let end = self.offset + chunk.len() as u64;
        let matches = |index: &u32| {
            let content = &self.read_plan.contents[*index as usize];
            let rest = content.get(self.offset as usize..).unwrap_or_default();
            let both = rest.len().min(chunk.len());
            rest[..both] == chunk[..both]
        };
        let left: Vec<u32> = self.candidates.iter().copied().filter(matches).collect();
        let known = left.iter().any(|index| self.length(*index) >= end);
        if chunk.is_empty() || (left.len() < self.candidates.len() && !known) {
            let mut candidates = std::mem::take(&mut self.candidates);
            candidates.retain(|index| self.length(*index) > self.offset);
            return Some(Seen::Differs { candidates, offset: self.offset, chunk: chunk.to_vec() });
        }
        self.candidates = left;
        self.offset = end;
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

impl ReadPlan {
    /// What a file of this size is compared with, as indices into `contents`.
    pub(crate) fn candidates(&self, path: &RelPath, size: u64) -> Vec<u32> {
        let fits = |candidate: &&Candidate| {
            candidate.sizes.contains(size) && self.contents.get(candidate.content as usize).is_some()
        };
        self.files.get(path).into_iter().flatten().filter(fits).map(|candidate| candidate.content).collect()
    }
}
