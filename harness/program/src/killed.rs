//! Where a program can be killed (SIGKILL), and what its files are then: the kernel lives on, so they are what the calls so
//! far made of them.
//!
//! A write can be cut short. Between two pages the kernel looks whether the writer has been killed
//! (`generic_perform_write` in mm/filemap.c, `fatal_signal_pending`), so any part of a write up to the end of a page of
//! the file may have been done; a file system that copies several pages at a time does fewer of these. So it is with
//! `copy_file_range`, which writes what it reads (`splice_direct_to_actor` in fs/splice.c). Where the file system shares
//! blocks instead, the copy can be whole, but no program can rely on it: copy_file_range(2) may copy less than asked for.
//!
//! Left out: a write can also end where a page of the program's own buffer ends, if that page is not in memory; a copy
//! also where the kernel's buffer of what it read ends; and of several processes some can outlive the one that is
//! killed. Here all are killed at once.

use std::sync::Arc;

use crate::{Call, Divergence, Op, Trace, Tree, Vfs};

/// The unit in which a write or copy is cut short, bytes: a page of x86-64.
const PAGE: u64 = 4096;

/// A point at which a program can be killed; earlier ones are less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KilledAt {
    /// How many ops had ended.
    pub ended: usize,
    /// If the next one, a write or copy, was under way: how much it had written (bytes).
    pub written: Option<u64>,
}

impl KilledAt {
    /// How many ops had begun.
    pub fn begun(&self) -> usize {
        self.ended + usize::from(self.written.is_some())
    }
}

/// Every point at which the program can be killed, in order: before the first op, within those that can be cut short, and
/// after each.
pub fn kill_points(trace: &Trace) -> Vec<KilledAt> {
    let mut points = vec![KilledAt { ended: 0, written: None }];
    for (ended, op) in trace.ops.iter().enumerate() {
        let cut = |written| KilledAt { ended, written: Some(written) };
        points.extend(written_span(op).into_iter().flat_map(|(offset, length)| cuts(offset, length)).map(cut));
        points.push(KilledAt { ended: ended + 1, written: None });
    }
    points
}

/// The model of a file system cannot follow an op.
#[derive(Debug, thiserror::Error)]
#[error("op {op} cannot be followed: {why}")]
pub struct NotFollowed {
    /// Index of the op that the model could not follow.
    pub op: usize,
    /// How the model and the recording differ.
    pub why: Divergence,
}

/// What the files of a program are at one point.
pub struct KilledFiles<'a> {
    trace: &'a Trace,
    vfs: Vfs,
    /// How many ops have ended.
    ended: usize,
    /// The same with a part of the next op done: so many bytes.
    partly: Option<(Vfs, u64)>,
}

impl<'a> KilledFiles<'a> {
    /// Before the first op.
    pub fn new(trace: &'a Trace) -> Self {
        Self { trace, vfs: Vfs::new(&trace.before), ended: 0, partly: None }
    }

    /// The files at `point`: quick for one that is not before the last.
    ///
    /// # Errors
    /// The model cannot follow an op up to there.
    pub fn at(&mut self, point: KilledAt) -> Result<Tree, NotFollowed> {
        let last = KilledAt { ended: self.ended, written: self.partly.as_ref().map(|(_, written)| *written) };
        if point < last {
            *self = Self::new(self.trace);
        }
        let op = |index: usize| move |why| NotFollowed { op: index, why };
        while self.ended < point.ended {
            self.partly = None;
            // What failed changed nothing.
            if let Some(ended) = self.trace.ops.get(self.ended).filter(|op| op.result >= 0) {
                self.vfs.apply(&ended.call).map_err(op(self.ended))?;
            }
            self.ended += 1;
        }
        let (Some(cut), Some(next)) = (point.written, self.trace.ops.get(self.ended)) else {
            return Ok(self.vfs.tree());
        };
        let (partly, written) = self.partly.get_or_insert_with(|| (self.vfs.clone(), 0));
        if *written < cut {
            partly.apply(&part(&next.call, *written, cut)).map_err(op(self.ended))?;
            *written = cut;
        }
        Ok(partly.tree())
    }
}

/// Where an op that can be cut short writes, and how much (bytes). One that failed wrote nothing.
fn written_span(op: &Op) -> Option<(u64, u64)> {
    span(&op.call).filter(|_| op.result >= 0)
}

/// Where a call that can be cut short writes, and how much (bytes).
fn span(call: &Call) -> Option<(u64, u64)> {
    match call {
        Call::Write { offset, data, .. } | Call::Store { offset, data, .. } => Some((*offset, data.len() as u64)),
        Call::CopyRange { to_offset, length, .. } => Some((*to_offset, *length)),
        _ => None,
    }
}

/// What such a call does of its bytes from `start` to `end`.
fn part(call: &Call, start: u64, end: u64) -> Call {
    let mut part = call.clone();
    match &mut part {
        Call::Write { offset, data, .. } | Call::Store { offset, data, .. } => {
            *offset += start;
            *data = Arc::new(data[start as usize..end as usize].to_vec());
        }
        Call::CopyRange { from_offset, to_offset, length, .. } => {
            *from_offset += start;
            *to_offset += start;
            *length = end - start;
        }
        _ => {}
    }
    part
}

/// Where a write of `length` bytes at `offset` can be cut: how much is written then, ascending.
fn cuts(offset: u64, length: u64) -> impl Iterator<Item = u64> {
    let first = PAGE - offset % PAGE;
    (0..).map(move |page| first + page * PAGE).take_while(move |written| *written < length)
}

#[cfg(test)]
mod tests;
