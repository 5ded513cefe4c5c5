//! What was not durable yet when an op began: all that can be said where a check of the user's own found the fault,
//! since what it looks at is not known.

use std::collections::BTreeMap;

use trace::{Call, RelPath, Trace, Vfs};

use super::{Reason, Watch, bind_text};
use crate::Moment;

/// Names that a call makes or takes away.
fn names(call: &Call) -> Vec<&RelPath> {
    match call {
        Call::Open { path, .. }
        | Call::Mkdir { path, .. }
        | Call::Mknod { path, .. }
        | Call::Symlink { path, .. }
        | Call::Unlink { path }
        | Call::Rmdir { path }
        | Call::Link { to: path, .. } => vec![path],
        Call::Rename { from, to, .. } => vec![from, to],
        _ => Vec::new(),
    }
}

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
            | Call::SyncFs { .. }
            | Call::SyncAll
            | Call::Ack { .. }
            | Call::Exit { .. }
    )
}

fn inode(vfs: &Vfs, path: &RelPath) -> Option<u64> {
    vfs.inode_of(&trace::Target::NoFollow(path.clone()))
}

/// Changes of names that no fsync of their directory has followed.
#[derive(Default)]
struct Names {
    /// By the directory's inode: the directory, and the ops that changed a name in it, with what they did.
    pending: BTreeMap<u64, (RelPath, Vec<(usize, String)>)>,
}

impl Names {
    /// Takes an op, whose names stood for `before`.
    fn step(&mut self, watch: &Watch<'_>, index: usize, call: &Call, before: &[(&RelPath, Option<u64>)]) {
        match call {
            Call::SyncFs { .. } | Call::SyncAll => self.pending.clear(),
            Call::Fsync { handle } | Call::Fdatasync { handle } => {
                let synced = watch.vfs.inode_of(&trace::Target::Handle(*handle));
                self.pending.retain(|directory, _| Some(*directory) != synced);
            }
            _ => {}
        }
        for (path, before) in before {
            let directory = path.parent().unwrap_or_else(RelPath::root);
            if inode(&watch.vfs, path) != *before
                && let Some(number) = inode(&watch.vfs, &directory)
            {
                let (_, changes) = self.pending.entry(number).or_insert((directory, Vec::new()));
                changes.push((index, bind_text(call, path)));
            }
        }
    }
}

/// What no sync had made durable before the last change, or promise, by the time at which the state can first occur: data
/// of files, and names.
pub(super) fn unsynced(trace: &Trace, moment: &Moment) -> Option<Reason> {
    let begun = moment.begun_earliest.min(trace.ops.len());
    let ended = moment.ended_latest.min(trace.ops.len());
    // A promise that was given by then may be what the check holds against the state.
    let promise = (0..ended).rev().find(|&op| matches!(trace.ops[op].call, Call::Ack { .. } | Call::Exit { .. }));
    let last = promise.max((0..begun).rev().find(|&op| changes(&trace.ops[op].call)))?;
    let root = RelPath::root();
    let mut watch = Watch::new(trace, &root);
    let mut names_of = Names::default();
    for (index, op) in trace.ops.iter().enumerate().take(last).filter(|(_, op)| op.result >= 0) {
        let before: Vec<_> = names(&op.call).into_iter().map(|path| (path, inode(&watch.vfs, path))).collect();
        watch.step(index, &op.call);
        names_of.step(&watch, index, &op.call, &before);
    }
    let mut pending: Vec<(usize, String)> = Vec::new();
    for (&number, data) in &watch.data {
        if let (Some(written), None) = (data.written, data.synced) {
            // A file without a name is nobody's loss.
            let Some(name) = watch.vfs.names(number).into_iter().next() else { continue };
            pending.push((written, format!("{name} since its last write (op {written})")));
        }
    }
    for (directory, changes) in names_of.pending.into_values() {
        let name = if directory.is_root() { String::new() } else { format!(" {directory}") };
        let told = |(op, what): &(usize, String)| format!("op {op} ({what})");
        let (Some(first), Some(last)) = (changes.first(), changes.last()) else { continue };
        let and = if first.0 == last.0 { String::new() } else { format!(" and {}", told(last)) };
        pending.push((first.0, format!("the directory{name} since {}{and}", told(first))));
    }
    pending.sort();
    let (ops, texts): (Vec<usize>, Vec<String>) = pending.into_iter().unzip();
    if ops.is_empty() {
        return None;
    }
    let text = format!(
        "no fsync of {} before op {last} ({}): a crash can keep what comes later without that",
        texts.join(", nor of "),
        trace.ops[last].syscall
    );
    let mut ops: Vec<usize> = ops.into_iter().chain([last]).collect();
    ops.dedup();
    Some(Reason { text, ops })
}
