//! How large a workload may be.

use plan::data_of;
use program::{Trace, sparse};
use record::{DATA_LIMIT, FILLED_LIMIT};

use super::SubjectError;

/// What a workload may write and leave that is not zeros, bytes. The agent holds the trace's data, what they leave, and the contents that
/// it compares with, some 2 times this, and as much again while it unpacks the last of them. A guest has 1024 MiB, and
/// its kernel needs the rest for the files themselves.
pub(super) const LARGEST: u64 = FILLED_LIMIT;

/// What a workload may write, zeros too, bytes: the guest's kernel holds it until it is written back.
pub(super) const MOST_WRITTEN: u64 = DATA_LIMIT;

/// What a workload may leave, zeros too, bytes. The agent needs no memory for these, but User Mode Linux maps each page that is
/// looked at by itself, and the host allows a process 65,530 maps (`vm.max_map_count`): a file of 1 GiB kills the guest.
pub(super) const MOST_LEFT: u64 = 192 << 20;

/// What a workload may write, copy and allocate, bytes: its disk is some times as large, and mkfs writes to all parts of it.
pub(super) const MOST_ON_DISK: u64 = 2 << 30;

/// Whether a guest has memory, and this host a disk, for what this trace does.
pub(super) fn fits(name: &str, trace: &Trace) -> Result<(), SubjectError> {
    let on_disk = data_of(trace);
    let (to_write, to_leave) =
        (sum(written(trace), |data| data.len() as u64), sum(left(trace), |data| data.len() as u64));
    let held = sum(written(trace), sparse::filled) + sum(left(trace), sparse::filled);
    if held > LARGEST {
        Err(SubjectError::TooLarge { name: name.into(), bytes: held })
    } else if to_write > MOST_WRITTEN {
        Err(SubjectError::TooMuchWritten { name: name.into(), bytes: to_write })
    } else if to_leave > MOST_LEFT {
        Err(SubjectError::TooMuchLeft { name: name.into(), bytes: to_leave })
    } else if on_disk > MOST_ON_DISK {
        Err(SubjectError::NoDisk { name: name.into(), bytes: on_disk })
    } else {
        Ok(())
    }
}

/// What is written to files.
fn written(trace: &Trace) -> impl Iterator<Item = &[u8]> {
    trace.ops.iter().filter_map(|op| match &op.call {
        program::Call::Write { data, .. } | program::Call::Store { data, .. } => Some(data.as_slice()),
        _ => None,
    })
}

/// What files hold after the run.
fn left(trace: &Trace) -> impl Iterator<Item = &[u8]> {
    trace.after.0.values().filter_map(|node| match &node.kind {
        program::Kind::File(content) => Some(content.as_slice()),
        _ => None,
    })
}

fn sum<'a>(all: impl Iterator<Item = &'a [u8]>, size: impl Fn(&[u8]) -> u64) -> u64 {
    all.map(size).sum()
}
