//! The virtio-blk request and configuration formats (virtio 1.2, section 5.2).

use std::io::{Read, Write};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
    VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::DescriptorChain;
use vm_memory::{GuestMemoryLoadGuard, GuestMemoryMmap};

use storage::SECTOR;

pub(crate) type Chain = DescriptorChain<GuestMemoryLoadGuard<GuestMemoryMmap>>;

/// What a guest may do with this disk. A volatile cache must be announced twice, by `FLUSH` and by `CONFIG_WCE` with
/// `wce = 1`, or Linux takes the disk for write-through and never flushes. No discard, no write-zeroes: the guest
/// then writes zeros, which the log shows. No FUA exists in virtio-blk: the kernel writes and flushes instead.
///
/// `EVENT_IDX` spares both sides most bells: a burst of requests needs one bell and one interrupt. `INDIRECT_DESC` lets a
/// request take one place in the queue, however many pieces of memory it has: where the queue is full, the kernel sends
/// requests in another order than it made them in, and in which one would be chance.
pub(crate) const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1
    | 1 << VIRTIO_BLK_F_FLUSH
    | 1 << VIRTIO_BLK_F_CONFIG_WCE
    | 1 << VIRTIO_BLK_F_SEG_MAX
    | 1 << VIRTIO_RING_F_EVENT_IDX
    | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// Descriptors of one request beside header and status.
pub(crate) const SEGMENTS: u32 = 254;

/// `struct virtio_blk_config` up to and including the fields that the features above make valid, and zeros beyond.
pub(crate) fn config(sectors: u64) -> [u8; 96] {
    let mut config = [0; 96];
    config[0..8].copy_from_slice(&sectors.to_le_bytes());
    config[12..16].copy_from_slice(&SEGMENTS.to_le_bytes());
    config[20..24].copy_from_slice(&(SECTOR as u32).to_le_bytes());
    // wce, at offset 32: the cache is write-back.
    config[32] = 1;
    // num_queues, at offset 34.
    config[34] = 1;
    config
}

/// What a request asks.
pub(crate) enum Operation {
    Read {
        sector: u64,
        length: usize,
    },
    Write {
        sector: u64,
        data: Vec<u8>,
    },
    Flush,
    Identify,
    /// Nothing that this device understands.
    Unsupported,
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    IoError,
    Unsupported,
}

/// The most data of a request, bytes. Linux asks for no more than `max_sectors_kb` at once (1,280 or 4,096 KiB by default); a
/// chain of descriptors could name all of the guest's memory many times over.
const MOST: usize = 64 << 20;

/// Reads the guest's side of a request. `None` if the chain is not a request at all.
pub(crate) fn parse(chain: &Chain) -> Option<Operation> {
    let memory = chain.memory();
    let mut reader = chain.clone().reader(memory).ok()?;
    let mut header = [0; 16];
    reader.read_exact(&mut header).ok()?;
    let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let sector = u64::from_le_bytes(header[8..16].try_into().ok()?);
    let writable = chain.clone().writer(memory).ok()?.available_bytes();
    if writable.max(reader.available_bytes()) > MOST {
        return Some(Operation::Unsupported);
    }
    Some(match kind {
        VIRTIO_BLK_T_IN => Operation::Read { sector, length: writable.checked_sub(1)? },
        VIRTIO_BLK_T_OUT => {
            let mut data = vec![0; reader.available_bytes()];
            reader.read_exact(&mut data).ok()?;
            Operation::Write { sector, data }
        }
        VIRTIO_BLK_T_FLUSH => Operation::Flush,
        VIRTIO_BLK_T_GET_ID => Operation::Identify,
        _ => Operation::Unsupported,
    })
}

/// Writes the device's side of a request: data, padding if there is less than the guest made room for, status.
/// Returns the number of bytes written, which the used ring wants to know.
pub(crate) fn answer(chain: &Chain, data: &[u8], status: Status) -> u32 {
    let code = match status {
        Status::Ok => VIRTIO_BLK_S_OK,
        Status::IoError => VIRTIO_BLK_S_IOERR,
        Status::Unsupported => VIRTIO_BLK_S_UNSUPP,
    } as u8;
    let memory = chain.memory();
    let Ok(mut writer) = chain.clone().writer(memory) else { return 0 };
    let room = writer.available_bytes().min(MOST).saturating_sub(1);
    let data = &data[..data.len().min(room)];
    let padding = vec![0; room - data.len()];
    // A guest that hands over memory which cannot be written gets no answer; it can only harm itself.
    if [data, &padding, &[code]].iter().any(|part| writer.write_all(part).is_err()) {
        return 0;
    }
    room as u32 + 1
}
