//! What a command does to each file: puts another into its place, empties it, appends to it, or overwrites it.

use std::collections::{BTreeMap, BTreeSet};

use program::{Call, RelPath, Target, Trace, Vfs};

use crate::timeline::unchanged_up_to;

/// What was done to a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// It was bound to another file than before: made anew, renamed to, linked to.
    pub bound: bool,
    /// Its file was truncated to nothing.
    pub emptied: bool,
    /// Something was written behind all that its file held.
    pub appended: bool,
    /// Something in its file was overwritten or cut.
    pub overwritten: bool,
    /// The op that unlinked it, if that is the last that was done to the name.
    pub unlinked: Option<usize>,
}

/// What was done to all names.
#[derive(Default)]
pub(super) struct Changes {
    names: BTreeMap<RelPath, Done>,
    /// The files that were written, with all the names that they had at such times.
    written: BTreeMap<u64, BTreeSet<RelPath>>,
    /// The files that a name was bound to.
    inodes: BTreeMap<RelPath, BTreeSet<u64>>,
}

/// O_TRUNC, from include/uapi/asm-generic/fcntl.h.
const TRUNCATE: u32 = 0o1000;

impl Changes {
    pub fn new(trace: &Trace) -> Self {
        let mut changes = Self::default();
        let mut vfs = Vfs::new(&trace.before);
        // What a name stood for, and how long that was, where it was touched; else it is as before the run.
        let start = vfs.clone();
        let mut known: BTreeMap<RelPath, (Option<u64>, u64)> = BTreeMap::new();
        for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
            let unchanged = unchanged_up_to(&op.call, &vfs);
            let was_there = opened(&op.call).is_some_and(|path| inode(&vfs, path).is_some());
            if vfs.apply(&op.call).is_err() {
                continue;
            }
            let touched: Vec<RelPath> = vfs.touched().cloned().collect();
            for path in touched {
                let look = |vfs: &Vfs| {
                    let inode = inode(vfs, &path);
                    (inode, inode.and_then(|inode| vfs.length(inode)).unwrap_or(0))
                };
                let (was, now) = (*known.entry(path.clone()).or_insert_with(|| look(&start)), look(&vfs));
                known.insert(path.clone(), now);
                let inodes = changes.inodes.entry(path.clone()).or_default();
                inodes.extend(was.0.into_iter().chain(now.0));
                let done = changes.names.entry(path).or_default();
                done.unlinked = (now.0.is_none() && matches!(op.call, Call::Unlink { .. })).then_some(index);
                match (was, now) {
                    ((was, _), (now, _)) if was != now => done.bound |= now.is_some(),
                    _ if emptied(&vfs, &op.call).is_some() => {}
                    ((_, before), (_, after)) if unchanged >= before && after >= before => {
                        done.appended |= after > before;
                    }
                    _ => done.overwritten = true,
                }
            }
            if let Some(inode) = emptied(&vfs, &op.call) {
                // Also where it was empty already.
                for path in vfs.names(inode) {
                    changes.names.entry(path).or_default().emptied = true;
                }
            }
            if let Some(inode) = written(&vfs, &op.call, was_there) {
                changes.written.entry(inode).or_default().extend(vfs.names(inode));
            }
        }
        changes
    }

    /// What was done to a name; nothing, if it was not touched.
    pub fn of(&self, path: &RelPath) -> Done {
        self.names.get(path).cloned().unwrap_or_default()
    }

    /// Whether both names were ever bound to the same file.
    pub fn share_a_file(&self, one: &RelPath, other: &RelPath) -> bool {
        match (self.inodes.get(one), self.inodes.get(other)) {
            (Some(one), Some(other)) => !one.is_disjoint(other),
            _ => false,
        }
    }

    /// The other files that were written, each by one of its names, if it had any: not those that matter to
    /// nobody.
    pub fn written_beside<'a>(
        &'a self,
        path: &RelPath,
        no_data: &'a BTreeSet<RelPath>,
    ) -> impl Iterator<Item = Option<&'a RelPath>> + use<'a> {
        let own = self.inodes.get(path).cloned().unwrap_or_default();
        let others = self.written.iter().filter(move |(inode, _)| !own.contains(inode));
        let matters = |names: &BTreeSet<RelPath>| names.is_empty() || names.iter().any(|name| !no_data.contains(name));
        others.filter(move |(_, names)| matters(names)).map(|(_, names)| names.first())
    }
}

fn inode(vfs: &Vfs, path: &RelPath) -> Option<u64> {
    vfs.inode_of(&Target::NoFollow(path.clone()))
}

/// The file that a call truncates to nothing, be it empty already.
fn emptied(vfs: &Vfs, call: &Call) -> Option<u64> {
    match call {
        Call::Open { handle, flags, .. } if flags & TRUNCATE != 0 => vfs.inode_of(&Target::Handle(*handle)),
        Call::Truncate { target, length: 0 } => vfs.inode_of(target),
        _ => None,
    }
}

/// The name that a call opens.
fn opened(call: &Call) -> Option<&RelPath> {
    match call {
        Call::Open { path, .. } => Some(path),
        _ => None,
    }
}

/// The file whose data a call changed. `was_there` says of a name that is opened whether it was there: a file that is
/// only made (a lock, say) holds nothing that others could refer to.
fn written(vfs: &Vfs, call: &Call, was_there: bool) -> Option<u64> {
    match call {
        Call::Open { handle, flags, .. } if was_there && flags & TRUNCATE != 0 => {
            vfs.inode_of(&Target::Handle(*handle))
        }
        call => vfs.inode_of(&call.changes_data_of()?),
    }
}
