//! A directory tree at one moment, as a person would see it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::RelPath;

/// The bytes of a file, shared: a tree is copied often and its files can be large.
pub type Content = Arc<Vec<u8>>;

/// Where regular files hold no data (lseek(2), `SEEK_HOLE`), ascending: such bytes are read as zeros, and what is written there
/// goes to blocks that held nothing of the file before. Under each name of a file that has any.
pub type Holes = BTreeMap<RelPath, Vec<Range<u64>>>;

/// What kind of thing a name stands for.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File(#[serde(with = "crate::bytes")] Content),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A FIFO, socket or device: the type bits of `st_mode`, and the device number.
    Special { mode: u32, device: u64 },
}

/// One inode as seen under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `st_mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names with the same number are hard links to one inode. Means nothing across trees.
    pub inode: u64,
    /// Extended attributes (`user.*` only where the reader is not privileged).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Every name below a directory. The directory itself is the entry of [`RelPath::root`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree(pub BTreeMap<RelPath, Node>);

impl Tree {
    /// The content of the regular file at `path`.
    pub fn file(&self, path: &RelPath) -> Option<&Content> {
        match self.0.get(path)?.kind {
            Kind::File(ref content) => Some(content),
            _ => None,
        }
    }
}
