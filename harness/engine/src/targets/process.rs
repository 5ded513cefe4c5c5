//! Killed processes: the program ends (SIGKILL), and the kernel lives on.
//!
//! Then files are what the calls so far made of them, synced or not, on every file system: no guest is needed. What is
//! lost is what the program had not handed to the kernel, above all its own buffers.
//!
//! Where it can be killed, and what the files are then, says [`program::kill_points`].

use std::collections::HashMap;
use std::sync::Arc;

use checker::{
    CHUNK, CrashWindow, Entry, EntryKind, Finding, Mount, Observation, Observed, Output, ReadPlan, Reading, Seen,
};
use explore::{Evidence, ExplorationUnit, Key, OneState, Ranked, Target, ToVisit, Visit, key};
use program::{KilledAt, KilledFiles, Node, NotFollowed, RelPath, Trace, Tree, kill_points};
use sha2::{Digest, Sha256};

use crate::judging::JudgedUnit;
use crate::subject::Subject;

/// What was recorded of a program, as far as it says where it can be killed: at these points, in order.
#[derive(Debug)]
pub struct KillPoints(Vec<KilledAt>);

impl KillPoints {
    /// Before the first op, within those that can be cut short, and after each; none before the exploration is to begin.
    pub fn of(trace: &Trace) -> Self {
        let mut points = kill_points(trace);
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
    point: KilledAt,
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
    pub point: KilledAt,
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
    files: KilledFiles<'a>,
}

impl<'a> Killed<'a> {
    /// The program of `subject`.
    pub fn new(subject: &'a Subject) -> Self {
        Self { read_plan: subject.rules.read_plan(), files: KilledFiles::new(&subject.trace) }
    }
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
