//! xfs.

use crate::{
    AfterUnmount, BeforeSync, CommitBy, FileSystem, FlushCovers, Handling, Mkfs, Overwrites, ReadAhead, Setting,
    WarmUp, at, uuid,
};

/// xfs, with its log on the same disk.
pub static XFS: FileSystem = FileSystem {
    name: "xfs",
    mkfs: Mkfs {
        tool: "mkfs.xfs",
        arguments: &["-q", "-f", "-K", "-m", concat!("uuid=", uuid!())],
        package: "xfsprogs",
        // It takes no less (mkfs.xfs 5.19).
        smallest: 300 << 20,
        unexplored: |_, _| None,
    },
    // Checksums come from a module that is asked for by a `softdep` of libcrc32c, which xfs needs, and is not among what modules need.
    modules: &["crc32c_generic", "xfs"],
    // Keeps it from forcing its log each 30 seconds, in the middle of a long execution
    // (`Documentation/admin-guide/xfs.rst`; two hours is the most that it takes). No mount option does.
    settings: &[Setting { file: "/proc/sys/fs/xfs/xfssyncd_centisecs", value: "720000" }],
    mounted: &[],
    execution: &[],
    observation: &[],
    handling: Handling {
        commit: CommitBy::FsyncOfUnrelatedFile,
        warm_up: WarmUp::Wait,
        before_sync: BeforeSync::Nothing,
        after_unmount: AfterUnmount::Nothing,
        flush_covers: FlushCovers::Completed,
    },
    features: &[],
    without_flush: &[],
    overwrites: Overwrites::InPlace { unless: &[] },
    // Nothing is known of older kernels.
    read_ahead: ReadAhead::MayFail { since: (6, 1) },
    atomic: 512,
    journal: None,
    label,
};

/// fs/xfs/libxfs/xfs_format.h, xfs_log_format.h.
fn label(_sector: u64, data: &[u8]) -> Option<&'static str> {
    let magics: [(&[u8], _); 4] = [
        (b"XFSB", "superblock"),
        (&[0xfe, 0xed, 0xba, 0xbe], "log record"),
        (b"IN", "inodes"),
        (b"XAG", "allocation group header"),
    ];
    magics.iter().find(|(magic, _)| at(data, 0, magic)).map(|&(_, name)| name)
}
