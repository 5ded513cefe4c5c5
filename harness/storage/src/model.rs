//! The disk model: which subsets and which tears of the volatile writes a crash may leave.

use serde::{Deserialize, Serialize};

/// What the disk's cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheKind {
    /// A volatile write-back cache: a completed write is durable only after a flush that was issued later. Most
    /// consumer SSDs and hard disks as they are delivered.
    #[default]
    Writeback,
    /// No volatile cache, or one that survives a power failure: a completed write is durable, and only writes that are
    /// under way are volatile. Disks with capacitors, or with their cache switched off.
    Writethrough,
    /// A disk that acknowledges flushes and does nothing: broken or misconfigured hardware, some USB bridges and
    /// virtual disks with an unsafe cache mode.
    Lying,
}

/// How a write may be cut by the crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TearKind {
    /// Every write is atomic.
    None,
    /// At most one write of a state is torn, at one unit boundary: its head or its tail survives. SQLite's linear
    /// assumption ("Atomic Commit In SQLite", section 2: a sector is written linearly), bounded to one write.
    #[default]
    One,
    /// Every unit of every write has its own fate.
    Any,
}

/// The rules that say which crash states are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskModel {
    /// The cache.
    pub cache: CacheKind,
    /// Tears.
    pub tear: TearKind,
    /// Sectors (of 512 bytes) that the disk writes atomically, aligned to as many: 1, or 8 for physical sectors of
    /// 4096 bytes. A write of a part of such a unit survives as a whole or not at all.
    pub unit: u32,
    /// Whether the disk has writes with forced unit access: see [`BlockLog::with_fua`](crate::BlockLog::with_fua).
    pub fua: bool,
}

impl Default for DiskModel {
    fn default() -> Self {
        Self { cache: CacheKind::default(), tear: TearKind::default(), unit: 1, fua: true }
    }
}
