//! Forces the file system to commit.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use protocol::{CommitBy, Conditions, Recipe};

use crate::{MOUNT, calls};

/// The file that a commit is forced through.
pub const COMMIT_FILE: &str = "/mnt/.commit";

/// Forces a commit of the running transaction, without anyone's data.
pub enum Commit {
    /// See [`CommitBy::FsyncOfUnrelatedFile`]; with [`CommitBy::FsyncOfDirectory`], `through` is that directory.
    Fsync { file: File, through: Option<File>, odd: bool },
    /// See [`CommitBy::WritebackOfDevice`].
    Writeback(File),
    /// See [`CommitBy::StartAndWaitSync`]: through the root directory.
    Ioctls(File),
    /// See [`CommitBy::WriteCheckpoint`]: through the root directory.
    Checkpoint(File),
}

impl Commit {
    /// For the file system that is mounted from `disk`, which must have a [`COMMIT_FILE`].
    pub fn open(disk: &Path, filesystem: &Recipe, conditions: Conditions) -> Result<Self, String> {
        let open = |path: &Path| {
            File::open(path)
                .map_err(|error| format!("failed to open {} to force commits through: {error}", path.display()))
        };
        let (mount, file) = (Path::new(MOUNT), Path::new(COMMIT_FILE));
        let fast = filesystem.fast_commit.filter(|_| conditions.fast_commits);
        Ok(match fast.unwrap_or(filesystem.handling.commit) {
            CommitBy::StartAndWaitSync => Self::Ioctls(open(mount)?),
            CommitBy::WriteCheckpoint => Self::Checkpoint(open(mount)?),
            CommitBy::FsyncOfUnrelatedFile => Self::Fsync { file: open(file)?, through: None, odd: false },
            CommitBy::FsyncOfDirectory => Self::Fsync { file: open(file)?, through: Some(open(mount)?), odd: false },
            CommitBy::WritebackOfDevice => Self::Writeback(open(disk)?),
        })
    }

    /// Commits, and waits for its end.
    pub fn force(&mut self) -> Result<i64, Errno> {
        match self {
            Self::Fsync { file, through, odd } => {
                *odd = !*odd;
                let mode = if *odd { 0o600 } else { 0o644 };
                let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
                file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(errno)?;
                through.as_ref().unwrap_or(file).sync_all().map_err(errno)?;
                Ok(0)
            }
            Self::Writeback(disk) => calls::write_back(disk.as_fd(), 0, 0),
            Self::Checkpoint(root) => calls::write_checkpoint(root.as_fd()),
            Self::Ioctls(root) => calls::btrfs_commit(root.as_fd()),
        }
    }
}
