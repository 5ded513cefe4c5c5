//! Several names, and what belongs to a name beside its content.

use program::{Call, OpId, RelPath, Target, Trace, Vfs};

use super::unsynced::unsynced_before;
use super::{TMPFILE, Watch};
use crate::observed::shown;
use crate::{FileChange, Hint, NameChange, NameOp};

/// The ops that touched `path`, ascending, and whether it was there afterwards.
fn touches(trace: &Trace, path: &RelPath) -> Vec<(usize, bool)> {
    let mut vfs = Vfs::new(&trace.before);
    let mut ops = Vec::new();
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        if vfs.apply(&op.call).is_ok() && vfs.touched().any(|touched| touched == path) {
            ops.push((index, vfs.inode_of(&program::Target::NoFollow(path.clone())).is_some()));
        }
    }
    ops
}

/// Files that belong together and change with an op each.
pub(super) fn partial(trace: &Trace, paths: &[RelPath]) -> Option<Hint> {
    let mut last: Vec<(usize, &RelPath)> =
        paths.iter().filter_map(|path| Some((touches(trace, path).last()?.0, path))).collect();
    last.sort();
    // One op alone changes both at once.
    let is_one = last.first().map(|(op, _)| *op) == last.last().map(|(op, _)| *op);
    let change = |(op, path): (usize, &RelPath)| FileChange { op: OpId(op), path: shown(path) };
    (!is_one).then(|| Hint::NotInOneStep { changes: last.into_iter().map(change).collect() })
}

/// What was not durable of the file `made` when the first of the others was removed.
pub(super) fn removed_too_early(trace: &Trace, (paths, made): (&[RelPath], &RelPath), begun: usize) -> Option<Hint> {
    let removed = |path: &RelPath| touches(trace, path).into_iter().find(|(op, there)| !there && *op < begun);
    let first = paths.iter().filter(|path| *path != made).filter_map(removed).map(|(op, _)| op).min()?;
    // Each name that leads to it matters.
    unsynced_before(trace, first, |path| made.starts_with(path), usize::MAX)
}

/// What was not durable of a tree when the marker last became something else.
pub(super) fn marked_too_early(trace: &Trace, (marker, paths): (&RelPath, &[RelPath]), begun: usize) -> Option<Hint> {
    /// Of a tree there can be thousands.
    const NAMED: usize = 4;
    let (op, _) = touches(trace, marker).into_iter().rfind(|(op, _)| *op < begun)?;
    let leads_to_it = |path: &RelPath| paths.iter().any(|top| path.starts_with(top) || top.starts_with(path));
    unsynced_before(trace, op, leads_to_it, NAMED)
}

/// What gave the file at `path` another mode or owner than the old one had.
pub(super) fn metadata(trace: &Trace, path: &RelPath, begun: usize) -> Option<Hint> {
    let mut watch = Watch::new(trace, path);
    // What each op made, by inode.
    let mut made = std::collections::BTreeMap::new();
    let mut reason = None;
    for (op, recorded) in trace.ops.iter().enumerate().take(begun).filter(|(_, op)| op.result >= 0) {
        let before = watch.inode(path);
        let new = match &recorded.call {
            Call::Open { path: new, mode, flags, handle } if flags & TMPFILE != 0 || watch.inode(new).is_none() => {
                Some((*handle, new, *mode))
            }
            _ => None,
        };
        watch.step(op, &recorded.call);
        if let Some((handle, new, mode)) = new
            && let Some(inode) = watch.vfs.inode_of(&Target::Handle(handle))
        {
            let name = (watch.inode(new) == Some(inode)).then(|| shown(new));
            made.insert(inode, (op, name, mode));
        }
        let now = watch.inode(path);
        if let Call::Chmod { target, .. } | Call::Chown { target, .. } = &recorded.call
            && now.is_some()
            && watch.vfs.inode_of(target) == now
        {
            reason = Some(Hint::MetadataChangedInPlace { op: OpId(op), path: shown(path) });
        }
        if now != before
            && let Some((origin, name, mode)) = now.and_then(|inode| made.get(&inode))
        {
            let change = || NameChange::of(&recorded.call, path);
            let placed = (*origin != op).then(|| NameOp { op: OpId(op), change: change() });
            let (op, path, mode) = (OpId(*origin), name.clone(), *mode);
            reason = Some(Hint::MadeWithOtherMetadata { op, path, mode, placed });
        }
    }
    reason
}

/// How a name comes to be left.
pub(super) fn leftover(trace: &Trace, path: &RelPath) -> Option<Hint> {
    let touches = touches(trace, path);
    let (made, _) = *touches.iter().find(|(_, there)| *there)?;
    let gone = touches.iter().find(|(op, there)| *op > made && !there).map(|(op, _)| *op);
    Some(Hint::Leftover { op: OpId(made), path: shown(path), removed: gone.map(OpId) })
}
