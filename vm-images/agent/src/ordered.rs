//! Calls of a replay that wait for data, on a file system whose data are written out before
//! ([`WriteDataOut`](protocol::BeforeSync::WriteDataOut), as on btrfs): in one order out of two that chance would choose from.
//!
//! When data has reached the disk, a thread of btrfs (fs/btrfs/inode.c, `btrfs_finish_ordered_io`) tells the trees of
//! it. fsync waits for the pages only (fs/btrfs/file.c, `btrfs_sync_file`) and goes on to its log tree, sync(2) starts
//! writing tree blocks out, and whoever is first gets the lower blocks of the disk. So the data is written out before,
//! and that thread has ended when the call is made: what a kernel does whose writeback came a moment earlier.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use program::{Call, Handle};

use crate::calls;
use crate::execute::Stage;

/// Makes one call. The outer error says that the execution cannot go on.
pub fn perform(stage: &mut Stage<'_>, call: &Call) -> Result<Result<i64, Errno>, String> {
    match call {
        Call::Fsync { handle } | Call::Fdatasync { handle } => {
            if let Some(file) = again(stage, handle) {
                write_out(stage, file.as_fd())?;
            }
        }
        Call::Msync { handle, offset, length } => {
            if let Some(file) = again(stage, handle) {
                let _ = stage.wait(|| calls::write_back(file.as_fd(), *offset, *length));
                stage.settle()?;
            }
        }
        Call::SyncFs { .. } | Call::SyncAll => {
            let mut open: Vec<Handle> = stage.handles.keys().copied().collect();
            open.sort();
            for file in open {
                if let Some(file) = again(stage, &file) {
                    write_out(stage, file.as_fd())?;
                }
            }
            write_out_below(stage, Path::new("."))?;
        }
        Call::Write { handle, offset, data, flags } => {
            if let Some(file) = again(stage, handle) {
                match implied_sync(file.as_fd(), *flags) {
                    Ok(Some(sync)) => return write_then_sync(stage, file.as_fd(), (*offset, data, *flags), sync),
                    Ok(None) => {}
                    Err(errno) => return Ok(Err(errno)),
                }
            }
        }
        _ => {}
    }
    Ok(stage.call(call))
}

/// Another descriptor of what the program has open, of which the last to be closed is the program's own.
fn again(stage: &Stage<'_>, handle: &Handle) -> Option<OwnedFd> {
    stage.handles.get(handle)?.try_clone().ok()
}

/// Writes one file out. What fails here, the call that follows will tell.
fn write_out(stage: &mut Stage<'_>, file: BorrowedFd<'_>) -> Result<(), String> {
    let _ = stage.wait(|| calls::write_back(file, 0, 0));
    stage.settle()
}

/// The same for all files below a directory, in the order of their names.
fn write_out_below(stage: &mut Stage<'_>, directory: &Path) -> Result<(), String> {
    let mut entries: Vec<_> = fs::read_dir(directory).map(|entries| entries.flatten().collect()).unwrap_or_default();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => write_out_below(stage, &path)?,
            Ok(kind) if kind.is_file() => {
                let handles = &stage.handles;
                let _ = stage.wait(|| calls::with_file(&path, handles, |file| calls::write_back(file, 0, 0)));
                stage.settle()?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The call that the kernel makes at the end of a synchronous write (include/linux/fs.h, `generic_write_sync`).
type Sync = fn(BorrowedFd<'_>) -> nix::Result<()>;

/// What a write through `file` with these flags of pwritev2(2) implies; `None` if it is not synchronous.
fn implied_sync(file: BorrowedFd<'_>, flags: u32) -> Result<Option<Sync>, Errno> {
    let how = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    Ok(if how.contains(OFlag::O_SYNC) || flags & libc::RWF_SYNC as u32 != 0 {
        Some(|file| nix::unistd::fsync(file))
    } else if how.contains(OFlag::O_DSYNC) || flags & libc::RWF_DSYNC as u32 != 0 {
        Some(|file| nix::unistd::fdatasync(file))
    } else {
        None
    })
}

/// A synchronous write in its two steps, so that there is a moment between them.
fn write_then_sync(
    stage: &mut Stage<'_>,
    file: BorrowedFd<'_>,
    (offset, data, flags): (u64, &[u8], u32),
    sync: Sync,
) -> Result<Result<i64, Errno>, String> {
    let write = || {
        // Neither what makes it synchronous, nor what says how it was looked up: the kernel keeps O_NOFOLLOW and
        // O_TMPFILE.
        let kept = OFlag::O_ACCMODE | OFlag::O_APPEND | OFlag::O_DIRECT | OFlag::O_NOATIME;
        let how = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?) & kept;
        // A file that has no name any more is found in this way too (proc(5)).
        let same_file = format!("/proc/self/fd/{}", file.as_raw_fd());
        let plain = nix::fcntl::open(same_file.as_str(), how | OFlag::O_CLOEXEC, Mode::empty())?;
        calls::write(plain.as_fd(), offset, data, flags & !(libc::RWF_SYNC | libc::RWF_DSYNC) as u32)
    };
    let written = match stage.wait(write) {
        Ok(written) => written,
        failed => return Ok(failed),
    };
    write_out(stage, file)?;
    Ok(stage.wait(|| sync(file)).map(|()| written))
}
