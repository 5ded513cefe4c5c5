//! Asynchronous I/O: `io_uring` and the older `aio`.

use std::io;

use super::AtEntry;
use crate::IoUring;
use crate::recorder::Recorder;
use crate::remote;
use crate::stop::Asked;

pub(super) fn io_uring_setup(recorder: &mut Recorder<'_>, _: &Asked) -> io::Result<AtEntry> {
    Ok(match recorder.scene.io_uring {
        IoUring::Refuse => AtEntry::Refuse,
        IoUring::Allow => AtEntry::unmodelled("its requests bypass system calls and are not followed"),
    })
}

/// What is submitted to it later is looked at then.
pub(super) fn io_setup(recorder: &mut Recorder<'_>, _: &Asked) -> io::Result<AtEntry> {
    Ok(match recorder.scene.io_uring {
        IoUring::Refuse => AtEntry::Refuse,
        IoUring::Allow => AtEntry::Pass,
    })
}

pub(super) fn io_submit(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    // `struct iocb` (`include/uapi/linux/aio_abi.h`): the operation at byte 16, the descriptor at byte 20.
    const WRITING: [u16; 4] = [1, 2, 3, 8];
    let [_, count, list, ..] = call.args;
    for index in 0..count.min(1024) {
        let [address] = remote::words(call.tid, list.wrapping_add(8 * index))?;
        let block: [u8; 24] = remote::array(call.tid, address)?;
        let operation = u16::from_ne_bytes([block[16], block[17]]);
        let fd = i32::from_ne_bytes([block[20], block[21], block[22], block[23]]);
        if WRITING.contains(&operation) && recorder.handle(call.tid, fd).is_some() {
            return Ok(AtEntry::unmodelled("asynchronous writes are not followed"));
        }
    }
    Ok(AtEntry::Pass)
}
