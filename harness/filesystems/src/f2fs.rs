//! f2fs.

use crate::{
    AddedOption, AfterUnmount, BeforeSync, CommitBy, FileSystem, FlushCovers, Handling, Mkfs, Overwrites, ReadAhead,
    Setting, WarmUp, at, uuid,
};

/// f2fs, on a single device.
pub static F2FS: FileSystem = FileSystem {
    name: "f2fs",
    mkfs: Mkfs {
        tool: "mkfs.f2fs",
        // The version of the first checkpoint would be random, and times those of today.
        arguments: &["-q", "-f", "-r", "-t", "0", "-T", "1577836800", "-U", uuid!()],
        package: "f2fs-tools",
        // It takes no less than 39,845,888 bytes (mkfs.f2fs 1.15): 38 MiB.
        smallest: 38 << 20,
        unexplored: |_, _| None,
    },
    // Checksums come from a module that is asked for by a `softdep` of libcrc32c, and is not among what modules need.
    modules: &["crc32_generic", "f2fs"],
    settings: &[],
    mounted: &[
        // Keeps it from a checkpoint by its timer (60 s, `DEF_CP_INTERVAL` in fs/f2fs/f2fs.h) in the middle of a long
        // execution: when it commits is what schedules are for.
        Setting { file: "/sys/fs/f2fs/{device}/cp_interval", value: "720000" },
        // On disks below 16 GiB, as ours is, all data are overwritten in place (fs/f2fs/super.c,
        // `f2fs_tuning_parameters`: `F2FS_IPU_FORCE`). On larger ones, only a few blocks that fsync is called for are:
        // `F2FS_IPU_FSYNC` in fs/f2fs/segment.h.
        Setting { file: "/sys/fs/f2fs/{device}/ipu_policy", value: "16" },
    ],
    // A thread cleans segments when the file system is idle, another discards blocks, which the disk does not take. On
    // disks below 16 GiB blocks are given out in another order, too (fs/f2fs/super.c, `default_options`).
    execution: &[
        AddedOption { option: "background_gc=off", unless: Some("background_gc=") },
        AddedOption { option: "nodiscard", unless: Some("discard") },
        AddedOption { option: "alloc_mode=default", unless: Some("alloc_mode=") },
    ],
    observation: &[
        AddedOption { option: "background_gc=off", unless: Some("background_gc=") },
        AddedOption { option: "nodiscard", unless: Some("discard") },
    ],
    handling: Handling {
        // fsync writes the nodes of one file, which the next mount rolls forward from (fs/f2fs/recovery.c): no checkpoint.
        commit: CommitBy::WriteCheckpoint,
        warm_up: WarmUp::Wait,
        before_sync: BeforeSync::Nothing,
        after_unmount: AfterUnmount::Nothing,
        // The first fsync after a mount or a checkpoint does not wait until the node that it writes has reached the disk, and
        // sends its flush before: `fsync_seg_id` begins at 0 (fs/f2fs/node.c, `f2fs_reset_fsync_node_info`), and
        // `f2fs_wait_on_node_pages_writeback` takes 0 for nothing to wait for. So in Linux 6.1 and 6.12.
        flush_covers: FlushCovers::OwnWrites,
    },
    features: &[],
    without_flush: &["nobarrier", "fsync_mode=nobarrier"],
    // Or in place, where a few blocks are synced: never to be relied on.
    overwrites: Overwrites::Elsewhere,
    // Nothing is known of what a read ahead of nodes that fails comes to.
    read_ahead: ReadAhead::MustSucceed,
    // Its nodes and directory blocks, of 4,096 bytes, have no checksum (but for inodes, with the feature `inode_checksum`):
    // half of one would be taken for a whole one.
    atomic: 4096,
    journal: None,
    label,
};

/// include/linux/f2fs_fs.h: a superblock, 1,024 bytes into each of the first two blocks of 4,096 bytes, begins with
/// `F2FS_SUPER_MAGIC`.
fn label(sector: u64, data: &[u8]) -> Option<&'static str> {
    (sector < 16 && at(data, 1024, &[0x10, 0x20, 0xf5, 0xf2])).then_some("superblock")
}
