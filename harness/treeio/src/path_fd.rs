//! One inode, pinned by a descriptor.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, readlinkat};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};

/// An inode of any kind by a descriptor that was opened with `O_PATH` (open(2)), which neither reads nor waits; or by one
/// of a file that was just made. What is asked of it or done to it is of that inode, whatever becomes of its name.
#[derive(Debug)]
pub(crate) struct PathFd(File);

impl From<File> for PathFd {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl From<OwnedFd> for PathFd {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }
}

impl AsFd for PathFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl PathFd {
    /// A path that leads to this very inode, a symbolic link to the link itself (proc(5), `/proc/pid/fd`). It is for calls
    /// that take no descriptor of `O_PATH`.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// Opens a regular file for reading.
    pub(crate) fn open_file(&self) -> io::Result<File> {
        OpenOptions::new().read(true).open(self.path())
    }

    /// The names in a directory, sorted.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        // By that path and not by `.`, which takes a directory that may be searched.
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(self.path())?;
        let mut directory = Dir::from_fd(file.into())?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The target of a symbolic link.
    pub(crate) fn target(&self) -> io::Result<Vec<u8>> {
        Ok(readlinkat(self, "")?.into_vec())
    }

    /// Extended attributes of the namespaces `user` and (for the privileged) `trusted`; none where the file system has none.
    pub(crate) fn xattrs(&self) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let path = self.path();
        let mut found = BTreeMap::new();
        let names = match xattr::list_deref(&path) {
            Ok(names) => names,
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EOPNOTSUPP as i32) => return Ok(found),
            Err(error) => return Err(error),
        };
        for name in names {
            let bytes = name.as_bytes();
            if !bytes.starts_with(b"user.") && !bytes.starts_with(b"trusted.") {
                continue;
            }
            if let Some(value) = xattr::get_deref(&path, &name)? {
                found.insert(bytes.to_vec(), value);
            }
        }
        Ok(found)
    }

    pub(crate) fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        xattr::set_deref(self.path(), OsStr::from_bytes(name), value)
    }

    pub(crate) fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        Ok(fchownat(self, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_EMPTY_PATH)?)
    }

    /// Sets the permissions of anything but a symbolic link, also where they keep this user out.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(self.path(), Permissions::from_mode(mode))
    }

    /// Sets the times of last access and modification.
    pub(crate) fn set_times(&self, access: &TimeSpec, modification: &TimeSpec) -> io::Result<()> {
        Ok(utimensat(AT_FDCWD, &self.path(), access, modification, UtimensatFlags::FollowSymlink)?)
    }
}
