//! The room that a trace needs on the disk.

use program::{Call, Trace};

/// Bytes that a trace writes, start state included: what the disk must have room for. `u64::MAX` if more than that.
pub fn data_of(trace: &Trace) -> u64 {
    let written = trace.ops.iter().map(|op| match &op.call {
        Call::Write { data, .. } | Call::Store { data, .. } => data.len() as u64,
        Call::Allocate { length, .. } | Call::CopyRange { length, .. } => *length,
        _ => 0,
    });
    let before = trace.before.0.values().map(|node| match &node.kind {
        program::Kind::File(content) => content.len() as u64,
        _ => 0,
    });
    written.chain(before).fold(0, u64::saturating_add)
}
