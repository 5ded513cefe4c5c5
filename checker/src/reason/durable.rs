//! What keeps a promise from being durable.

use program::{RelPath, Trace};

use super::names::directory_text;
use super::pending::{before, no_fsync};
use super::{Reason, no_durability_call};
use crate::Kind;

/// What no sync had made durable when the op `ack` promised it: the file's data, and the names that lead to it.
///
/// A name that a crash takes back shows what it stood for before, or nothing; it spoils no content. And data that were
/// written before the name was bound to them are a matter of that, not of the promise.
pub(super) fn not_durable(trace: &Trace, kind: Kind, path: &RelPath, ack: usize) -> Option<Reason> {
    let (watch, names) = before(trace, path, ack);
    let by_name = matches!(kind, Kind::Stale | Kind::Missing);
    let data = watch.inode(path).and_then(|inode| watch.data.get(&inode)).copied().unwrap_or_default();
    let unsynced = data.written.filter(|_| data.synced.is_none());
    let unsynced = unsynced.filter(|written| by_name || watch.bound.is_none_or(|bound| bound < *written));
    let mut pending: Vec<(usize, String)> = Vec::new();
    pending.extend(unsynced.map(|op| (op, format!("{path} since its last write (op {op})"))));
    let range = data.range.filter(|_| unsynced.is_some());
    let unnamed = names.on_the_way_to(&watch.vfs, path).into_iter().filter(|_| by_name);
    let mut unnamed: Vec<(usize, String)> = unnamed
        .map(|(directory, change)| (change.op, format!("{} since {}", directory_text(&directory), change.what)))
        .collect();
    unnamed.sort();
    let only_names = pending.is_empty();
    pending.extend(unnamed);
    let mut reason = no_fsync(pending, format!("before the promise (op {ack})"))?;
    reason.text.extend(range.map(no_durability_call));
    if only_names {
        reason.text.push_str(": fsync(2) of a file does not promise that its name is durable");
    }
    reason.ops.extend(range.into_iter().chain([ack]));
    reason.ops.sort_unstable();
    reason.ops.dedup();
    Some(reason)
}
