//! What could not be done, and beneath a root on what.

use std::fmt;
use std::io;

use program::RelPath;

/// Why a tree could not be read, written, copied or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}")]
pub struct Error {
    /// What was being done.
    pub action: Action,
    /// On what; in [`crate::copy`], which of the two trees it belongs to follows from the action.
    pub path: RelPath,
    /// Why it failed.
    pub source: io::Error,
}

impl Error {
    /// For `map_err`.
    pub(crate) fn of<E: Into<io::Error>>(action: Action, path: &RelPath) -> impl FnOnce(E) -> Self {
        let path = path.clone();
        move |source| Self { action, path, source: source.into() }
    }
}

/// What is done to one name of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Finding out what it is.
    Look,
    /// Listing a directory.
    List,
    /// Reading a regular file.
    ReadFile,
    /// Reading the target of a symbolic link.
    ReadLink,
    /// Reading extended attributes.
    ReadXattrs,
    /// Making a directory.
    MakeDirectory,
    /// Making a regular file and filling it.
    MakeFile,
    /// Making a symbolic link.
    MakeSymlink,
    /// Making a FIFO, a socket or a device.
    MakeSpecial,
    /// Giving a file one more name.
    Link,
    /// Setting the owner and the group.
    SetOwner,
    /// Setting extended attributes.
    SetXattrs,
    /// Setting the permissions.
    SetMode,
    /// Setting the times of last access and modification.
    SetTimes,
    /// Removing it.
    Remove,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Look => "look at",
            Self::List => "list",
            Self::ReadFile => "read",
            Self::ReadLink => "read the link",
            Self::ReadXattrs => "read the extended attributes of",
            Self::MakeDirectory | Self::MakeFile | Self::MakeSymlink | Self::MakeSpecial => "write",
            Self::Link => "link",
            Self::SetOwner | Self::SetXattrs | Self::SetMode => "set the owner and permissions of",
            Self::SetTimes => "set the times of",
            Self::Remove => "remove",
        })
    }
}
