//! Where the model cannot follow: which call, and what is held against it.

use super::data::{MAX_FILE, MAX_GROWN};
use crate::{Call, Target};

/// Why a call that succeeded when it was recorded cannot be applied to the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Divergence {
    /// The call and its names.
    pub what: String,
    /// What the model holds against it.
    pub why: Why,
}

/// What the model holds against a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// `ENOENT`.
    #[error("the name does not exist here")]
    NotFound,
    /// `EEXIST`.
    #[error("the name exists already")]
    Exists,
    /// `ENOTDIR`.
    #[error("this is not a directory")]
    NotADirectory,
    /// `EISDIR`.
    #[error("this is a directory")]
    IsADirectory,
    /// `ENOTEMPTY`.
    #[error("the directory is not empty")]
    NotEmpty,
    /// `EBADF`: no open file has this handle.
    #[error("no open file has this handle")]
    BadHandle,
    /// `ELOOP`.
    #[error("too many symbolic links, or a link where none may be followed")]
    Loop,
    /// `EINVAL`.
    #[error("the arguments make no sense here")]
    Invalid,
    /// `ENODATA`.
    #[error("there is no such attribute")]
    NoAttribute,
    /// A symbolic link that is absolute or climbs out of the recorded directory.
    #[error("a symbolic link leads out of the recorded directory")]
    Outside,
    /// A file too large to hold in memory, or files that grow by too much that nobody has written.
    #[error(
        "the file would be larger than {MAX_FILE} bytes, or all files would grow by more than {MAX_GROWN} bytes that were \
         not written, which is not followed"
    )]
    TooLarge,
}

/// The call and its names, for messages.
pub(super) fn describe(call: &Call) -> String {
    let on = |target: &Target| match target {
        Target::Path(path) | Target::NoFollow(path) => path.to_string(),
        Target::Handle(handle) => format!("#{}", handle.0),
    };
    match call {
        Call::Open { path, .. } => format!("open {path}"),
        Call::Close { handle } => format!("close #{}", handle.0),
        Call::Write { handle, offset, data, .. } => {
            format!("write {} bytes at {offset} to #{}", data.len(), handle.0)
        }
        Call::CopyRange { from, to, .. } => format!("copy_file_range #{} to #{}", from.0, to.0),
        Call::Truncate { target, length } => format!("truncate {} to {length} bytes", on(target)),
        Call::Allocate { handle, .. } => format!("fallocate #{}", handle.0),
        Call::Mkdir { path, .. } => format!("mkdir {path}"),
        Call::Mknod { path, .. } => format!("mknod {path}"),
        Call::Symlink { path, .. } => format!("symlink {path}"),
        Call::Link { from, to } => format!("link {} to {to}", on(from)),
        Call::Rename { from, to, .. } => format!("rename {from} to {to}"),
        Call::Arrive { to, .. } => format!("rename from outside to {to}"),
        Call::Leave { path } => format!("rename {path} to outside"),
        Call::Unlink { path } => format!("unlink {path}"),
        Call::Rmdir { path } => format!("rmdir {path}"),
        Call::Chmod { target, .. } => format!("chmod {}", on(target)),
        Call::Chown { target, .. } => format!("chown {}", on(target)),
        Call::SetTimes { target, .. } => format!("utimensat {}", on(target)),
        Call::SetXattr { target, .. } => format!("setxattr {}", on(target)),
        Call::RemoveXattr { target, .. } => format!("removexattr {}", on(target)),
        Call::Fsync { handle } => format!("fsync #{}", handle.0),
        Call::Fdatasync { handle } => format!("fdatasync #{}", handle.0),
        Call::SyncRange { handle, .. } => format!("sync_file_range #{}", handle.0),
        Call::DontNeed { handle, .. } => format!("posix_fadvise #{}", handle.0),
        Call::Store { handle, offset, data } => {
            format!("store {} bytes at {offset} of #{}", data.len(), handle.0)
        }
        Call::Msync { handle, .. } => format!("msync #{}", handle.0),
        Call::SyncFs { handle } => format!("syncfs #{}", handle.0),
        Call::SyncAll => "sync".to_owned(),
        Call::Ack { .. } => "ack".to_owned(),
        Call::Exit { .. } => "exit".to_owned(),
    }
}
