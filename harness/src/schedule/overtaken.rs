//! Which of the program's own syncs can overtake writeback that an earlier op has started and did not wait for.

use trace::{Call, History, Target, Trace, Vfs};

/// SYNC_FILE_RANGE_WAIT_AFTER (include/uapi/linux/fs.h): waits for the end of writeback.
const WAIT_AFTER: u32 = 4;

/// For each op that may start writeback of a dirty file: the next op that makes something durable, if that is a sync of
/// another file or of a directory. Such a sync waits for nobody else's data, so these may still be on their way when it
/// has ended; one of the same file, or of the whole file system, waits for them.
pub(super) fn by_syncs(trace: &Trace, history: &History) -> Vec<Option<usize>> {
    let mut vfs = Vfs::new(&trace.before);
    let mut by = vec![None; trace.ops.len()];
    // What has been started since the last sync: the op, and whose data.
    let mut started: Vec<(usize, u64)> = Vec::new();
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        let written_back = written_back(&op.call, &vfs);
        let synced = synced(&op.call, &vfs);
        if vfs.apply(&op.call).is_err() {
            continue;
        }
        if let Some(synced) = synced {
            for (op, _) in started.drain(..).filter(|(_, inode)| synced.is_some_and(|synced| synced != *inode)) {
                by[op] = Some(index);
            }
        }
        let is_dirty =
            |inode: &u64| history.dirty_files_after(index).iter().any(|target| vfs.inode_of(target) == Some(*inode));
        started.extend(written_back.filter(is_dirty).map(|inode| (index, inode)));
    }
    by
}

/// The file whose writeback a file system may start in passing when it is asked this (see [`super::starts_writeback`]).
fn written_back(call: &Call, vfs: &Vfs) -> Option<u64> {
    match call {
        // Where it replaces nothing, nothing is started.
        Call::Rename { from, to, .. } => {
            let replaced = vfs.inode_of(&Target::NoFollow(to.clone()));
            replaced.and_then(|_| vfs.inode_of(&Target::NoFollow(from.clone())))
        }
        Call::Close { handle } => vfs.inode_of(&Target::Handle(*handle)),
        Call::SyncRange { handle, flags, .. } if flags & WAIT_AFTER == 0 => vfs.inode_of(&Target::Handle(*handle)),
        _ => None,
    }
}

/// What a call makes durable before it ends: one file, or everything (`Some(None)`).
fn synced(call: &Call, vfs: &Vfs) -> Option<Option<u64>> {
    match call {
        Call::Fsync { handle } | Call::Fdatasync { handle } => Some(vfs.inode_of(&Target::Handle(*handle))),
        // RWF_DSYNC, RWF_SYNC (pwritev2(2)); O_DSYNC, O_SYNC (open(2)).
        Call::Write { handle, flags, .. } if flags & 6 != 0 || vfs.writes_sync(*handle) => {
            Some(vfs.inode_of(&Target::Handle(*handle)))
        }
        Call::SyncFs { .. } | Call::SyncAll => Some(None),
        _ => None,
    }
}
