//! Opening files.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use libc::pid_t;

use super::arguments::PathArgument;
use super::{AtEntry, ExitAction, PERMISSIONS, TMPFILE};
use crate::files::Descriptor;
use crate::recorder::Recorder;
use crate::remote;
use crate::stop::Asked;

pub(super) fn open(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(opening(recorder, call.tid, call.path(0), call.u32(1), call.u32(2)))
}

pub(super) fn creat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    const FLAGS: u32 = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u32;
    Ok(opening(recorder, call.tid, call.path(0), FLAGS, call.u32(1)))
}

pub(super) fn openat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(opening(recorder, call.tid, call.path_at(0, 1), call.u32(2), call.u32(3)))
}

pub(super) fn openat2(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    // `struct open_how`.
    let [flags, mode] = remote::words(call.tid, call.args[2])?;
    Ok(opening(recorder, call.tid, call.path_at(0, 1), flags as u32, mode as u32))
}

pub(super) fn open_by_handle_at(_: &mut Recorder<'_>, _: &Asked) -> io::Result<AtEntry> {
    Ok(AtEntry::free(ExitAction::Look))
}

fn opening(recorder: &mut Recorder<'_>, tid: pid_t, path: PathArgument, flags: u32, mode: u32) -> AtEntry {
    let writes = flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u32 != 0 || flags & TMPFILE != 0;
    if !writes || flags & libc::O_PATH as u32 != 0 {
        return AtEntry::Pass;
    }
    // Opening a FIFO waits for its other end, which may be a thread that would wait for this one's turn.
    let alone = recorder.threads.len() == 1;
    let exclusive = alone || !may_block(recorder, tid, path);
    AtEntry::Await { action: ExitAction::Open { flags, mode }, exclusive }
}

fn may_block(recorder: &Recorder<'_>, tid: pid_t, path: PathArgument) -> bool {
    let Ok(text) = remote::string(tid, path.address) else { return false };
    let path = recorder.spell(tid, path.dirfd, &text);
    let Ok(metadata) = fs::metadata(path) else { return false };
    let kind = metadata.file_type();
    kind.is_fifo() || kind.is_char_device() || kind.is_block_device()
}

impl Recorder<'_> {
    /// A call gave descriptor `fd` for a file that may be written.
    pub(super) fn opened(&mut self, tid: pid_t, name: &str, fd: i32, flags: u32, mode: u32) -> io::Result<()> {
        let path = remote::fd_name(tid, fd)?;
        if self.inside(&path).is_none() {
            return self.opened_elsewhere(tid, name, fd, flags, &path);
        }
        let metadata = fs::metadata(remote::fd_link(tid, fd))?;
        if !metadata.is_file() && !metadata.is_dir() {
            // Bytes written to a FIFO or a device are no file's.
            self.set_descriptor(tid, name, fd, Descriptor::Other);
            return Ok(());
        }
        // A file without a name shows up as one that was deleted from its directory.
        let nameless = flags & TMPFILE != 0;
        let path = if nameless { path.parent().map(Path::to_path_buf).unwrap_or_default() } else { path };
        if metadata.nlink() == 0 && !nameless {
            self.unmodelled(name, "opened a file that has no name any more");
            self.set_descriptor(tid, name, fd, Descriptor::Other);
            return Ok(());
        }
        let Some(path) = self.inside(&path) else { return Ok(()) };
        let creates = flags & libc::O_CREAT as u32 != 0 || nameless;
        let mode = if creates { mode & PERMISSIONS & !remote::umask(tid)? } else { 0 };
        self.open_file(tid, name, fd, path, flags, mode);
        Ok(())
    }

    fn opened_elsewhere(&mut self, tid: pid_t, name: &str, fd: i32, flags: u32, path: &Path) -> io::Result<()> {
        let metadata = fs::metadata(remote::fd_link(tid, fd))?;
        if metadata.is_file() {
            self.name_outside(path);
            self.outside.opened(&metadata, flags);
            if self.open_inside(tid, name, fd, Some(flags), (path, &metadata)).is_some() {
                return Ok(());
            }
        }
        // Saves a look at each write to it; `/dev/stdout` and the like lead to a channel.
        self.descriptor(tid, fd);
        Ok(())
    }
}
