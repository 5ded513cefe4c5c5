//! What was not durable yet when an op began: all that can be said where a check of the user's own found the fault,
//! since what it looks at is not known.

use program::{Call, OpId, RelPath, Trace};

use super::pending::{before, sorted};
use crate::observed::shown;
use crate::{CrashWindow, Hint, Pending};

/// Whether a call leaves something else than it found: what comes too early if something was not synced.
fn changes(call: &Call) -> bool {
    if let Call::Open { flags, .. } = call {
        // O_CREAT, O_TRUNC; O_TMPFILE makes something that no name leads to.
        return flags & 0o1100 != 0;
    }
    !matches!(
        call,
        Call::Close { .. }
            | Call::Fsync { .. }
            | Call::Fdatasync { .. }
            | Call::SyncRange { .. }
            | Call::DontNeed { .. }
            | Call::Msync { .. }
            | Call::SyncFs { .. }
            | Call::SyncAll
            | Call::Ack { .. }
            | Call::Exit { .. }
    )
}

/// What no sync had made durable before the last change, or promise, by the time at which the state can first occur: data
/// of files, and names.
pub(super) fn unsynced(trace: &Trace, window: &CrashWindow) -> Option<Hint> {
    let begun = window.begun_earliest.min(trace.ops.len());
    let ended = window.ended_latest.min(trace.ops.len());
    // A promise that was given by then may be what the check holds against the state.
    let promises = |op: &program::Op| matches!(op.call, Call::Ack { .. } | Call::Exit { .. }) && !op.ends_line();
    let promise = (0..ended).rev().find(|&op| promises(&trace.ops[op]));
    let last = promise.max((0..begun).rev().find(|&op| changes(&trace.ops[op].call)))?;
    let root = RelPath::root();
    let (watch, names) = before(trace, &root, last);
    let mut pending = Vec::new();
    for (&number, data) in &watch.data {
        if let (Some(written), None) = (data.written, data.synced) {
            // A file without a name is nobody's loss.
            let Some(name) = watch.vfs.names(number).into_iter().next() else { continue };
            pending.push(Pending::Data { path: shown(&name), written: OpId(written) });
        }
    }
    for (directory, changes) in names.left(&watch.vfs) {
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else { continue };
        let until = (first.what.op != last.what.op).then(|| last.what.clone());
        pending.push(Pending::Names { directory: shown(&directory), since: first.what.clone(), until });
    }
    let (pending, change) = (sorted(pending), OpId(last));
    (!pending.is_empty()).then_some(Hint::NotSyncedBeforeChange { pending, change })
}
