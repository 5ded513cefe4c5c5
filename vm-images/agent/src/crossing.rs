//! What comes into the workload's directory from outside of it, and what leaves it. Outside is the directory above, on the same
//! file system, as it was for the program: rename(2) and link(2) do not reach further. Nobody looks there.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::RenameFlags;
use nix::sys::stat::Mode;
use nix::unistd::LinkatFlags;
use program::{Arrival, ArrivalKind, RelPath};

use crate::calls::{self, HERE, Handles, name};

/// Builds `entries` outside, and gives them the name `to`. Only the last call changes anything in the workload's directory.
pub fn arrive(entries: &[Arrival], to: &RelPath, flags: u32, handles: &Handles) -> Result<i64, Errno> {
    let first = entries.first().ok_or(Errno::EINVAL)?;
    let top = free_name(|outside| make(first, outside, handles))?;
    for entry in entries {
        let place = entry.path.under(&top);
        if !entry.path.is_root() {
            make(entry, &place, handles)?;
        }
        dress(entry, &place)?;
    }
    let flags = RenameFlags::from_bits_retain(flags);
    nix::fcntl::renameat2(HERE, &top, HERE, name(to), flags).map(|()| 0)
}

/// Renames `path` to a name outside.
pub fn leave(path: &RelPath) -> Result<i64, Errno> {
    free_name(|outside| nix::fcntl::renameat2(HERE, name(path), HERE, outside, RenameFlags::RENAME_NOREPLACE))?;
    Ok(0)
}

/// The first name outside that `take`, which makes it, finds free: the same in each execution.
fn free_name(mut take: impl FnMut(&Path) -> nix::Result<()>) -> Result<PathBuf, Errno> {
    let mut number = 0_u32;
    loop {
        let outside = PathBuf::from(format!("../outside-{number}"));
        match take(&outside) {
            Ok(()) => return Ok(outside),
            Err(Errno::EEXIST) => number += 1,
            Err(errno) => return Err(errno),
        }
    }
}

fn make(entry: &Arrival, place: &Path, handles: &Handles) -> nix::Result<()> {
    match &entry.kind {
        ArrivalKind::File(handle) => {
            let file = calls::get(handles, *handle)?;
            nix::unistd::linkat(file, "", HERE, place, LinkatFlags::AT_EMPTY_PATH)
        }
        ArrivalKind::Directory => nix::unistd::mkdir(place, Mode::S_IRWXU),
        ArrivalKind::Symlink(target) => symlink(std::ffi::OsStr::from_bytes(target), place).map_err(errno),
        ArrivalKind::Special { mode, device } => calls::mknod(place, *mode, *device),
    }
}

/// Owner before mode: chown(2) clears the set-user-ID bits.
fn dress(entry: &Arrival, place: &Path) -> Result<(), Errno> {
    if let Some((user, group)) = entry.owner {
        lchown(place, Some(user), Some(group)).map_err(errno)?;
    }
    for (attribute, value) in &entry.xattrs {
        calls::set_xattr(place, attribute, value).map_err(errno)?;
    }
    if matches!(entry.kind, ArrivalKind::Symlink(_)) {
        return Ok(());
    }
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(entry.mode)).map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
