//! What the guest saw of one crash state.

use std::collections::BTreeMap;

use program::RelPath;
use serde::{Deserialize, Serialize};

use crate::Seen;

/// How the mount went.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mount {
    /// The file system mounted and its tree could be listed as far as the entries say.
    Mounted,
    /// The kernel refused: errno and the last words of its log.
    Refused { errno: i32, log: String },
    /// The guest died on this state (panic, hang, agent gone): its last words.
    Died { reason: String },
}

/// What a name stands for after recovery.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EntryKind {
    /// A regular file: its size, and what was read of it.
    File { size: u64, seen: Seen },
    /// A directory; `error` is the errno if it could not be listed.
    Directory { error: Option<i32> },
    /// A symbolic link.
    Symlink { target: Vec<u8> },
    /// A FIFO, socket or device: `st_mode`.
    Special { mode: u32 },
    /// The name is listed, but stat(2) fails with this errno.
    Unreadable { errno: i32 },
}

/// One name after recovery. No times and no inode numbers: they differ between states without meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of hard links.
    pub links: u64,
    /// Another name of the same file: the first of all its names, in the order of paths. `None` for the first itself.
    pub same_as: Option<RelPath>,
}

/// What the guest saw: a function of the sectors that it read, and of nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Observation {
    /// How the mount went. Unless mounted, `entries` is empty.
    pub mount: Mount,
    /// Every name below the workload's directory, and the directory itself as the root entry.
    pub entries: BTreeMap<RelPath, Entry>,
}

impl Observation {
    /// Whether anything failed: the mount, or to look at any name.
    pub fn has_errors(&self) -> bool {
        let failed = |entry: &Entry| match &entry.kind {
            EntryKind::File { seen, .. } => matches!(seen, Seen::Failed { .. }),
            EntryKind::Directory { error } => error.is_some(),
            EntryKind::Unreadable { .. } => true,
            EntryKind::Symlink { .. } | EntryKind::Special { .. } => false,
        };
        self.mount != Mount::Mounted || self.entries.values().any(failed)
    }
}
