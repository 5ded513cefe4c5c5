//! Killed processes: the program ends (SIGKILL), and the kernel lives on.
//!
//! Then files are what the calls so far made of them, synced or not, on every file system: no guest is needed. What is
//! lost is what the program had not handed to the kernel, above all its own buffers.
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

use std::collections::HashMap;
use std::sync::Arc;

use checker::{
    CHUNK, CrashWindow, Entry, EntryKind, Finding, Mount, Observation, Observed, Output, ReadPlan, Reading, Seen,
};
use explore::{Evidence, ExplorationUnit, Key, OneState, Ranked, Target, ToVisit, Visit, key};
use program::{Call, Divergence, Node, Op, RelPath, Trace, Tree, Vfs};
use sha2::{Digest, Sha256};

use crate::judging::JudgedUnit;
use crate::subject::Subject;

/// The unit in which a write or copy is cut short, bytes: a page of x86-64.
const PAGE: u64 = 4096;

/// A point at which a program can be killed; earlier ones are less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// How many ops had ended.
    pub ended: usize,
    /// If the next one, a write or copy, was under way: how much it had written (bytes).
    pub written: Option<u64>,
}

impl Point {
    /// How many ops had begun.
    pub fn begun(&self) -> usize {
        self.ended + usize::from(self.written.is_some())
    }
}

/// What was recorded of a program, as far as it says where it can be killed: at these points, in order.
#[derive(Debug)]
pub struct KillPoints(Vec<Point>);

impl KillPoints {
    /// Before the first op, within those that can be cut short, and after each; none before the exploration is to begin.
    pub fn of(trace: &Trace) -> Self {
        let mut points = vec![Point { ended: 0, written: None }];
        for (ended, op) in trace.ops.iter().enumerate() {
            let cut = |written| Point { ended, written: Some(written) };
            points.extend(written_span(op).into_iter().flat_map(|(offset, length)| cuts(offset, length)).map(cut));
            points.push(Point { ended: ended + 1, written: None });
        }
        points.retain(|point| trace.explored_from.is_none_or(|from| point.ended > from));
        Self(points)
    }
}

impl Evidence for KillPoints {
    type Unit = KillPoint;

    fn keys(&self) -> Vec<Key> {
        self.0
            .iter()
            .map(|point| {
                let mut hasher = Sha256::new().chain_update(point.ended.to_le_bytes());
                // None is told from 0 by its length.
                hasher.update(point.written.map(u64::to_le_bytes).as_slice().concat());
                key(hasher)
            })
            .collect()
    }

    fn unit(points: &Arc<Self>, place: usize, key: Key, index: usize) -> KillPoint {
        KillPoint { index, key, point: points.0[place] }
    }
}

/// One of the points, which leaves nothing to be decided: all calls so far have been made.
#[derive(Debug)]
pub struct KillPoint {
    index: usize,
    key: Key,
    point: Point,
}

impl ExplorationUnit for KillPoint {
    type Space = OneState;

    fn index(&self) -> usize {
        self.index
    }

    fn key(&self) -> &Key {
        &self.key
    }

    /// A program has one recording.
    fn evidence(&self) -> usize {
        0
    }

    fn space(&self) -> OneState {
        OneState
    }
}

/// A point that shows a violation: the one that is shown of many.
#[derive(Clone, Debug)]
pub struct KilledExample {
    unit: Key,
    /// The point at which the program is killed.
    pub point: Point,
    /// What was seen, in words.
    pub observed: Observed,
    /// What the workload's own check printed, if it is what found fault.
    pub output: Option<Output>,
}

impl Ranked for KilledExample {
    /// The first.
    fn rank(&self) -> impl Ord {
        self.point
    }

    fn unit(&self) -> &Key {
        &self.unit
    }
}

impl JudgedUnit for KillPoint {
    type Example = KilledExample;

    fn window(&self, _: &OneState) -> CrashWindow {
        CrashWindow { begun_earliest: self.point.begun(), ended_latest: self.point.ended }
    }

    fn is_torn(&self, _: &OneState) -> bool {
        false
    }

    fn example(&self, _: &Subject, _: &OneState, finding: &Finding) -> KilledExample {
        let output = finding.check.as_ref().map(|check| check.output.clone());
        KilledExample { unit: self.key, point: self.point, observed: finding.observed.clone(), output }
    }
}

/// The kills of a recorded program. What its files are then is computed in memory, from one point to the next.
pub struct Killed<'a> {
    read_plan: &'a ReadPlan,
    files: Files<'a>,
}

impl<'a> Killed<'a> {
    /// The program of `subject`.
    pub fn new(subject: &'a Subject) -> Self {
        Self { read_plan: subject.rules.read_plan(), files: Files::new(&subject.trace) }
    }
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

impl Target for Killed<'_> {
    type Evidence = KillPoints;
    type Observation = Observation;
    type Error = NotFollowed;

    async fn visit(&mut self, to_visit: &ToVisit<KillPoint>) -> Result<Visit<OneState, Observation>, NotFollowed> {
        let tree = self.files.at(to_visit.unit.point)?;
        Ok(Visit { class: OneState, observation: observe(&tree, self.read_plan) })
    }
}

/// Every point, in order, and the files of the program then.
pub fn points(trace: &Trace) -> impl Iterator<Item = Result<(Point, Tree), NotFollowed>> {
    let mut files = Files::new(trace);
    KillPoints::of(trace).0.into_iter().map(move |point| Ok((point, files.at(point)?)))
}

/// What the files of a program are at one point.
struct Files<'a> {
    trace: &'a Trace,
    vfs: Vfs,
    /// How many ops have ended.
    ended: usize,
    /// The same with a part of the next op done: so many bytes.
    partly: Option<(Vfs, u64)>,
}

impl<'a> Files<'a> {
    /// Before the first op.
    fn new(trace: &'a Trace) -> Self {
        Self { trace, vfs: Vfs::new(&trace.before), ended: 0, partly: None }
    }

    /// The files at `point`: quick for one that is not before the last.
    fn at(&mut self, point: Point) -> Result<Tree, NotFollowed> {
        let last = Point { ended: self.ended, written: self.partly.as_ref().map(|(_, written)| *written) };
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

/// What the agent would report of this tree: it follows the same read plan.
fn observe(tree: &Tree, read_plan: &ReadPlan) -> Observation {
    let mut names: HashMap<u64, Vec<&RelPath>> = HashMap::new();
    tree.0.iter().for_each(|(path, node)| names.entry(node.inode).or_default().push(path));
    let entry = |path: &RelPath, node: &Node| {
        let kind = match &node.kind {
            program::Kind::File(content) => {
                EntryKind::File { size: content.len() as u64, seen: see(read_plan, path, content) }
            }
            program::Kind::Directory => EntryKind::Directory { error: None },
            program::Kind::Symlink(target) => EntryKind::Symlink { target: target.clone() },
            program::Kind::Special { mode, .. } => EntryKind::Special { mode: *mode },
        };
        let names = &names[&node.inode];
        let same_as = names.first().filter(|first| **first != path).map(|&first| first.clone());
        Entry { kind, mode: node.mode, uid: node.uid, gid: node.gid, links: names.len() as u64, same_as }
    };
    let entries = tree.0.iter().map(|(path, node)| (path.clone(), entry(path, node))).collect();
    Observation { mount: Mount::Mounted, entries }
}

fn see(read_plan: &ReadPlan, path: &RelPath, content: &program::Content) -> Seen {
    let size = content.len() as u64;
    if read_plan.read_all_up_to > 0 && size <= read_plan.read_all_up_to {
        return Seen::Bytes(content.clone());
    }
    let Some(mut reading) = Reading::begin(read_plan, path, size) else { return Seen::NotRead };
    while let Some(offset) = reading.next_offset() {
        let start = offset as usize;
        if let Some(seen) = reading.feed(&content[start..(start + CHUNK).min(content.len())]) {
            return seen;
        }
    }
    reading.finish()
}

#[cfg(test)]
pub(crate) mod tests;
