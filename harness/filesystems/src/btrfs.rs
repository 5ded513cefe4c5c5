//! btrfs.

use crate::{
    AddedOption, AfterUnmount, BeforeSync, CommitBy, FileSystem, FlushCovers, Handling, Mkfs, Overwrites, ReadAhead,
    WarmUp, at, uuid,
};

/// btrfs, on a single device.
pub static BTRFS: FileSystem = FileSystem {
    name: "btrfs",
    mkfs: Mkfs {
        tool: "mkfs.btrfs",
        arguments: &["-q", "-f", "-K", "-U", uuid!()],
        package: "btrfs-progs",
        // It takes no less than 114,294,784 bytes (mkfs.btrfs 6.2): 109 MiB.
        smallest: 109 << 20,
        unexplored: |_, _| None,
    },
    // Checksums come from a module that is asked for by a `softdep` of btrfs itself, and is not among what modules need.
    modules: &["crc32c_generic", "btrfs"],
    settings: &[],
    mounted: &[],
    // Keeps it from committing by its timer (30 s) in the middle of a long execution: when it commits is what schedules are
    // for.
    execution: &[AddedOption { option: "commit=300", unless: Some("commit=") }],
    observation: &[],
    handling: Handling {
        // fsync would write a log tree instead of committing; its ioctls commit.
        commit: CommitBy::StartAndWaitSync,
        // It reads what it knows of free space in the background, from the first allocation in a block group on
        // (fs/btrfs/block-group.c, `caching_thread`), and where it puts data and tree blocks, and in how many writes,
        // depends on how far that has come. So an extent and the tree blocks that know of it are replaced, twice, since the
        // first time has no older extent: freeing one waits for the end of it (`btrfs_update_block_group`).
        warm_up: WarmUp::ReplaceAnExtent,
        // When data has reached the disk, a thread (fs/btrfs/inode.c, `btrfs_finish_ordered_io`) tells the trees of it.
        // fsync waits for the pages only (fs/btrfs/file.c, `btrfs_sync_file`) and goes on to its log tree, sync(2) starts
        // writing tree blocks out, and whoever is first gets the lower blocks of the disk. So the data is written out
        // before: what a kernel does whose writeback came a moment earlier.
        before_sync: BeforeSync::WriteDataOut,
        // It would take the next, older state for a stale copy of this one.
        after_unmount: AfterUnmount::ForgetDevice,
        flush_covers: FlushCovers::Completed,
    },
    features: &[],
    without_flush: &["nobarrier"],
    overwrites: Overwrites::Elsewhere,
    // It counts failed reads as failures of the disk.
    read_ahead: ReadAhead::MustSucceed,
    atomic: 512,
    journal: None,
    label,
};

/// fs/btrfs/ctree.h: the magic lies 64 bytes into a superblock. A write of at least a node, 16 KiB, that is nothing else
/// is taken for nodes.
fn label(_sector: u64, data: &[u8]) -> Option<&'static str> {
    if at(data, 64, b"_BHRfS_M") {
        return Some("superblock");
    }
    (data.len() >= 16384).then_some("tree blocks")
}
