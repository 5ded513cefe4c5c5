//! ext4.

use crate::{
    AddedOption, AfterUnmount, BeforeSync, CommitBy, Feature, FileSystem, FlushCovers, Handling, Journal, Mkfs,
    Overwrites, ReadAhead, WarmUp, at, uuid,
};

/// ext4, with its journal (jbd2).
pub static EXT4: FileSystem = FileSystem {
    name: "ext4",
    mkfs: Mkfs {
        tool: "mkfs.ext4",
        // Without lazy initialisation the kernel would write zeros in the background. Blocks of 4096 bytes, as on any disk
        // that is larger than ours.
        arguments: &[
            "-q",
            "-F",
            "-b",
            "4096",
            "-U",
            uuid!(),
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed=c0ffee00-0000-4000-8000-000000000002",
        ],
        package: "e2fsprogs",
        // Below, its defaults are others (mke2fs.conf(5), `small`).
        smallest: 512 << 20,
        unexplored,
    },
    // Checksums come from a module that is asked for by a `softdep` of ext4 itself, and is not among what modules need.
    modules: &["crc32c_generic", "ext4"],
    settings: &[],
    mounted: &[],
    // Keeps it from committing by its timer (5 s) in the middle of a long execution: when it commits is what schedules are
    // for.
    execution: &[AddedOption { option: "commit=300", unless: Some("commit=") }],
    // Read-ahead of inode tables and bitmaps would only make decisions that nothing depends on.
    observation: &[
        AddedOption { option: "inode_readahead_blks=0", unless: None },
        AddedOption { option: "no_prefetch_block_bitmaps", unless: None },
    ],
    handling: Handling {
        commit: CommitBy::FsyncOfUnrelatedFile,
        warm_up: WarmUp::Wait,
        before_sync: BeforeSync::Nothing,
        after_unmount: AfterUnmount::Nothing,
        flush_covers: FlushCovers::Completed,
    },
    features: &[
        Feature {
            argument: "fast_commit",
            commit: CommitBy::FsyncOfDirectory,
            fast_commit: Some(CommitBy::FsyncOfUnrelatedFile),
            refuses: &[],
            unchecked: false,
        },
        Feature {
            argument: "^has_journal",
            commit: CommitBy::WritebackOfDevice,
            fast_commit: None,
            // There is nothing that a timer could commit ("can't mount with commit=").
            refuses: &["commit=300"],
            unchecked: true,
        },
    ],
    without_flush: &["nobarrier", "barrier=0"],
    overwrites: Overwrites::InPlace { unless: &["data=journal"] },
    // Before, recovery did not read such a block once more ("jbd2: replace ll_rw_block()"), and with checksums of the oldest
    // kind took it, without a word, for the end of the journal (fs/jbd2/recovery.c, `calc_chksums`).
    read_ahead: ReadAhead::MayFail { since: (6, 1) },
    atomic: 512,
    journal: Some(&JBD2),
    label,
};

/// `journal_superblock_s` with `JBD2_MAGIC_NUMBER` and `JBD2_SUPERBLOCK_V2` (include/linux/jbd2.h). 128 KiB are read ahead,
/// and no setting turns that off (fs/jbd2/recovery.c, `do_readahead`).
static JBD2: Journal =
    Journal { superblock: &[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4], block_size: 12, blocks: 16, ahead: 128 << 10 };

/// Where there is no journal, fsync of another file commits nothing else; with `fast_commit` it commits no transaction
/// (fs/ext4/fast_commit.c). `s_feature_compat`, 0x5c bytes into the superblock, says what there is:
/// `EXT4_FEATURE_COMPAT_HAS_JOURNAL` and `EXT4_FEATURE_COMPAT_FAST_COMMIT` (fs/ext4/ext4.h).
fn unexplored(head: &[u8], commit: CommitBy) -> Option<&'static str> {
    let features = head.get(1024 + 0x5c..1024 + 0x60)?;
    let has = |bits: u32| features.iter().zip(bits.to_le_bytes()).any(|(byte, bits)| byte & bits != 0);
    match (has(0x4), has(0x400), commit) {
        (false, _, CommitBy::WritebackOfDevice) | (true, _, CommitBy::FsyncOfDirectory) => None,
        (true, false, CommitBy::FsyncOfUnrelatedFile) => None,
        (false, ..) => Some("it has no journal, which was not asked for by `-O ^has_journal`"),
        (true, true, _) => Some("it has fast_commit, which was not asked for by `-O fast_commit`"),
        (true, false, _) => Some("it has a journal, though `-O ^has_journal` was asked for"),
    }
}

/// fs/ext4/ext4.h, include/linux/jbd2.h.
fn label(sector: u64, data: &[u8]) -> Option<&'static str> {
    if sector == 0 && at(data, 1024 + 0x38, &[0x53, 0xef]) {
        return Some("superblock");
    }
    at(data, 0, &[0xc0, 0x3b, 0x39, 0x98]).then(|| match data.get(7) {
        Some(1) => "journal, beginning with a descriptor",
        Some(2) => "journal commit record",
        Some(3 | 4) => "journal superblock",
        Some(5) => "journal revoke record",
        _ => "journal",
    })
}
