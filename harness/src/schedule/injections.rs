//! What can be injected, and where.

use trace::{Call, History, Target, Trace, Vfs};

use super::{Event, Injection, Part, Work, dirty, places};

/// SYNC_FILE_RANGE_WAIT_BEFORE and SYNC_FILE_RANGE_WAIT_AFTER (include/uapi/linux/fs.h).
const WAITS: u32 = 1 | 4;

/// Each single injection, in the order of ops.
///
/// "The machine idled here" is one event: a file or all files are written back, whole or half of one, and that is over
/// or still under way; with a commit behind it or without; or there is a commit alone.
pub(super) fn injections(trace: &Trace, history: &History) -> Vec<Injection> {
    let places = places::places(trace, history);
    let last = places.iter().rposition(|place| *place);
    let waits = waits_for_data(trace, history);
    let mut injections = Vec::new();
    for (op, cuts) in dirty::cuts(trace, history).into_iter().enumerate() {
        if waits[op] {
            injections.push(Injection { op, event: Event::CommitDuring });
        }
        if places[op] {
            let idle = idle(history.dirty_files_after(op), &cuts, Some(op) == last);
            injections.extend(idle.into_iter().map(|works| Injection { op, event: Event::Idle(works) }));
        }
    }
    injections
}

/// What can happen after an op that leaves these files dirty. After the `last` place, the endings begin with some of it.
fn idle(dirty: &[Target], cuts: &[(Target, u64)], last: bool) -> Vec<Vec<Work>> {
    let commit = [Work::Commit];
    let mut all = Vec::new();
    if !last {
        all.push(commit.to_vec());
    }
    let one_by_one = dirty.iter().map(std::slice::from_ref);
    for files in one_by_one.chain((dirty.len() > 1).then_some(dirty)) {
        let (under_way, complete) = (Work::writeback(files, false), Work::writeback(files, true));
        all.push(with_commit(&under_way));
        if !last {
            all.push(under_way);
        }
        if !last || files.len() < dirty.len() {
            all.push(with_commit(&complete));
            all.push(complete);
        }
    }
    for (target, cut) in cuts {
        for part in [Part::UpTo(*cut), Part::From(*cut)] {
            let half = |complete| vec![Work::Writeback { target: target.clone(), part, complete }];
            all.extend([half(true), with_commit(&half(true)), with_commit(&half(false))]);
        }
    }
    all
}

fn with_commit(works: &[Work]) -> Vec<Work> {
    [works, &[Work::Commit]].concat()
}

/// For each op: whether it waits until data have arrived at the disk that were dirty before, or that it writes itself.
/// Meanwhile somebody else, or a timer, can have the file system commit.
fn waits_for_data(trace: &Trace, history: &History) -> Vec<bool> {
    let mut vfs = Vfs::new(&trace.before);
    let mut waits = vec![false; trace.ops.len()];
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        let dirty = index.checked_sub(1).map_or(&[][..], |before| history.dirty_files_after(before));
        let is_dirty = |handle| {
            let inode = vfs.inode_of(&Target::Handle(handle));
            inode.is_some() && dirty.iter().any(|target| vfs.inode_of(target) == inode)
        };
        waits[index] = match &op.call {
            Call::Fsync { handle } | Call::Fdatasync { handle } => is_dirty(*handle),
            Call::SyncRange { handle, flags, .. } => flags & WAITS != 0 && is_dirty(*handle),
            Call::SyncFs { .. } | Call::SyncAll => !dirty.is_empty(),
            Call::Write { handle, flags, .. } => {
                flags & (places::RWF_DSYNC | places::RWF_SYNC) != 0 || vfs.writes_sync(*handle)
            }
            _ => false,
        };
        let _ = vfs.apply(&op.call);
    }
    waits
}
