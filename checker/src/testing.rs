//! Small makers for this crate's tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use program::{Call, Channel, Handle, Node, Op, RelPath, Trace, Tree};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CHUNK, Entry, EntryKind, Hint, Mount, Observation, Observed, ReadPlan, Reading, Seen};

/// A trace that starts from these files.
pub fn trace(files: &[(&str, &[u8])], calls: Vec<Call>) -> Trace {
    let node = |kind, mode, inode| Node { kind, mode, uid: 0, gid: 0, inode, xattrs: BTreeMap::new() };
    let mut before = Tree::default();
    before.0.insert(RelPath::root(), node(program::Kind::Directory, 0o755, 1));
    for (inode, (path, content)) in (2..).zip(files) {
        before.0.insert((*path).into(), node(program::Kind::File(Arc::new(content.to_vec())), 0o644, inode));
    }
    let op = |call| Op { call, syscall: "test".to_owned(), result: 0, thread: 0 };
    let ops = calls.into_iter().map(op).collect();
    Trace { before, ops, ..Trace::default() }
}

pub const CREATE: u32 = 0o101;
pub const TRUNCATE: u32 = 0o1101;

pub fn open(handle: u32, path: &str, flags: u32) -> Call {
    Call::Open { handle: Handle(handle), path: path.into(), flags, mode: 0o644 }
}

pub fn write(handle: u32, offset: u64, data: &[u8]) -> Call {
    Call::Write { handle: Handle(handle), offset, data: Arc::new(data.to_vec()), flags: 0 }
}

pub fn fsync(handle: u32) -> Call {
    Call::Fsync { handle: Handle(handle) }
}

pub fn rename(from: &str, to: &str) -> Call {
    Call::Rename { from: from.into(), to: to.into(), flags: 0 }
}

pub fn unlink(path: &str) -> Call {
    Call::Unlink { path: path.into() }
}

pub fn print(text: &str) -> Call {
    Call::Ack { channel: Channel::Stdout, data: text.into() }
}

pub fn exit() -> Call {
    Call::Exit { status: 0 }
}

/// What the agent reports of a file with this content: it follows the read plan.
pub fn see(read_plan: &ReadPlan, path: &RelPath, content: &[u8]) -> EntryKind {
    let size = content.len() as u64;
    if size <= read_plan.read_all_up_to {
        return EntryKind::File { size, seen: Seen::Bytes(Arc::new(content.to_vec())) };
    }
    let Some(mut reading) = Reading::begin(read_plan, path, size) else {
        return EntryKind::File { size, seen: Seen::NotRead };
    };
    while let Some(offset) = reading.next_offset() {
        let start = offset as usize;
        if let Some(seen) = reading.feed(&content[start..(start + CHUNK).min(content.len())]) {
            return EntryKind::File { size, seen };
        }
    }
    EntryKind::File { size, seen: reading.finish() }
}

pub fn entry(kind: EntryKind) -> Entry {
    Entry { kind, mode: 0o644, uid: 0, gid: 0, links: 1, same_as: None }
}

/// A mounted file system with these names.
pub fn observation(entries: Vec<(RelPath, EntryKind)>) -> Observation {
    let mut all: BTreeMap<RelPath, Entry> = entries.into_iter().map(|(path, kind)| (path, entry(kind))).collect();
    all.entry(RelPath::root()).or_insert_with(|| entry(EntryKind::Directory { error: None }));
    Observation { mount: Mount::Mounted, entries: all }
}

/// What reporters say of what was seen.
pub fn observed_text(observed: &Observed) -> String {
    reporters::sentences::observed(&copy(observed))
}

/// What reporters say of a hint, and that it names its ops in order.
pub fn hint_text(hint: &Hint, trace: &Trace) -> String {
    let ops = hint.ops();
    assert!(!ops.is_empty() && ops.is_sorted(), "{ops:?}");
    reporters::sentences::hint(&copy(hint), &report::Ops::all(trace))
}

/// Reporters depend on this crate, and know its types as others use them, not as its tests do: between the two goes what
/// stands in a report.
fn copy<T: DeserializeOwned>(value: &impl Serialize) -> T {
    serde_json::from_value(serde_json::to_value(value).unwrap()).unwrap()
}
