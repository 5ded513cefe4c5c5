//! Writes to one file that a crash can tear, or keep in another order.

use program::{OpId, RelPath, Trace};

use super::Watch;
use crate::Hint;
use crate::observed::shown;
use crate::timeline::unchanged_up_to;

/// An op that changed the content of the file at `path` where it lay.
struct Change {
    op: usize,
    /// Whether all that was there stays.
    appends: bool,
    /// The last change before it, if nothing made that durable in between.
    unsynced: Option<usize>,
}

/// The changes that a crash may still undo.
fn changes(trace: &Trace, path: &RelPath, begun: usize) -> Vec<Change> {
    let mut watch = Watch::new(trace, path);
    let mut changes = Vec::new();
    for (op, recorded) in trace.ops.iter().enumerate().take(begun).filter(|(_, op)| op.result >= 0) {
        let before = watch.inode(path);
        let length = before.and_then(|inode| watch.vfs.length(inode));
        let known = before.and_then(|inode| watch.data.get(&inode)).copied().unwrap_or_default();
        let unchanged = unchanged_up_to(&recorded.call, &watch.vfs);
        watch.step(op, &recorded.call);
        // The last op may only have begun. What a sync that is over made durable keeps its order.
        if watch.synced_at(op) && op + 1 < begun {
            changes.clear();
        }
        let in_place = before.is_some() && watch.inode(path) == before;
        if let Some(length) = length
            && in_place
            && watch.vfs.touched().any(|touched| touched == path)
        {
            let appends = unchanged >= length;
            let unsynced = known.written.filter(|_| known.synced.is_none());
            // What was written over with what it held already is no change.
            if !appends || before.and_then(|inode| watch.vfs.length(inode)) != Some(length) {
                changes.push(Change { op, appends, unsynced });
            }
        }
    }
    changes
}

/// Whether the file was there before, is still the same one, and nothing was done to it since its last sync but to append.
pub(super) fn only_appended(trace: &Trace, path: &RelPath, begun: usize) -> bool {
    let was_there = trace.before.file(path).is_some_and(|content| !content.is_empty());
    let changes = changes(trace, path, begun);
    was_there && !changes.is_empty() && changes.iter().all(|change| change.appends)
}

/// Why a log can end in something else than whole records: `None` if its last change was no append.
pub(super) fn torn_append(trace: &Trace, path: &RelPath, begun: usize) -> Option<Hint> {
    let Change { op, appends: true, unsynced } = changes(trace, path, begun).pop()? else { return None };
    Some(Hint::TornAppend { op: OpId(op), path: shown(path), unsynced: unsynced.map(OpId) })
}

/// The last two changes of a file between which there is no sync.
pub(super) fn unordered(trace: &Trace, path: &RelPath, begun: usize) -> Option<Hint> {
    let changes = changes(trace, path, begun);
    let (before, op) = changes.iter().rev().find_map(|change| Some((change.unsynced?, change.op)))?;
    Some(Hint::Unordered { path: shown(path), earlier: OpId(before), later: OpId(op) })
}
