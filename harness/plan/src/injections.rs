//! What can be injected, and where.

use program::{Call, History, Target, Trace, Vfs};

use super::{Event, Injection, Part, Work, dirty, places};

/// SYNC_FILE_RANGE_WAIT_BEFORE and SYNC_FILE_RANGE_WAIT_AFTER (include/uapi/linux/fs.h).
const WAITS: u32 = 1 | 4;

/// Each single injection, in the order of ops.
///
/// "The machine idled here" is one event: a file or all files are written back, whole or half of one, and that is over
/// or still under way, with a commit behind it; or there is a commit alone. Writeback without a commit has other crash
/// states only where the next sync of the program is one of something else, whose commit it then is: up to a sync of the same
/// files, nothing is committed, and the states are those of the writeback with a commit before that commit ends. Of places
/// between which neither the file changes nor anything is committed, one stands for all of them. Nor is half a file under
/// way while there is a commit: what the commit finds is the same with all of the file under way, and what arrives is the
/// same with half of it completed, which may be lost until the commit flushes.
pub(super) fn injections(trace: &Trace, history: &History) -> Vec<Injection> {
    let places = places::places(trace, history);
    let promises = |op: usize| trace.ops[op..].iter().any(|op| matches!(op.call, Call::Ack { .. }));
    let last = places.iter().rposition(|place| *place).filter(|last| !promises(*last));
    let waits = waits_for_data(trace, history);
    let passed = passed_by(trace, history, &places);
    let mut injections = Vec::new();
    for (op, cuts) in dirty::cuts(trace, history).into_iter().enumerate() {
        if waits[op] && trace.explored_from.is_none_or(|from| op > from) {
            injections.push(Injection { op, event: Event::CommitDuring });
        }
        if places[op] {
            let idle = idle(history.dirty_files_after(op), &cuts, &passed[op], Some(op) == last);
            injections.extend(idle.into_iter().map(|works| Injection { op, event: Event::Idle(works) }));
        }
    }
    injections
}

/// What can happen after an op that leaves these files dirty. After the `last` place, the endings begin with some of it,
/// unless there are promises in between: before these, it is something else.
fn idle(dirty: &[Target], cuts: &[(Target, u64)], passed: &[Passed], last: bool) -> Vec<Vec<Work>> {
    let commit = [Work::Commit];
    let mut all = Vec::new();
    if !last {
        all.push(commit.to_vec());
    }
    let one_by_one =
        dirty.iter().zip(passed).map(|(file, passed)| (std::slice::from_ref(file), *passed == Passed::Anew));
    let together = (dirty.len() > 1).then(|| (dirty, passed.iter().any(|passed| *passed != Passed::Not)));
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
        let passed = dirty.iter().zip(passed).any(|(file, passed)| file == target && *passed == Passed::Anew);
        for part in [Part::UpTo(*cut), Part::From(*cut)] {
            let half = vec![Work::Writeback { target: target.clone(), part, complete: true }];
            all.push(with_commit(&half));
            all.extend(passed.then_some(half));
        }
    }
    all
}

fn with_commit(works: &[Work]) -> Vec<Work> {
    [works, &[Work::Commit]].concat()
}

/// What becomes of a file that an op leaves dirty if it is written back after that op, and nothing is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// The next sync of the program is of this file, or of all files, or there is none.
    Not,
    /// The next sync is one of something else, so that it does not wait for what is under way of this file.
    Anew,
    /// So it is, and nothing differs if the file is written back after the next place instead.
    AsAtNextPlace,
}

/// The number of no inode.
const NO_FILE: u64 = u64::MAX;

/// For each op and each file that it leaves dirty.
fn passed_by(trace: &Trace, history: &History, places: &[bool]) -> Vec<Vec<Passed>> {
    let mut vfs = Vfs::new(&trace.before);
    let mut dirty: Vec<Vec<Option<u64>>> = Vec::new();
    // What each op syncs: nothing, everything, or one file.
    let mut synced: Vec<Option<Option<u64>>> = Vec::new();
    // The only file that an op changes, if it is known that it changes no other, and does not commit.
    let mut written: Vec<Option<u64>> = Vec::new();
    for (index, op) in trace.ops.iter().enumerate() {
        let file = |handle| Some(vfs.inode_of(&Target::Handle(handle)));
        synced.push(match &op.call {
            _ if op.result < 0 => None,
            Call::Fsync { handle } | Call::Fdatasync { handle } => file(*handle),
            // A part of a file: whatever is under way beside it is not waited for.
            Call::Msync { handle, offset, length } if !vfs.is_whole(*handle, *offset, *length) => Some(Some(NO_FILE)),
            Call::Msync { handle, .. } => file(*handle),
            Call::Write { handle, flags, .. } if places::writes_sync(&vfs, *handle, *flags) => file(*handle),
            Call::SyncFs { .. } | Call::SyncAll => Some(None),
            _ => None,
        });
        written.push(match &op.call {
            Call::Write { handle, .. } | Call::Store { handle, .. } if synced[index].is_none() => {
                vfs.inode_of(&Target::Handle(*handle))
            }
            _ => None,
        });
        if op.result >= 0 {
            let _ = vfs.apply(&op.call);
        }
        dirty.push(history.dirty_files_after(index).iter().map(|target| vfs.inode_of(target)).collect());
    }
    let (mut next, mut next_place) = (None, None);
    let mut passed: Vec<Vec<Passed>> = Vec::new();
    for index in (0..trace.ops.len()).rev() {
        let by = |inode: &Option<u64>| match next {
            Some(Some(synced)) if Some(synced) != *inode => {
                let other = |written: &u64| Some(*written) != *inode;
                let same = next_place.and_then(|place: usize| written[place].as_ref()).is_some_and(other);
                if same { Passed::AsAtNextPlace } else { Passed::Anew }
            }
            _ => Passed::Not,
        };
        passed.push(dirty[index].iter().map(by).collect());
        next = synced[index].or(next);
        next_place = if places[index] { Some(index) } else { next_place };
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
            Call::Fsync { handle } | Call::Fdatasync { handle } | Call::Msync { handle, .. } => is_dirty(*handle),
            Call::SyncRange { handle, flags, .. } => flags & WAITS != 0 && is_dirty(*handle),
            Call::SyncFs { .. } | Call::SyncAll => !dirty.is_empty(),
            Call::Write { handle, flags, .. } => places::writes_sync(&vfs, *handle, *flags),
            _ => false,
        };
        let _ = vfs.apply(&op.call);
    }
    waits
}
