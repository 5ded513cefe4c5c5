//! Forces the file system to commit.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use nix::errno::Errno;
use protocol::{CommitBy, Recipe};

use crate::{MOUNT, calls};

/// The file that a commit is forced through.
pub const COMMIT_FILE: &str = "/mnt/.commit";

/// Forces a commit of the running transaction, without anyone's data.
pub enum Commit {
    /// See [`CommitBy::FsyncOfUnrelatedFile`].
    Fsync { file: File, odd: bool },
    /// See [`CommitBy::StartAndWaitSync`]: through the root directory.
    Ioctls(File),
    /// See [`CommitBy::WriteCheckpoint`]: through the root directory.
    Checkpoint(File),
}

impl Commit {
    /// For the file system that is mounted, which must have a [`COMMIT_FILE`].
    pub fn open(filesystem: &Recipe) -> Result<Self, String> {
        let open =
            |path| File::open(path).map_err(|error| format!("failed to open {path} to force commits through: {error}"));
        Ok(match filesystem.handling.commit {
            CommitBy::StartAndWaitSync => Self::Ioctls(open(MOUNT)?),
            CommitBy::WriteCheckpoint => Self::Checkpoint(open(MOUNT)?),
            CommitBy::FsyncOfUnrelatedFile => Self::Fsync { file: open(COMMIT_FILE)?, odd: false },
        })
    }

    /// Commits, and waits for its end.
    pub fn force(&mut self) -> Result<i64, Errno> {
        match self {
            Self::Fsync { file, odd } => {
                *odd = !*odd;
                let mode = if *odd { 0o600 } else { 0o644 };
                let failed = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
                file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
                file.sync_all().map_err(failed)?;
                Ok(0)
            }
            Self::Checkpoint(root) => calls::write_checkpoint(root.as_fd()),
            Self::Ioctls(root) => calls::btrfs_commit(root.as_fd()),
        }
    }
}
