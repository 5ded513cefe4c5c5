//! The directory beneath which everything stays.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::path_fd::PathFd;

/// A directory, held by a descriptor, beneath which trees are read and written.
///
/// It stays the same directory though its path comes to lead elsewhere.
#[derive(Debug)]
pub struct Root(pub(crate) PathFd);

impl Root {
    /// Opens a directory that the user names: if that is a link, what it leads to. It need not be readable.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map(|file| Self(PathFd::from(file)))
    }
}
