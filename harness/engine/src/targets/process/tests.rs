use std::collections::BTreeMap;

use program::{Call, Channel, Handle, Op};

use super::*;

pub(crate) const CREATE: u32 = 0o101;
pub(crate) const TRUNCATE: u32 = 0o1101;

pub(crate) fn open(handle: u32, path: &str, flags: u32) -> Call {
    Call::Open { handle: Handle(handle), path: path.into(), flags, mode: 0o644 }
}

pub(crate) fn write(handle: u32, offset: u64, data: &[u8]) -> Call {
    Call::Write { handle: Handle(handle), offset, data: Arc::new(data.to_vec()), flags: 0 }
}

pub(crate) fn rename(from: &str, to: &str) -> Call {
    Call::Rename { from: from.into(), to: to.into(), flags: 0 }
}

pub(crate) fn saved() -> Call {
    Call::Ack { channel: Channel::Stdout, data: b"saved".to_vec() }
}

/// A trace that starts with `config`, which holds "old".
pub(crate) fn trace_of(calls: Vec<Call>) -> Trace {
    let node = |kind, inode| Node { kind, mode: 0o644, uid: 0, gid: 0, inode, xattrs: BTreeMap::new() };
    let mut before = Tree::default();
    before.0.insert(RelPath::root(), node(program::Kind::Directory, 1));
    before.0.insert("config".into(), node(program::Kind::File(Arc::new(b"old".to_vec())), 2));
    let op = |call| Op { call, syscall: "test".into(), result: 0, thread: 0 };
    let ops = calls.into_iter().map(op).collect();
    Trace { before, ops, ..Trace::default() }
}
