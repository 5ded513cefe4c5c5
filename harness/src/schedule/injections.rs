//! What can be injected, and where.

use trace::{Call, History, Target, Trace, Vfs};

use super::{Event, Injection, Part, Work, dirty, places};

/// SYNC_FILE_RANGE_WAIT_BEFORE and SYNC_FILE_RANGE_WAIT_AFTER (include/uapi/linux/fs.h).
const WAITS: u32 = 1 | 4;

/// Each single injection, in the order of ops.
///
/// "The machine idled here" is one event: a file or all files are written back, whole or half of one, and that is over
/// or still under way, with a commit behind it; or there is a commit alone. Writeback without a commit has other crash
/// states only where the next sync of the program is one of something else, whose commit it then is: up to a sync of the same
/// files, nothing is committed, and the states are those of the writeback with a commit before that commit ends.
pub(super) fn injections(trace: &Trace, history: &History) -> Vec<Injection> {
    let places = places::places(trace, history);
    let last = places.iter().rposition(|place| *place);
    let waits = waits_for_data(trace, history);
    let passed = passed_by(trace, history);
    let mut injections = Vec::new();
    for (op, cuts) in dirty::cuts(trace, history).into_iter().enumerate() {
        if waits[op] {
            injections.push(Injection { op, event: Event::CommitDuring });
        }
        if places[op] {
            let idle = idle(history.dirty_files_after(op), &cuts, &passed[op], Some(op) == last);
            injections.extend(idle.into_iter().map(|works| Injection { op, event: Event::Idle(works) }));
        }
    }
    injections
}

/// What can happen after an op that leaves these files dirty, of which those that are `passed` are not what the program syncs
/// next. After the `last` place, the endings begin with some of it.
fn idle(dirty: &[Target], cuts: &[(Target, u64)], passed: &[bool], last: bool) -> Vec<Vec<Work>> {
    let commit = [Work::Commit];
    let mut all = Vec::new();
    if !last {
        all.push(commit.to_vec());
    }
    let one_by_one = dirty.iter().zip(passed).map(|(file, passed)| (std::slice::from_ref(file), *passed));
    let together = (dirty.len() > 1).then(|| (dirty, passed.contains(&true)));
    for (files, passed) in one_by_one.chain(together) {
        let (under_way, complete) = (Work::writeback(files, false), Work::writeback(files, true));
        all.push(with_commit(&under_way));
        if passed {
            all.push(under_way);
        }
        if !last || files.len() < dirty.len() {
            all.push(with_commit(&complete));
            all.extend(passed.then_some(complete));
        }
    }
    for (target, cut) in cuts {
        let passed = dirty.iter().zip(passed).any(|(file, passed)| file == target && *passed);
        for part in [Part::UpTo(*cut), Part::From(*cut)] {
            let half = |complete| vec![Work::Writeback { target: target.clone(), part, complete }];
            all.extend([with_commit(&half(true)), with_commit(&half(false))]);
            all.extend(passed.then(|| half(true)));
        }
    }
    all
}

fn with_commit(works: &[Work]) -> Vec<Work> {
    [works, &[Work::Commit]].concat()
}

/// For each op and each file that it leaves dirty: whether the next sync of the program is one of something else, so that
/// it does not wait for what is under way of that file.
fn passed_by(trace: &Trace, history: &History) -> Vec<Vec<bool>> {
    let mut vfs = Vfs::new(&trace.before);
    let mut dirty: Vec<Vec<Option<u64>>> = Vec::new();
    // What each op syncs: nothing, everything, or one file.
    let mut synced: Vec<Option<Option<u64>>> = Vec::new();
    for (index, op) in trace.ops.iter().enumerate() {
        let file = |handle| Some(vfs.inode_of(&Target::Handle(handle)));
        synced.push(match &op.call {
            _ if op.result < 0 => None,
            Call::Fsync { handle } | Call::Fdatasync { handle } => file(*handle),
            Call::Write { handle, flags, .. } if places::writes_sync(&vfs, *handle, *flags) => file(*handle),
            Call::SyncFs { .. } | Call::SyncAll => Some(None),
            _ => None,
        });
        if op.result >= 0 {
            let _ = vfs.apply(&op.call);
        }
        dirty.push(history.dirty_files_after(index).iter().map(|target| vfs.inode_of(target)).collect());
    }
    let mut next = None;
    let mut passed: Vec<Vec<bool>> = Vec::new();
    for (dirty, synced) in dirty.iter().zip(synced).rev() {
        let by = |inode: &Option<u64>| matches!(next, Some(Some(next)) if Some(next) != *inode);
        passed.push(dirty.iter().map(by).collect());
        next = synced.or(next);
    }
    passed.reverse();
    passed
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
            Call::Write { handle, flags, .. } => places::writes_sync(&vfs, *handle, *flags),
            _ => false,
        };
        let _ = vfs.apply(&op.call);
    }
    waits
}
