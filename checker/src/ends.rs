//! Where versions of a file end that nothing replaces: what is complete although the program goes on to change it.
//!
//! A name is replaced, or its file emptied, and what it stood for before was a version ([`program::History`]). A program
//! that changes its files in place does neither: there, only what it does beside the changes tells which contents it
//! means to be complete. These are the rules.
//!
//! - A *sync* of the file ends a version (fsync, fdatasync, a synchronous write, syncfs, sync). Whoever waits for a disk
//!   wants to rely on what is there.
//! - An *ack* ends one, too, but not of a file that is still open for writing: programs also print how far they are.
//!   Only if an invariant names the ack and the file is its content then a promise, open or not.
//! - A file that holds nothing (it is empty, or all zeros) is none by a sync or an ack alone. To empty the old content
//!   and write the new one is *the* way to lose a file, and it must not be excused because something was printed in
//!   between, or synced. It is one if it was synced and then an ack followed, or if an invariant names the ack and the
//!   file was no longer open for writing.

use std::collections::{BTreeMap, BTreeSet};

use program::{Call, RelPath, Target, Trace, Vfs};

/// RWF_DSYNC and RWF_SYNC (pwritev2(2)).
const RWF_SYNCS: u32 = 6;

/// What an op syncs.
enum Synced {
    File(u64),
    All,
}

/// After which ops a version of each of these names is complete, ascending. With each name come the acks that invariants
/// name for it.
pub(crate) fn ends(trace: &Trace, paths: &BTreeMap<RelPath, BTreeSet<usize>>) -> BTreeMap<RelPath, Vec<usize>> {
    let mut vfs = Vfs::new(&trace.before);
    let mut ends: BTreeMap<RelPath, Vec<usize>> = BTreeMap::new();
    // The names that were touched since their last version ended, and whether what they hold was synced.
    let mut open: BTreeMap<RelPath, bool> = BTreeMap::new();
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        if vfs.apply(&op.call).is_err() {
            continue;
        }
        open.extend(vfs.touched().filter(|path| paths.contains_key(path)).map(|path| (path.clone(), false)));
        let synced = synced(&vfs, &op.call);
        let promises = matches!(op.call, Call::Ack { .. } | Call::Exit { .. });
        if synced.is_none() && !promises {
            continue;
        }
        open.retain(|path, was_synced| {
            let inode = vfs.inode_of(&Target::NoFollow(path.clone()));
            let Some((inode, bytes)) = inode.and_then(|inode| Some((inode, vfs.bytes(inode)?))) else { return false };
            let is_synced = synced.as_ref().is_some_and(|synced| match synced {
                Synced::File(file) => *file == inode,
                Synced::All => true,
            });
            *was_synced |= is_synced;
            let named = || paths.get(path).is_some_and(|named| named.contains(&index));
            let closed = || !vfs.is_open_for_writing(inode);
            let complete = match bytes.iter().any(|byte| *byte != 0) {
                true => is_synced || (promises && (closed() || named())),
                false => promises && (*was_synced || (named() && closed())),
            };
            if complete {
                ends.entry(path.clone()).or_default().push(index);
            }
            !complete
        });
    }
    ends
}

fn synced(vfs: &Vfs, call: &Call) -> Option<Synced> {
    let handle = match call {
        Call::SyncFs { .. } | Call::SyncAll => return Some(Synced::All),
        Call::Fsync { handle } | Call::Fdatasync { handle } | Call::Msync { handle, .. } => handle,
        Call::Write { handle, flags, .. } if flags & RWF_SYNCS != 0 || vfs.writes_sync(*handle) => handle,
        Call::CopyRange { to, .. } if vfs.writes_sync(*to) => to,
        _ => return None,
    };
    vfs.inode_of(&Target::Handle(*handle)).map(Synced::File)
}

#[cfg(test)]
mod tests;
