//! What keeps a promise from being durable.

use program::{OpId, RelPath, Trace};

use super::pending::{before, sorted};
use crate::observed::shown;
use crate::{Hint, Kind, Pending};

/// What no sync had made durable when the op `ack` promised it: the file's data, and the names that lead to it.
///
/// A name that a crash takes back shows what it stood for before, or nothing; it spoils no content. And data that were
/// written before the name was bound to them are a matter of that, not of the promise.
pub(super) fn not_durable(trace: &Trace, kind: Kind, path: &RelPath, ack: usize) -> Option<Hint> {
    let (watch, names) = before(trace, path, ack);
    let by_name = matches!(kind, Kind::Stale | Kind::Missing);
    let data = watch.inode(path).and_then(|inode| watch.data.get(&inode)).copied().unwrap_or_default();
    let unsynced = data.written.filter(|_| data.synced.is_none());
    let unsynced = unsynced.filter(|written| by_name || watch.bound.is_none_or(|bound| bound < *written));
    let range = data.range.filter(|_| unsynced.is_some());
    let unsynced = unsynced.map(|written| Pending::Data { path: shown(path), written: OpId(written) });
    let unnamed = names.on_the_way_to(&watch.vfs, path).into_iter().filter(|_| by_name);
    let unnamed = unnamed.map(|(directory, change)| Pending::Names {
        directory: shown(&directory),
        since: change.what.clone(),
        until: None,
    });
    let pending: Vec<Pending> = unsynced.into_iter().chain(sorted(unnamed.collect())).collect();
    let (promise, sync_range) = (OpId(ack), range.map(OpId));
    (!pending.is_empty()).then_some(Hint::NotSyncedBeforePromise { pending, promise, sync_range })
}
