//! Closing, copying and changing descriptors.

use std::io;

use libc::pid_t;
use program::Handle;

use super::data::{self, Source};
use super::{AtEntry, ExitAction};
use crate::files::Descriptor;
use crate::recorder::Recorder;
use crate::remote;
use crate::stop::Asked;

/// Requests on files that only ask (`include/uapi/linux/fs.h`, `fiemap.h`): `FIBMAP`, `FIGETBSZ`, `FS_IOC_GETFLAGS`, `FS_IOC_GETVERSION`,
/// `FS_IOC_FIEMAP`, `FS_IOC_FSGETXATTR`, `FS_IOC_GETFSLABEL`, `FS_IOC_GETFSUUID`. And `FIDEDUPERANGE`, which has two files share what is
/// the same in both (ioctl_fideduperange(2)).
const HARMLESS_IOCTLS: [u32; 9] =
    [1, 2, 0x8008_6601, 0x8008_7601, 0xc020_660b, 0x801c_581f, 0x8100_9431, 0x8011_1500, 0xc018_9436];
/// ioctl_ficlone(2).
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;

pub(super) fn close(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let (table, fd) = (recorder.table(call.tid), call.fd(0));
    Ok(match recorder.files.get(table, fd) {
        Some(Descriptor::File(_)) => AtEntry::exclusive(ExitAction::Close { fd }),
        _ => {
            recorder.files.remove(table, fd);
            AtEntry::Pass
        }
    })
}

pub(super) fn close_range(_: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let (first, last, flags) = (call.u32(0), call.u32(1), call.u32(2));
    if flags & libc::CLOSE_RANGE_CLOEXEC != 0 {
        // What an exec leaves open is looked up when it happens.
        return Ok(AtEntry::Pass);
    }
    let unshare = flags & libc::CLOSE_RANGE_UNSHARE != 0;
    Ok(AtEntry::exclusive(ExitAction::CloseRange { first, last, unshare }))
}

pub(super) fn dup(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(match recorder.files.get(recorder.table(call.tid), call.fd(0)) {
        Some(Descriptor::File(handle)) => AtEntry::exclusive(ExitAction::Dup { handle }),
        // The new descriptor is looked up when it is used.
        _ => AtEntry::Pass,
    })
}

/// `dup2` and `dup3`.
pub(super) fn dup2(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let (table, from, to) = (recorder.table(call.tid), call.fd(0), call.fd(1));
    if from == to {
        return Ok(AtEntry::Pass);
    }
    Ok(match (recorder.files.get(table, from), recorder.files.get(table, to)) {
        (Some(Descriptor::File(_)), _) | (_, Some(Descriptor::File(_))) => {
            AtEntry::exclusive(ExitAction::Replace { fd: from })
        }
        _ => {
            recorder.files.remove(table, to);
            AtEntry::Pass
        }
    })
}

pub(super) fn fcntl(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    if call.flags(1) == libc::F_SETLEASE {
        recorder.files.close_contents();
        return Ok(AtEntry::Pass);
    }
    match (call.flags(1), recorder.descriptor(call.tid, call.fd(0))) {
        (libc::F_SETFL, Some(Descriptor::File(handle))) => {
            Ok(AtEntry::free(ExitAction::SetFlags { handle, flags: call.u32(2) }))
        }
        (libc::F_SETFL, _) => Ok(AtEntry::Pass),
        _ => dup(recorder, call),
    }
}

pub(super) fn ioctl(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let (fd, request) = (call.fd(0), call.u32(1));
    Ok(match recorder.descriptor(call.tid, fd) {
        Some(Descriptor::File(handle)) if request == FICLONE => {
            let source = Source { fd: call.args[2] as i32, offset: 0, length: 0 };
            data::cloning(recorder, call.tid, source, (handle, fd), 0)
        }
        Some(Descriptor::File(handle)) if request == FICLONERANGE => {
            // `struct file_clone_range`.
            let [source, offset, length, to_offset] = remote::words(call.tid, call.args[2])?;
            data::cloning(recorder, call.tid, Source { fd: source as i32, offset, length }, (handle, fd), to_offset)
        }
        Some(Descriptor::Outside(id)) if [FICLONE, FICLONERANGE].contains(&request) => {
            recorder.outside.change(id);
            AtEntry::Pass
        }
        Some(Descriptor::File(_) | Descriptor::Reader) if !HARMLESS_IOCTLS.contains(&request) => {
            let name = remote::fd_name(call.tid, fd).ok().and_then(|path| recorder.inside(&path));
            let name = name.map(|path| path.to_string()).unwrap_or_default();
            AtEntry::unmodelled(format!("request {request:#x} on {name}: what it does is not in the trace"))
        }
        _ => AtEntry::Pass,
    })
}

impl Recorder<'_> {
    pub(super) fn closed(&mut self, tid: pid_t, name: &str, fd: i32) {
        if let Some(handle) = self.files.remove(self.table(tid), fd) {
            self.push_closed(tid, name, handle);
        }
    }

    pub(super) fn closed_range(&mut self, tid: pid_t, name: &str, (first, last): (u32, u32), unshare: bool) {
        if unshare {
            self.unshare_table(tid);
        }
        let table = self.table(tid);
        let range = i64::from(first)..=i64::from(last);
        for closed in self.files.retain_only(table, |fd| !range.contains(&i64::from(fd))) {
            self.push_closed(tid, name, closed);
        }
    }

    /// Descriptor `to` now stands for the same as descriptor `from`.
    pub(super) fn replaced(&mut self, tid: pid_t, name: &str, from: i32, to: i32) {
        let table = self.table(tid);
        let closed = match self.files.get(table, from) {
            Some(descriptor) => self.files.set(table, to, descriptor),
            None => self.files.remove(table, to),
        };
        if let Some(closed) = closed {
            self.push_closed(tid, name, closed);
        }
    }

    pub(super) fn flags_set(&mut self, name: &str, handle: Handle, flags: u32) {
        let former = self.files.file(handle).map_or(0, |file| file.flags);
        if (former ^ flags) & libc::O_DIRECT as u32 != 0 {
            self.unmodelled(name, "switched direct I/O on or off for an open file");
        }
        let append = libc::O_APPEND as u32;
        self.files.set_flags(handle, |former| former & !append | flags & append);
    }

    pub(super) fn unshare_table(&mut self, tid: pid_t) {
        let table = self.files.unshare(self.table(tid));
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.table = table;
        }
    }
}
