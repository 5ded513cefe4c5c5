//! Syncs, and what starts or ends writeback.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use program::{Call, Handle};

use super::{AtEntry, ExitAction};
use crate::files::Descriptor;
use crate::recorder::Recorder;
use crate::remote;
use crate::stop::Asked;

pub(super) fn fsync(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(syncing(recorder, call, |handle| Call::Fsync { handle }))
}

pub(super) fn fdatasync(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(syncing(recorder, call, |handle| Call::Fdatasync { handle }))
}

fn syncing(recorder: &mut Recorder<'_>, call: &Asked, make: impl FnOnce(Handle) -> Call) -> AtEntry {
    match recorder.descriptor(call.tid, call.fd(0)) {
        Some(Descriptor::Outside(_)) => AtEntry::exclusive(ExitAction::SyncOutside { fd: call.fd(0) }),
        None => AtEntry::Pass,
        Some(_) => recorder.on_handle(call, |handle| AtEntry::record_even_if_failed(make(handle))),
    }
}

pub(super) fn sync(_: &mut Recorder<'_>, _: &Asked) -> io::Result<AtEntry> {
    Ok(AtEntry::record_even_if_failed(Call::SyncAll))
}

pub(super) fn syncfs(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(match recorder.handle(call.tid, call.fd(0)) {
        Some(handle) => AtEntry::record_even_if_failed(Call::SyncFs { handle }),
        // Any file of the same file system will do; the guest's holds the directory alone.
        None if fs::metadata(remote::fd_link(call.tid, call.fd(0)))?.dev() == recorder.scene.device => {
            AtEntry::record_even_if_failed(Call::SyncAll)
        }
        None => AtEntry::Pass,
    })
}

pub(super) fn sync_file_range(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let [_, offset, length, ..] = call.args;
    Ok(recorder.on_handle(call, |handle| {
        AtEntry::record_even_if_failed(Call::SyncRange { handle, offset, length, flags: call.u32(3) })
    }))
}

pub(super) fn fadvise64(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    if call.flags(3) != libc::POSIX_FADV_DONTNEED {
        return Ok(AtEntry::Pass);
    }
    let [_, offset, length, ..] = call.args;
    Ok(recorder.on_handle(call, |handle| AtEntry::record(Call::DontNeed { handle, offset, length })))
}
