//! Several names, and what belongs to a name beside its content.

use program::{Call, RelPath, Target, Trace, Vfs};

use super::{Reason, TMPFILE, Watch, bind_text};

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
pub(super) fn partial(trace: &Trace, paths: &[RelPath]) -> Option<Reason> {
    let mut last: Vec<(usize, &RelPath)> =
        paths.iter().filter_map(|path| Some((touches(trace, path).last()?.0, path))).collect();
    last.sort();
    let text: Vec<String> =
        last.iter().map(|(op, path)| format!("{path} changes with op {op} ({})", trace.ops[*op].syscall)).collect();
    let text = format!(
        "{}: a crash can keep one without the other, whatever is synced; keep both in one file, or switch both with one \
         rename (of their directory, or of a symbolic link to it)",
        text.join(", ")
    );
    let mut ops: Vec<usize> = last.into_iter().map(|(op, _)| op).collect();
    ops.dedup();
    // One op alone changes both at once.
    (ops.len() > 1).then_some(Reason { text, ops })
}

/// What gave the file at `path` another mode or owner than the old one had.
pub(super) fn metadata(trace: &Trace, path: &RelPath, begun: usize) -> Option<Reason> {
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
            let unnamed = || "a file without a name".to_owned();
            let name = if watch.inode(new) == Some(inode) { new.to_string() } else { unnamed() };
            made.insert(inode, (op, name, mode));
        }
        let now = watch.inode(path);
        if let Call::Chmod { target, .. } | Call::Chown { target, .. } = &recorded.call
            && now.is_some()
            && watch.vfs.inode_of(target) == now
        {
            let text = format!(
                "op {op} ({}) changes what {path} had; before it was in place would be soon enough",
                recorded.syscall
            );
            reason = Some(Reason { text, ops: vec![op] });
        }
        if now != before
            && let Some((origin, name, mode)) = now.and_then(|inode| made.get(&inode))
        {
            let advice = "give it the old file's mode and owner";
            let text = match *origin == op {
                true => format!("op {op} makes {name} anew with mode {mode:04o}: {advice}"),
                false => format!(
                    "op {origin} makes {name} with mode {mode:04o}, and op {op} ({}) puts it in place: {advice} before \
                     that (fchmod(2), fchown(2))",
                    bind_text(&recorded.call, path)
                ),
            };
            let mut ops = vec![*origin, op];
            ops.dedup();
            reason = Some(Reason { text, ops });
        }
    }
    reason
}

/// How a name comes to be left.
pub(super) fn leftover(trace: &Trace, path: &RelPath) -> Option<Reason> {
    let touches = touches(trace, path);
    let (made, _) = *touches.iter().find(|(_, there)| *there)?;
    let gone = touches.iter().find(|(op, there)| *op > made && !there).map(|(op, _)| *op);
    let until = gone
        .map_or_else(String::new, |op| format!(", and a crash can come before op {op} ({})", trace.ops[op].syscall));
    let text = format!(
        "op {made} ({}) makes {path}{until}: remove what is left at the next start, or make it without a name (O_TMPFILE, \
         open(2))",
        trace.ops[made].syscall
    );
    Some(Reason { text, ops: std::iter::once(made).chain(gone).collect() })
}
