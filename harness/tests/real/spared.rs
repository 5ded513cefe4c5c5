//! Syncs of right programs that a file system does not need, each with the reason: what its kernel does beyond what fsync(2)
//! promises, or what the program asks for.

/// A sync: workload, op, file system; and why no crash state shows that it is missing.
type Row = (&'static str, usize, &'static str, &'static str);

const REDO_AGAIN: &str = "what the log still holds is a record whose accounts are synced, and to write them again changes \
     nothing (Mohan et al., ARIES, TODS 1992: redo is idempotent); nor is its space given to others before the truncation is \
     committed: fs/ext4/mballoc.c, ext4_free_data_in_buddy; fs/xfs/xfs_extent_busy.c, xfs_extent_busy_trim; \
     fs/btrfs/extent-tree.c, btrfs_finish_extent_commit";

const JOURNAL_ALONE: &str = "the header is synced once more with the number of records (op 15) before anything is written to the \
     database, so a journal that is not whole by then finds the database unchanged, and each of its records has a checksum: \
     SQLite, pager.c, syncJournal, pager_cksum";

const JOURNAL_NAME: &str = "the fsync of a new file (op 15) makes its name durable, too, on this file system: fs/ext4/fsync.c, \
     ext4_fsync_journal; fs/xfs/xfs_file.c, xfs_fsync_flush_log; fs/btrfs/tree-log.c, log_all_new_ancestors";

const LOG_HEADER: &str = "the checksums of frames begin with that of the header: where the header is not on disk the log is empty, \
     and that it is there when a commit is promised sees the sync of the commit to (op 22): SQLite, wal.c, walIndexRecover";

const LOG_NAME: &str = "the fsync of a new file (op 22) makes its name durable, too, on this file system: fs/ext4/fsync.c, \
     ext4_fsync_journal; fs/xfs/xfs_file.c, xfs_fsync_flush_log; fs/btrfs/tree-log.c, log_all_new_ancestors";

const LOG_AGAIN: &str = "with synchronous=FULL each commit has synced the log (op 22), and nothing was added since: SQLite, wal.c, \
     walCheckpoint, which syncs it for synchronous=NORMAL";

const NOTHING_SINCE: &str = "the server syncs its log when it ends, and nothing was written since the sync before the answer (op 3): \
     redis, aof.c, flushAppendOnlyFile; server.c, finishShutdown";

const WHOLE_FILE: &str = "the synchronous write of the meta page that follows syncs all of the file on btrfs, whatever the range: \
     fs/btrfs/file.c, btrfs_sync_file";

const SPARED: &[Row] = &[
    ("sqlite_delete", 10, "ext4", JOURNAL_ALONE),
    ("sqlite_delete", 10, "xfs", JOURNAL_ALONE),
    ("sqlite_delete", 10, "btrfs", JOURNAL_ALONE),
    ("sqlite_delete", 12, "ext4", JOURNAL_NAME),
    ("sqlite_delete", 12, "xfs", JOURNAL_NAME),
    ("sqlite_delete", 12, "btrfs", JOURNAL_NAME),
    ("sqlite_wal", 16, "ext4", LOG_HEADER),
    ("sqlite_wal", 16, "xfs", LOG_HEADER),
    ("sqlite_wal", 16, "btrfs", LOG_HEADER),
    ("sqlite_wal", 18, "ext4", LOG_NAME),
    ("sqlite_wal", 18, "xfs", LOG_NAME),
    ("sqlite_wal", 18, "btrfs", LOG_NAME),
    ("sqlite_wal", 27, "ext4", LOG_AGAIN),
    ("sqlite_wal", 27, "xfs", LOG_AGAIN),
    ("sqlite_wal", 27, "btrfs", LOG_AGAIN),
    ("redis", 5, "ext4", NOTHING_SINCE),
    ("redis", 5, "xfs", NOTHING_SINCE),
    ("redis", 5, "btrfs", NOTHING_SINCE),
    ("lmdb", 6, "btrfs", WHOLE_FILE),
    ("lmdb", 14, "btrfs", WHOLE_FILE),
    (
        "segmented_log",
        8,
        "ext4",
        "the name of log.2 is made in the transaction that the fsync of log.2 (op 6) commits whole: fs/ext4/fsync.c, \
         ext4_fsync_journal, jbd2_complete_transaction",
    ),
    (
        "segmented_log",
        8,
        "xfs",
        "the fsync of log.2 (op 6) forces the log up to the last change of its inode, and it was made, with its name, before \
         that: fs/xfs/xfs_file.c, xfs_fsync_flush_log, xfs_log_force_seq",
    ),
    (
        "segmented_log",
        8,
        "btrfs",
        "the fsync of log.2 (op 6) logs its name with it, and recovery puts it into the directory: fs/btrfs/tree-log.c, \
         add_inode_ref",
    ),
    (
        "wal_cut",
        10,
        "xfs",
        "record 4 goes into allocated space, so its fdatasync (op 12) forces the log up to the conversion of that extent, \
         which comes after the rename: fs/xfs/xfs_iomap.c, xfs_iomap_write_unwritten; fs/xfs/xfs_file.c, \
         xfs_fsync_flush_log",
    ),
    (
        "wal_cut",
        10,
        "btrfs",
        "the rename of a file that was synced puts its new name into the log tree, which the fdatasync of record 4 (op 12) \
         writes: fs/btrfs/tree-log.c, btrfs_log_new_name; after a commit it logs all parents of what was renamed: \
         btrfs_log_all_parents",
    ),
    (
        "mkdir_tree",
        8,
        "ext4",
        "the fsync of albums (op 11) commits the rename in albums/lantern, too: of what is no regular file, fsync commits \
         whatever there is (fs/ext4/fsync.c, ext4_force_commit)",
    ),
    (
        "mkdir_tree",
        11,
        "ext4",
        "the name of lantern was committed by the fsync of tracks.new (op 4), and no later than by that of albums/lantern \
         (op 8): fs/ext4/fsync.c, ext4_force_commit",
    ),
    (
        "mkdir_tree",
        14,
        "ext4",
        "the name of albums was committed by the fsync of tracks.new (op 4), and no later than by that of albums (op 11): \
         fs/ext4/fsync.c, ext4_force_commit",
    ),
    (
        "mkdir_tree",
        11,
        "xfs",
        "lantern was made before tracks.new, and the fsync of that (op 4) forces the log up to there and beyond: \
         fs/xfs/xfs_file.c, xfs_fsync_flush_log, xfs_log_force_seq",
    ),
    (
        "mkdir_tree",
        14,
        "xfs",
        "albums was made before tracks.new, and the fsync of that (op 4) forces the log up to there and beyond: \
         fs/xfs/xfs_file.c, xfs_fsync_flush_log, xfs_log_force_seq",
    ),
    (
        "mkdir_tree",
        11,
        "btrfs",
        "the fsync of tracks.new (op 4) logs each directory above it that is new, lantern with its name: \
         fs/btrfs/tree-log.c, log_all_new_ancestors",
    ),
    (
        "mkdir_tree",
        14,
        "btrfs",
        "the fsync of tracks.new (op 4) logs each directory above it that is new, albums with its name: \
         fs/btrfs/tree-log.c, log_all_new_ancestors",
    ),
    (
        "link_unlink_swap",
        6,
        "ext4",
        "no state has the unlink of settings (op 7) without the link before it (op 4): transactions are replayed whole and \
         in order (Documentation/filesystems/ext4/journal.rst; fs/jbd2/recovery.c, do_one_pass)",
    ),
    (
        "link_unlink_swap",
        6,
        "xfs",
        "no state has the unlink of settings (op 7) without the link before it (op 4): the log is replayed in order \
         (fs/xfs/xfs_log_recover.c, xlog_do_recovery_pass)",
    ),
    (
        "link_unlink_swap",
        6,
        "btrfs",
        "a commit has both the link of settings.old (op 4) and the unlink of settings (op 7), or comes between them; and a \
         log of the directory (op 9) is of what it held then: fs/btrfs/transaction.c, btrfs_commit_transaction; \
         fs/btrfs/tree-log.c, log_directory_changes",
    ),
    (
        "link_unlink_swap",
        9,
        "ext4",
        "no state has the unlinks (ops 10 and 11) without the link of settings before them (op 8): transactions are replayed \
         whole and in order (Documentation/filesystems/ext4/journal.rst), and the last fsync (op 12) commits all three",
    ),
    (
        "link_unlink_swap",
        9,
        "xfs",
        "no state has the unlinks (ops 10 and 11) without the link of settings before them (op 8): the log is replayed in \
         order (fs/xfs/xfs_log_recover.c, xlog_do_recovery_pass), and the last fsync (op 12) forces it to its end",
    ),
    (
        "link_unlink_swap",
        9,
        "btrfs",
        "a commit with the unlinks (ops 10 and 11) has the link of settings before them (op 8), and the last fsync (op 12) \
         logs the directory as it is then: fs/btrfs/tree-log.c, log_directory_changes",
    ),
    (
        "link_unlink_swap",
        12,
        "ext4",
        "settings is new and durable since op 9; what this commits is that settings.new and settings.old are gone, which the \
         check does not look at where there are settings (workloads/link_unlink_swap/main.py, check)",
    ),
    (
        "link_unlink_swap",
        12,
        "xfs",
        "settings is new and durable since op 9; what this forces to the log is that settings.new and settings.old are gone, \
         which the check does not look at where there are settings (workloads/link_unlink_swap/main.py, check)",
    ),
    (
        "link_unlink_swap",
        12,
        "btrfs",
        "settings is new and durable since op 9; what this logs is that settings.new and settings.old are gone, which the \
         check does not look at where there are settings (workloads/link_unlink_swap/main.py, check)",
    ),
    (
        "rename_exchange",
        10,
        "ext4",
        "both names in theme.next were made before the fsync of fonts (op 7), which commits the transaction whole: \
         fs/ext4/fsync.c, ext4_fsync_journal, jbd2_complete_transaction",
    ),
    (
        "rename_exchange",
        10,
        "xfs",
        "both names in theme.next were made before the fsync of fonts (op 7), which forces the log up to there and beyond: \
         fs/xfs/xfs_file.c, xfs_fsync_flush_log, xfs_log_force_seq",
    ),
    (
        "rename_exchange",
        10,
        "btrfs",
        "the fsyncs of colours and fonts (ops 3 and 7) log the name of each, which recovery puts into the directory: \
         fs/btrfs/tree-log.c, add_inode_ref",
    ),
    (
        "rename_exchange",
        13,
        "ext4",
        "theme.next was made before the fsync of colours (op 3), which commits the transaction whole: fs/ext4/fsync.c, \
         ext4_fsync_journal, jbd2_complete_transaction",
    ),
    (
        "rename_exchange",
        13,
        "xfs",
        "theme.next was made before colours, whose fsync (op 3) forces the log up to there and beyond: fs/xfs/xfs_file.c, \
         xfs_fsync_flush_log, xfs_log_force_seq",
    ),
    (
        "rename_exchange",
        13,
        "btrfs",
        "the fsync of colours (op 3) logs theme.next, which is new, with its name: fs/btrfs/tree-log.c, \
         log_all_new_ancestors",
    ),
    ("redo_log", 11, "ext4", REDO_AGAIN),
    ("redo_log", 20, "ext4", REDO_AGAIN),
    ("redo_log", 11, "xfs", REDO_AGAIN),
    ("redo_log", 20, "xfs", REDO_AGAIN),
    ("redo_log", 11, "btrfs", REDO_AGAIN),
    ("redo_log", 20, "btrfs", REDO_AGAIN),
];

/// Why nothing comes of leaving out this op.
pub fn spared(workload: &str, op: usize, kind: &str) -> Option<&'static str> {
    SPARED.iter().find(|row| (row.0, row.1, row.2) == (workload, op, kind)).map(|row| row.3)
}
