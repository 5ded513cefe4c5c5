//! What each name stood for in the course of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::vfs::Event;
use crate::{Content, RelPath, Target, Trace, Vfs};

/// What a name stands for.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: the name does not exist.
    Absent,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A FIFO, socket or device: the type bits of `st_mode`.
    Special { mode: u32 },
}

impl State {
    /// The bytes, if it is a regular file.
    pub fn content(&self) -> Option<&Content> {
        match self {
            State::File(content) => Some(content),
            _ => None,
        }
    }
}

/// One of the states that a name is meant to have: never an intermediate one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What the name stands for.
    pub state: State,
    /// The op that completed it: the rename that put it there, or the last write that changed it. `None` for the initial
    /// one.
    pub from_op: Option<usize>,
    /// The later ops that completed it again, with no other version in between.
    pub again: Vec<usize>,
}

impl Version {
    /// All ops that completed it.
    pub fn ops(&self) -> impl Iterator<Item = usize> {
        self.from_op.iter().chain(&self.again).copied()
    }
}

/// The versions of every name in a run, and which files were dirty when.
///
/// A version is what the name stood for before the run, and what it stood for just before (a) its binding ended (unlink,
/// rename away, rename over it, exchange), (b) its file was truncated to nothing although it held something, or (c) the
/// run ended. (Versions that end at a sync or an ack, and are then changed in place, would take a copy of the file each:
/// the checker has them.) That the name is absent is a version only before and after the run: a program that unlinks the old file
/// before it renames the new one into place means no absent file. Equal neighbours are one version, the earlier, which
/// keeps the ops of the others.
#[derive(Clone, Debug)]
pub struct History {
    versions: BTreeMap<RelPath, Vec<Version>>,
    touched: BTreeSet<RelPath>,
    dirty: Vec<Arc<Vec<Target>>>,
}

impl History {
    /// Replays the trace. Ops that failed, or that the model cannot follow (see [`crate::unexplained`]), are left out.
    pub fn new(trace: &Trace) -> Self {
        let mut vfs = Vfs::new(&trace.before);
        let mut history = Self { versions: BTreeMap::new(), touched: BTreeSet::new(), dirty: Vec::new() };
        for path in trace.before.0.keys() {
            let initial = Version { state: vfs.state(path), from_op: None, again: Vec::new() };
            history.versions.insert(path.clone(), vec![initial]);
        }
        // For each name that was touched: the op from which on it stands for what it does.
        let mut since: BTreeMap<RelPath, usize> = BTreeMap::new();
        let mut dirty = Arc::new(Vec::new());
        for (index, op) in trace.ops.iter().enumerate() {
            let dirty_before = vfs.dirty_inodes().clone();
            if op.result >= 0 && vfs.apply(&op.call).is_ok() {
                let events = vfs.events();
                // Names of dirty files can change only with an event; handles only where one is opened or closed.
                if *vfs.dirty_inodes() != dirty_before || (!dirty_before.is_empty() && names_may_change(&op.call)) {
                    dirty = Arc::new(vfs.dirty());
                }
                for event in events {
                    match event {
                        Event::Ended(path, state) => {
                            let from_op = since.get(&path).copied();
                            history.add(path, state, from_op);
                        }
                        Event::Touched(path) => {
                            history.entry(&path);
                            history.touched.insert(path.clone());
                            since.insert(path, index);
                        }
                        Event::Rewritten(path) => {
                            history.entry(&path);
                            history.touched.insert(path.clone());
                            since.entry(path).or_insert(index);
                        }
                    }
                }
            }
            history.dirty.push(dirty.clone());
        }
        let paths: Vec<RelPath> = history.versions.keys().cloned().collect();
        for path in paths {
            let (last, from_op) = (vfs.state(&path), since.get(&path).copied());
            history.add(path, last, from_op);
        }
        history
    }

    fn entry(&mut self, path: &RelPath) -> &mut Vec<Version> {
        let absent = Version { state: State::Absent, from_op: None, again: Vec::new() };
        self.versions.entry(path.clone()).or_insert_with(|| vec![absent])
    }

    fn add(&mut self, path: RelPath, state: State, from_op: Option<usize>) {
        let versions = self.entry(&path);
        match versions.last_mut() {
            Some(last) if last.state == state => last.again.extend(from_op.filter(|op| Some(*op) > last.from_op)),
            _ => versions.push(Version { state, from_op, again: Vec::new() }),
        }
    }

    /// Every name that ever existed, with its versions in order; never empty.
    pub fn paths(&self) -> impl Iterator<Item = (&RelPath, &[Version])> {
        self.versions.iter().map(|(path, versions)| (path, versions.as_slice()))
    }

    /// The versions of one name in order; empty if it never existed.
    pub fn versions(&self, path: &RelPath) -> &[Version] {
        self.versions.get(path).map_or(&[], Vec::as_slice)
    }

    /// The files and symbolic links that the command changed: bound, unbound, written or truncated, and there before or
    /// after the run. Temporary files are not among them, nor directories and special files.
    ///
    /// A file that was rewritten with what it held already is among them: a crash can still take it away.
    pub fn changed(&self) -> Vec<RelPath> {
        let counts = |versions: &[Version]| {
            let plain = |version: &Version| !matches!(version.state, State::Directory | State::Special { .. });
            let there = |version: Option<&Version>| version.is_some_and(|version| version.state != State::Absent);
            versions.iter().all(plain) && (there(versions.first()) || there(versions.last()))
        };
        self.touched.iter().filter(|path| counts(self.versions(path))).cloned().collect()
    }

    /// Every name that was bound, unbound, written or truncated, in the order of paths: also those of temporary files, of
    /// directories and of special files.
    pub fn touched(&self) -> impl Iterator<Item = &RelPath> {
        self.touched.iter()
    }

    /// The files with data written or truncated since their last fsync, fdatasync, syncfs or sync, once the op with
    /// this index is done: by name ([`Target::NoFollow`]), or by handle where the file is open and has no name. Empty for an index that does not exist.
    pub fn dirty_files_after(&self, op: usize) -> &[Target] {
        self.dirty.get(op).map_or(&[], |files| files.as_slice())
    }
}

fn names_may_change(call: &crate::Call) -> bool {
    use crate::Call::{Arrive, Close, Leave, Link, Open, Rename, Unlink};
    matches!(
        call,
        Open { .. } | Close { .. } | Link { .. } | Rename { .. } | Unlink { .. } | Arrive { .. } | Leave { .. }
    )
}

#[cfg(test)]
mod tests;
