//! After which ops background work can be other than after the op before.

use program::{Call, Handle, History, RWF_SYNC, Target, Trace, Vfs};

/// Whether a write with these flags of pwritev2(2) is synchronous.
pub(super) fn writes_sync(vfs: &Vfs, handle: Handle, flags: u32) -> bool {
    flags & RWF_SYNC != 0 || vfs.writes_sync(handle)
}

/// O_CREAT, O_TRUNC and O_TMPFILE (open(2)).
const O_CREAT: u32 = 0o100;
pub(super) const O_TRUNC: u32 = 0o1000;
/// `O_DIRECT` (open(2)).
pub const O_DIRECT: u32 = 0o40000;
const O_TMPFILE: u32 = 0o20000000;

/// How many writes to one file in a row are all places. Of more, only some are.
const RUN: usize = 6;

/// For each op, whether background work after it can have another outcome than the same work after the op before.
///
/// It cannot where the op changes nothing that a file system keeps and makes nothing durable: what it prints, opens to
/// read, closes. A crash after such an op is in the schedule that has the work before it, too, with all that was
/// promised by then. Of a long run of writes to one file, the first two, the last two and the one in the middle count.
pub(super) fn places(trace: &Trace, history: &History) -> Vec<bool> {
    let mut vfs = Vfs::new(&trace.before);
    let mut places = vec![false; trace.ops.len()];
    // Inodes that were emptied, so that closing them starts writeback (fs/ext4/file.c, `ext4_release_file`;
    // fs/xfs/xfs_inode.c, `xfs_release`; fs/btrfs/file.c, `btrfs_release_file`).
    let mut emptied = std::collections::BTreeSet::new();
    let mut runs: Vec<(Option<u64>, Vec<usize>)> = Vec::new();
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        let inode = |vfs: &Vfs, target: &Target| vfs.inode_of(target);
        let mut written = None;
        let changes = match &op.call {
            Call::Ack { .. } | Call::Exit { .. } => false,
            Call::Open { path, flags, .. } => {
                let there = inode(&vfs, &Target::Path(path.clone()));
                let empties = flags & O_TRUNC != 0 && there.is_some_and(|inode| vfs.length(inode).unwrap_or(0) > 0);
                if empties {
                    emptied.extend(there);
                }
                empties || flags & O_TMPFILE == O_TMPFILE || (flags & O_CREAT != 0 && there.is_none())
            }
            Call::Close { handle } => {
                let file = inode(&vfs, &Target::Handle(*handle));
                file.is_some_and(|file| {
                    let dirty = history.dirty_files_after(index).iter().any(|target| inode(&vfs, target) == Some(file));
                    (emptied.contains(&file) && dirty) || (vfs.length(file).is_some() && vfs.names(file).is_empty())
                })
            }
            Call::Truncate { target, .. } => {
                emptied.extend(inode(&vfs, target));
                true
            }
            Call::Write { handle, data, .. } | Call::Store { handle, data, .. } => {
                written = inode(&vfs, &Target::Handle(*handle));
                !data.is_empty()
            }
            _ => true,
        };
        let _ = vfs.apply(&op.call);
        places[index] = changes;
        if changes {
            match runs.last_mut() {
                Some((file, run)) if written.is_some() && *file == written => run.push(index),
                _ => runs.push((written, vec![index])),
            }
        }
    }
    for (_, run) in runs.iter().filter(|(_, run)| run.len() > RUN) {
        let kept = [0, 1, run.len() / 2, run.len() - 2, run.len() - 1];
        run.iter().enumerate().filter(|(place, _)| !kept.contains(place)).for_each(|(_, op)| places[*op] = false);
    }
    // What could be other between the ops before comes together behind the last of them.
    if let Some(from) = trace.explored_from {
        places.iter_mut().take(from).for_each(|place| *place = false);
        places.iter_mut().skip(from).take(1).for_each(|place| *place = true);
    }
    places
}
