//! Names that a crash can still take back: no fsync of their directory has followed.

use std::collections::BTreeMap;

use program::{Call, OpId, RelPath, Target, Vfs};

use crate::{NameChange, NameOp};

/// A change of what a name in a directory stands for.
pub(super) struct Change {
    /// The name within its directory.
    pub name: Vec<u8>,
    /// What was done.
    pub what: NameOp,
}

/// Changes of names that no sync of their directory has followed.
#[derive(Default)]
pub(super) struct Names {
    /// By the directory's inode: a directory may be renamed before it is synced.
    pending: BTreeMap<u64, Vec<Change>>,
}

/// What names stood for before a call that may change it.
pub(super) struct Before<'a>(Vec<(&'a RelPath, Option<u64>)>);

/// Names that a call makes or takes away.
fn names(call: &Call) -> Vec<&RelPath> {
    match call {
        Call::Open { path, .. }
        | Call::Mkdir { path, .. }
        | Call::Mknod { path, .. }
        | Call::Symlink { path, .. }
        | Call::Unlink { path }
        | Call::Rmdir { path }
        | Call::Link { to: path, .. }
        | Call::Arrive { to: path, .. }
        | Call::Leave { path } => vec![path],
        Call::Rename { from, to, .. } => vec![from, to],
        _ => Vec::new(),
    }
}

fn inode(vfs: &Vfs, path: &RelPath) -> Option<u64> {
    vfs.inode_of(&Target::NoFollow(path.clone()))
}

impl<'a> Before<'a> {
    /// To be taken before `vfs` has seen the call.
    pub fn new(vfs: &Vfs, call: &'a Call) -> Self {
        Self(names(call).into_iter().map(|path| (path, inode(vfs, path))).collect())
    }
}

impl Names {
    /// Takes an op that `vfs` has seen.
    pub fn step(&mut self, vfs: &Vfs, index: usize, call: &Call, before: &Before<'_>) {
        match call {
            Call::SyncFs { .. } | Call::SyncAll => self.pending.clear(),
            Call::Fsync { handle } | Call::Fdatasync { handle } => {
                let synced = vfs.inode_of(&Target::Handle(*handle));
                self.pending.retain(|directory, _| Some(*directory) != synced);
            }
            _ => {}
        }
        for (path, before) in &before.0 {
            let directory = path.parent().unwrap_or_else(RelPath::root);
            if inode(vfs, path) != *before
                && let Some(number) = inode(vfs, &directory)
            {
                let what = NameOp { op: OpId(index), change: NameChange::of(call, path) };
                let change = Change { name: path.name().to_vec(), what };
                self.pending.entry(number).or_default().push(change);
            }
        }
    }

    /// The last change of each name that leads to `path`, its own first, with the directory that was not synced since.
    pub fn on_the_way_to(&self, vfs: &Vfs, path: &RelPath) -> Vec<(RelPath, &Change)> {
        let mut found = Vec::new();
        let mut below = Some(path.clone());
        while let Some(path) = below {
            let Some(directory) = path.parent() else { break };
            let changes = inode(vfs, &directory).and_then(|number| self.pending.get(&number));
            let change = changes.into_iter().flatten().rev().find(|change| change.name == path.name());
            found.extend(change.map(|change| (directory.clone(), change)));
            below = Some(directory);
        }
        found
    }

    /// All that are left, by their directories. One that has no name any more is nobody's loss.
    pub fn left(&self, vfs: &Vfs) -> Vec<(RelPath, &[Change])> {
        let root = inode(vfs, &RelPath::root());
        let name = |number: u64| match Some(number) == root {
            true => Some(RelPath::root()),
            false => vfs.names(number).into_iter().next(),
        };
        self.pending.iter().filter_map(|(number, changes)| Some((name(*number)?, changes.as_slice()))).collect()
    }
}
