//! Files in memory: shared mappings, and what is done through them by calls. What is stored through them by no call, see
//! `stores.rs`.

use std::io;

use program::Call;

use super::{AtEntry, ExitAction};
use crate::files::Descriptor;
use crate::mappings::pages;
use crate::recorder::Recorder;
use crate::stop::Asked;

/// A mapping that may be stored to.
const WRITABLE: u32 = libc::PROT_WRITE as u32;

/// A new shared mapping, or one at a fixed place, where another may have been.
pub(super) fn mmap(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let [address, length, ..] = call.args;
    let (flags, fd) = (call.u32(3), call.fd(4));
    let shared = flags & libc::MAP_SHARED as u32 != 0 && flags & libc::MAP_ANONYMOUS as u32 == 0;
    let handle = match recorder.descriptor(call.tid, fd).filter(|_| shared) {
        // One that only reads can be synced all the same.
        Some(Descriptor::File(_) | Descriptor::Reader) => recorder.handle(call.tid, fd),
        _ => None,
    };
    let Some(handle) = handle else {
        let replaces = flags & libc::MAP_FIXED as u32 != 0 && recorder.is_mapped(call.tid, &pages(address, length));
        return Ok(match replaces {
            true => AtEntry::exclusive(ExitAction::Unmap { addresses: pages(address, length) }),
            false => AtEntry::Pass,
        });
    };
    let writable = call.u32(2) & WRITABLE != 0;
    let Some(file) = recorder.map_soon(call.tid, "mmap", fd, handle, writable)? else { return Ok(AtEntry::Pass) };
    Ok(AtEntry::exclusive(ExitAction::Map { handle, file, length, offset: call.args[5], writable }))
}

pub(super) fn munmap(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let addresses = pages(call.args[0], call.args[1]);
    Ok(match recorder.is_mapped(call.tid, &addresses) {
        true => AtEntry::exclusive(ExitAction::Unmap { addresses }),
        false => AtEntry::Pass,
    })
}

pub(super) fn mremap(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let [address, old, new, _, to, _] = call.args;
    let (from, fixed) = (pages(address, old), call.flags(3) & libc::MREMAP_FIXED != 0);
    let moves = recorder.is_mapped(call.tid, &from);
    let replaces = fixed && recorder.is_mapped(call.tid, &pages(to, new));
    if !moves && !replaces {
        return Ok(AtEntry::Pass);
    }
    // "If the value of old_size is zero, and old_address refers to a shareable mapping, then mremap() will create a new
    // mapping of the same pages" (mremap(2)).
    if old == 0 || call.flags(3) & libc::MREMAP_DONTUNMAP != 0 {
        return Ok(AtEntry::unmodelled(
            "a second mapping of the same pages: what is written through it is not followed",
        ));
    }
    Ok(AtEntry::exclusive(ExitAction::Remap { from, length: new }))
}

/// `mprotect` and `pkey_mprotect`. Stops only where something becomes writable.
pub(super) fn mprotect(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let addresses = pages(call.args[0], call.args[1]);
    if !recorder.is_mapped(call.tid, &addresses) {
        return Ok(AtEntry::Pass);
    }
    recorder.protect_soon(call.tid, "mprotect", &addresses)?;
    Ok(AtEntry::exclusive(ExitAction::MakeWritable { addresses }))
}

/// Stops for `MS_SYNC` only: `MS_ASYNC` has been doing nothing since Linux 2.6.19 (msync(2)).
pub(super) fn msync(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let areas = recorder.mapped(call.tid, &pages(call.args[0], call.args[1]));
    let sync = |area: &crate::mappings::Area| {
        let bytes = area.bytes();
        Call::Msync { handle: area.handle, offset: bytes.start, length: bytes.end - bytes.start }
    };
    let calls: Vec<Call> = areas.iter().map(sync).collect();
    Ok(if calls.is_empty() { AtEntry::Pass } else { AtEntry::exclusive(ExitAction::SyncMapped { calls }) })
}

/// Stops for `MADV_REMOVE` only, which frees "a given range of pages and its associated backing store" (madvise(2)).
pub(super) fn madvise(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    const PUNCH_HOLE_KEEP_SIZE: u32 = 3;
    let areas = recorder.mapped(call.tid, &pages(call.args[0], call.args[1]));
    Ok(match areas.as_slice() {
        [] => AtEntry::Pass,
        [area] => {
            let (handle, bytes) = (area.handle, area.bytes());
            let (offset, length) = (bytes.start, bytes.end - bytes.start);
            AtEntry::record(Call::Allocate { handle, mode: PUNCH_HOLE_KEEP_SIZE, offset, length })
        }
        _ => AtEntry::unmodelled("MADV_REMOVE of several mappings at once is not followed"),
    })
}

pub(super) fn remap_file_pages(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(match recorder.is_mapped(call.tid, &pages(call.args[0], call.args[1])) {
        true => AtEntry::unmodelled("a mapping whose pages are in another order is not followed"),
        false => AtEntry::Pass,
    })
}
