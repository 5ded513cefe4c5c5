//! What comes into the recorded directory from outside of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Handle, RelPath};

/// One thing of what [`Call::Arrive`](crate::Call::Arrive) brings: it has all of this before it gets its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Where it is below what arrives; the root is that itself.
    pub path: RelPath,
    /// What it is.
    pub kind: ArrivalKind,
    /// Permission bits, `st_mode & 0o7777`.
    pub mode: u32,
    /// User and group, if they are others than a file has that the program makes.
    pub owner: Option<(u32, u32)>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What kind of thing arrives.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArrivalKind {
    /// A regular file: that of an open handle. Names with the same one are hard links to one file.
    File(Handle),
    /// A directory, which comes before what is in it.
    Directory,
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A FIFO, socket or device: the type bits of `st_mode`, and the device number.
    Special { mode: u32, device: u64 },
}
