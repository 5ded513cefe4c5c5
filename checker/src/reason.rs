//! Which call is probably missing: read from the ops alone, and to be worded no stronger than that.

use std::collections::BTreeMap;

use program::{Arrival, ArrivalKind, Call, OpId, RelPath, Target, Trace, Vfs};

use crate::acks::ack_ops;
use crate::observed::shown;
use crate::timeline::unchanged_up_to;
use crate::{Ack, CrashWindow, Hint, InPlace, Invariant, Kind, NameChange, RuleError};

mod durable;
mod names;
mod order;
mod pending;
mod together;
mod unsynced;

/// What is known about the data of one inode.
#[derive(Clone, Copy, Debug, Default)]
struct Data {
    /// The last op that changed data and was not synchronous itself.
    written: Option<usize>,
    /// The last op after `written` that made the data durable.
    synced: Option<usize>,
    /// sync_file_range after `written`.
    range: Option<usize>,
}

/// A hint at the call that is missing, from the ops of the trace; `None` where the ops show nothing amiss.
///
/// It is a hint: it says what the ops lack by the rules of POSIX and the manual pages, not what the file system did.
/// Only ops that had begun when the state could first occur are held against the program.
pub fn reason(trace: &Trace, invariant: &Invariant, kind: Kind, path: &RelPath, window: &CrashWindow) -> Option<Hint> {
    match (invariant, kind) {
        (Invariant::Mountable, _) | (_, Kind::ReadError | Kind::Unmountable | Kind::GuestDied) => None,
        (Invariant::Check | Invariant::View(_) | Invariant::ViewAfter(..), _) => unsynced::unsynced(trace, window),
        (Invariant::DurableAfter(ack), kind) => {
            let ack = last_ack(trace, ack, window.ended_latest)?;
            // To lack a file that was not there before is to be as before: nothing of it was replaced by halves.
            let as_before = kind == Kind::Stale || (kind == Kind::Missing && !trace.before.0.contains_key(path));
            let other = || not_atomic(trace, kind, path, window.begun_earliest).filter(|_| !as_before);
            durable::not_durable(trace, kind, path, ack).or_else(other)
        }
        (Invariant::AppendOnly, Kind::TornRecord | Kind::ZeroFilled | Kind::Garbage | Kind::Mixed) => {
            order::torn_append(trace, path, window.begun_earliest)
                .or_else(|| not_atomic(trace, kind, path, window.begun_earliest))
        }
        (Invariant::PrefixOfHistory, kind) if kind != Kind::Missing => {
            order::unordered(trace, path, window.begun_earliest)
                .or_else(|| not_atomic(trace, kind, path, window.begun_earliest))
        }
        (Invariant::AllOrNothing(paths), Kind::Partial) => together::partial(trace, paths),
        (Invariant::OneIsWhole(paths), kind) => {
            together::removed_too_early(trace, (paths, path), window.begun_earliest)
                .or_else(|| not_atomic(trace, kind, path, window.begun_earliest))
        }
        (Invariant::Tree(marker, paths), _) => {
            together::marked_too_early(trace, (marker, paths), window.begun_earliest)
        }
        (Invariant::MetadataPreserved, _) => together::metadata(trace, path, window.begun_earliest),
        (Invariant::NoLeftovers, _) => together::leftover(trace, path),
        _ => not_atomic(trace, kind, path, window.begun_earliest),
    }
}

/// The same for a failed check of the workload's own, where it is seen which files are none of their versions, and how
/// ([`crate::Rules::not_versions`]): what an invariant about the first of them would advise, if no sync is missing.
pub fn check_reason(trace: &Trace, wrong: &[(RelPath, Kind)], window: &CrashWindow) -> Option<Hint> {
    let of_file = |(path, kind): &(RelPath, Kind)| {
        let begun = window.begun_earliest;
        let of_log =
            || order::only_appended(trace, path, begun).then(|| order::torn_append(trace, path, begun)).flatten();
        of_log().or_else(|| reason(trace, &Invariant::AtomicReplace, *kind, path, window))
    };
    reason(trace, &Invariant::Check, Kind::CheckFailed, &RelPath::root(), window)
        .or_else(|| wrong.iter().find_map(of_file))
}

/// The op of the last ack before `ended`; for a text, the op that printed the end of it.
pub fn last_ack(trace: &Trace, ack: &Ack, ended: usize) -> Option<usize> {
    let ops = ack_ops(trace, ack).ok()?;
    ops.into_iter().rev().find(|op| *op < ended)
}

/// The first op that completes the ack.
///
/// # Errors
/// None does.
pub fn first_ack(trace: &Trace, ack: &Ack) -> Result<usize, RuleError> {
    ack_ops(trace, ack).and_then(|ops| ops.into_iter().next().ok_or(RuleError::NoExit))
}

/// Watches one name, and the data of every inode, while the trace is replayed.
struct Watch<'a> {
    path: &'a RelPath,
    vfs: Vfs,
    data: BTreeMap<u64, Data>,
    /// The last op that changed what the name stands for.
    bound: Option<usize>,
}

impl<'a> Watch<'a> {
    fn new(trace: &Trace, path: &'a RelPath) -> Self {
        Self { path, vfs: Vfs::new(&trace.before), data: BTreeMap::new(), bound: None }
    }

    fn inode(&self, path: &RelPath) -> Option<u64> {
        self.vfs.inode_of(&Target::NoFollow(path.clone()))
    }

    /// The file whose data a call may change.
    fn target(&self, call: &Call) -> Option<u64> {
        match call {
            Call::Open { path, flags, .. } if flags & TRUNCATE != 0 => self.inode(path),
            call => self.vfs.inode_of(&call.changes_data_of()?),
        }
    }

    /// The open file of which a call makes all data durable.
    fn synced(&self, call: &Call) -> Option<u64> {
        let handle = match call {
            Call::Fsync { handle } | Call::Fdatasync { handle } => handle,
            Call::Msync { handle, offset, length } if self.vfs.is_whole(*handle, *offset, *length) => handle,
            _ => return None,
        };
        self.vfs.inode_of(&Target::Handle(*handle))
    }

    fn step(&mut self, index: usize, call: &Call) {
        let before = self.inode(self.path);
        let target = self.target(call).map(|inode| (inode, self.vfs.length(inode)));
        if self.vfs.apply(call).is_err() {
            return;
        }
        if let Some((inode, length)) = target {
            let writes = match call {
                // RWF_DSYNC, RWF_SYNC (pwritev2(2)); O_DSYNC, O_SYNC (open(2)).
                Call::Write { handle, flags, .. } => flags & 6 == 0 && !self.vfs.writes_sync(*handle),
                Call::CopyRange { .. } | Call::Store { .. } => true,
                // Without any mode but FALLOC_FL_KEEP_SIZE it only reserves, or extends.
                Call::Allocate { mode, .. } if mode & !1 != 0 => true,
                _ => self.vfs.length(inode) != length,
            };
            if writes {
                self.data.insert(inode, Data { written: Some(index), synced: None, range: None });
            }
        }
        if let Some(inode) = self.synced(call) {
            self.data.entry(inode).or_default().synced = Some(index);
        }
        match call {
            Call::SyncRange { handle, .. } => {
                if let Some(inode) = self.vfs.inode_of(&Target::Handle(*handle)) {
                    self.data.entry(inode).or_default().range = Some(index);
                }
            }
            Call::SyncFs { .. } | Call::SyncAll => {
                self.data.values_mut().for_each(|data| data.synced = Some(index));
            }
            _ => {}
        }
        if before != self.inode(self.path) {
            self.bound = Some(index);
        }
    }

    /// Takes an op that had not begun, and says whether it gives the file data.
    fn fills(&mut self, trace: &Trace, index: usize) -> bool {
        let op = &trace.ops[index];
        if op.result >= 0 {
            self.step(index, &op.call);
        }
        self.inode(self.path).and_then(|inode| self.vfs.length(inode)).is_some_and(|length| length > 0)
    }

    /// Whether this op made the data durable that the name stands for.
    fn synced_at(&self, index: usize) -> bool {
        let data = self.inode(self.path).and_then(|inode| self.data.get(&inode));
        data.is_some_and(|data| data.synced == Some(index))
    }
}

/// RENAME_EXCHANGE, from include/uapi/linux/fs.h.
const EXCHANGE: u32 = 2;

/// O_TRUNC, from include/uapi/asm-generic/fcntl.h.
const TRUNCATE: u32 = 0o1000;

/// `__O_TMPFILE`, from there too.
const TMPFILE: u32 = 0o20000000;

/// The name that what is at `path` after a rename had before it: of the file itself, or of a directory above it.
fn renamed_from(rename: &Call, path: &RelPath) -> Option<RelPath> {
    let Call::Rename { from, to, flags } = rename else { return None };
    let below = |top: &RelPath, other: &RelPath| {
        let rest = path.as_path().strip_prefix(top.as_path()).ok()?;
        RelPath::new(other.as_path().join(rest))
    };
    below(to, from).or_else(|| (flags & EXCHANGE != 0).then(|| below(from, to)).flatten())
}

/// The file that came from outside and is at `path` then, if `entries` get the name `to`.
fn arrived_at(entries: &[Arrival], to: &RelPath, path: &RelPath) -> Option<Target> {
    let below = RelPath::new(path.as_path().strip_prefix(to.as_path()).ok()?)?;
    let entry = entries.iter().find(|entry| entry.path == below)?;
    if let ArrivalKind::File(handle) = entry.kind { Some(Target::Handle(handle)) } else { None }
}

/// Looks for what lets a crash show something between the versions; the last such thing counts.
fn not_atomic(trace: &Trace, kind: Kind, path: &RelPath, begun: usize) -> Option<Hint> {
    let mut watch = Watch::new(trace, path);
    let mut reason: Option<Hint> = None;
    // The op since which the name is bound to a file that was made under it, not renamed to it.
    let mut made = None;
    for (index, op) in trace.ops.iter().enumerate().take(begun).filter(|(_, op)| op.result >= 0) {
        let before = watch.inode(path);
        // Lengths only: a content that is held would be copied by the next write.
        let length = before.and_then(|inode| watch.vfs.length(inode));
        let source = match &op.call {
            Call::Rename { .. } => renamed_from(&op.call, path)
                .and_then(|from| Some((watch.inode(&from)?, from)))
                .filter(|(inode, _)| Some(*inode) != before),
            Call::Arrive { entries, to, .. } => {
                arrived_at(entries, to, path).and_then(|file| Some((watch.vfs.inode_of(&file)?, path.clone())))
            }
            Call::Link { from, to } if to == path => watch.vfs.inode_of(from).map(|inode| (inode, to.clone())),
            _ => None,
        };
        let unchanged = unchanged_up_to(&op.call, &watch.vfs);
        watch.step(index, &op.call);
        // The last op may only have begun. A sync that is over leaves nothing to what was done in place before it.
        if watch.synced_at(index) && index + 1 < begun {
            reason = None;
        }
        if !watch.vfs.touched().any(|touched| touched == path) {
            continue;
        }
        let Some(after) = watch.inode(path) else {
            made = None;
            if kind == Kind::Missing {
                let change = NameChange::of(&op.call, path);
                reason = Some(Hint::RemovedBeforeReplaced { op: OpId(index), change, path: shown(path) });
            }
            continue;
        };
        if matches!(kind, Kind::Missing | Kind::NotAFile) {
            continue;
        }
        if let Some((inode, from)) = source {
            made = None;
            let data = watch.data.get(&inode).copied().unwrap_or_default();
            reason = match (data.written, data.synced) {
                (Some(written), None) => Some(Hint::DataNotSynced {
                    path: shown(&from),
                    written: OpId(written),
                    named: OpId(index),
                    change: NameChange::of(&op.call, path),
                    sync_range: data.range.map(OpId),
                }),
                // Done right: what went wrong before a proper rename is not what a later state shows.
                _ => None,
            };
            continue;
        }
        if before != Some(after) {
            made = before.is_none().then_some(index);
            continue;
        }
        let Some(length) = length else { continue };
        let emptied = length > 0 && watch.vfs.length(after) == Some(0);
        let appended = unchanged >= length;
        // Written over with what it held already.
        if appended && watch.vfs.length(after) == Some(length) {
            continue;
        }
        let in_place = |how| Hint::InPlace { op: OpId(index), path: shown(path), how };
        reason = Some(match made {
            _ if emptied => in_place(InPlace::Emptied),
            _ if watch.vfs.length(after) < Some(length) => in_place(InPlace::Shortened),
            // What fills a file that was made or emptied in place belongs to that.
            _ if appended && reason.is_some() => continue,
            Some(made) if appended => made_under_final_name(path, made, index, false),
            _ if appended => in_place(InPlace::Appended),
            _ => in_place(InPlace::Overwritten),
        });
    }
    let is_empty = watch.inode(path).and_then(|inode| watch.vfs.length(inode)) == Some(0);
    match made {
        // It has not been filled yet, but it is going to be.
        Some(made) if kind == Kind::Empty && is_empty && reason.is_none() => {
            let filled = (begun..trace.ops.len()).find(|op| watch.fills(trace, *op))?;
            Some(made_under_final_name(path, made, filled, true))
        }
        _ => reason,
    }
}

fn made_under_final_name(path: &RelPath, made: usize, filled: usize, still_empty: bool) -> Hint {
    Hint::MadeUnderFinalName { path: shown(path), made: OpId(made), filled: OpId(filled), still_empty }
}

#[cfg(test)]
mod tests;
