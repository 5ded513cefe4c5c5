//! How large a workload may be.

use plan::data_of;
use program::Trace;

use super::SubjectError;

/// What a workload may write and leave, bytes. The agent holds the trace's data, what they leave, and the contents that
/// it compares with, some 2 times this, and as much again while it unpacks the last of them. A guest has 1024 MiB, and
/// its kernel needs the rest for the files themselves.
pub(super) const LARGEST: u64 = 160 << 20;

/// What a workload may write, copy and allocate, bytes: its disk is some times as large, and mkfs writes to all parts of it.
pub(super) const MOST_ON_DISK: u64 = 2 << 30;

/// Whether a guest has memory, and this host a disk, for what this trace does.
pub(super) fn fits(name: &str, trace: &Trace) -> Result<(), SubjectError> {
    let (held, on_disk) = (size(trace), data_of(trace));
    if held > LARGEST {
        Err(SubjectError::TooLarge { name: name.into(), bytes: held })
    } else if on_disk > MOST_ON_DISK {
        Err(SubjectError::NoDisk { name: name.into(), bytes: on_disk })
    } else {
        Ok(())
    }
}

/// What a guest has to be given of a trace, bytes.
fn size(trace: &Trace) -> u64 {
    let written = trace.ops.iter().map(|op| match &op.call {
        program::Call::Write { data, .. } | program::Call::Store { data, .. } => data.len(),
        _ => 0,
    });
    let left = trace.after.0.values().map(|node| match &node.kind {
        program::Kind::File(content) => content.len(),
        _ => 0,
    });
    written.chain(left).sum::<usize>() as u64
}
