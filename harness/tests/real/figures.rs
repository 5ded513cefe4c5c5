//! What is known of the workloads, on User Mode Linux, with all single injections: every cell exhaustive.

use checker::Kind::{self, Empty, Mixed, WrongLength, ZeroFilled};
use report::{Durable, Verdict};

use crate::support::{options, run, uml, workloads};

/// Workload, file system, kinds of violation (none: it passes), durable after exit.
type Row = (&'static str, &'static str, &'static [Kind], Durable);

async fn check(rows: &[Row]) {
    if uml().is_none() {
        return;
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.0).collect();
    names.dedup();
    let mut systems: Vec<&str> = Vec::new();
    for row in rows {
        if !systems.contains(&row.1) {
            systems.push(row.1);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads(&names), &options(&systems), directory.path()).await.report;
    assert_eq!(report.cells.len(), rows.len());
    let mut wrong = Vec::new();
    for (cell, (name, system, kinds, durable)) in report.cells.iter().zip(rows) {
        assert_eq!((cell.id.workload.as_str(), cell.id.file_system().as_str()), (*name, *system));
        assert!(cell.exhaustive(), "{} {:?}", cell.id, cell.failure);
        assert_eq!(cell.crash_states.covered, cell.crash_states.allowed);
        let mut found: Vec<Kind> = cell.violations.iter().map(|violation| violation.kind).collect();
        found.sort();
        found.dedup();
        let verdict = if kinds.is_empty() { Verdict::Pass } else { Verdict::Violation };
        if (cell.verdict(), found.as_slice(), cell.durable_after_exit) != (verdict, *kinds, *durable) {
            wrong.push(format!("{}: {} {found:?} {:?}", cell.id, cell.verdict(), cell.durable_after_exit));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

const HOLDS: &[Kind] = &[];

/// ext4 and btrfs start writeback of the new file when it replaces an old one by rename, and do not wait for it. A commit
/// that comes before its end makes the rename durable without the data. ext4 then has the size and unwritten extents
/// (dioread_nolock, the default since Linux 5.6, takes the data off the list that an ordered commit waits for:
/// fs/ext4/inode.c, `ext4_map_blocks`), btrfs neither. Where half of the file was written back and committed before, btrfs
/// has a hole in place of the other half.
#[tokio::test(flavor = "multi_thread")]
async fn savers() {
    use Durable::{No, Yes};
    check(&[
        ("naive_config", "ext4", &[Empty, WrongLength, ZeroFilled], No),
        ("naive_config", "ext4:noauto_da_alloc", &[Empty, WrongLength, ZeroFilled], No),
        ("naive_config", "xfs", &[Empty, WrongLength, ZeroFilled], No),
        ("naive_config", "btrfs", &[Empty, ZeroFilled], No),
        ("tempfile_no_sync", "ext4", &[ZeroFilled], No),
        ("tempfile_no_sync", "ext4:noauto_da_alloc", &[Empty, WrongLength, ZeroFilled], No),
        ("tempfile_no_sync", "xfs", &[Empty, WrongLength, ZeroFilled], No),
        ("tempfile_no_sync", "btrfs", &[Empty, ZeroFilled], No),
        ("tempfile_sync_data", "ext4", HOLDS, No),
        ("tempfile_sync_data", "ext4:noauto_da_alloc", HOLDS, No),
        ("tempfile_sync_data", "xfs", HOLDS, No),
        ("tempfile_sync_data", "btrfs", HOLDS, No),
        ("durable_replace", "ext4", HOLDS, Yes),
        ("durable_replace", "ext4:noauto_da_alloc", HOLDS, Yes),
        ("durable_replace", "xfs", HOLDS, Yes),
        ("durable_replace", "btrfs", HOLDS, Yes),
        // The fsync of the directory overtakes the writeback that the rename has started.
        ("durable_replace_no_fsync", "ext4", &[ZeroFilled], No),
        ("durable_replace_no_fsync", "ext4:noauto_da_alloc", &[Empty, WrongLength, ZeroFilled], No),
        ("durable_replace_no_fsync", "xfs", &[Empty, WrongLength, ZeroFilled], No),
        ("durable_replace_no_fsync", "btrfs", &[Empty, ZeroFilled], No),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn savers_in_python() {
    use Durable::No;
    check(&[
        ("naive_config_py", "ext4", &[Empty, WrongLength, ZeroFilled], No),
        ("naive_config_py", "xfs", &[Empty, WrongLength, ZeroFilled], No),
        ("naive_config_py", "btrfs", &[Empty, WrongLength, ZeroFilled], No),
        ("fsync_replace_py", "ext4", HOLDS, No),
        ("fsync_replace_py", "xfs", HOLDS, No),
        ("fsync_replace_py", "btrfs", HOLDS, No),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_measures() {
    use Durable::{No, Yes};
    check(&[
        ("rename_before_close", "ext4:noauto_da_alloc", &[Empty, WrongLength, ZeroFilled], No),
        ("rename_before_close", "xfs", &[Empty, WrongLength, ZeroFilled], No),
        ("rename_before_close", "btrfs", &[Empty, WrongLength, ZeroFilled], No),
        ("sync_file_range_only", "ext4:noauto_da_alloc", HOLDS, No),
        ("sync_file_range_only", "xfs", HOLDS, No),
        ("sync_file_range_only", "btrfs", HOLDS, No),
        ("overwrite_in_place", "ext4:noauto_da_alloc", &[Mixed, Kind::Stale], No),
        ("overwrite_in_place", "xfs", &[Mixed, Kind::Stale], No),
        ("overwrite_in_place", "btrfs", &[Mixed, Kind::Stale], No),
        ("overwrite_dsync", "ext4:noauto_da_alloc", &[Mixed], Yes),
        ("overwrite_dsync", "xfs", &[Mixed], Yes),
        ("overwrite_dsync", "btrfs", HOLDS, Yes),
    ])
    .await;
}
