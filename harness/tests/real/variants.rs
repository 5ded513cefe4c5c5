//! Recipes that survive a crash, each in its right form and in forms with something left out, on User Mode Linux with
//! all single injections: the right ones hold everywhere, the others are caught, and the report names the place.

use checker::Kind::{self, CheckFailed, Empty, Missing, Stale, WrongLength, ZeroFilled};
use engine::run::Options;
use engine::spec::Tear;
use num_bigint::BigUint;
use report::{Note, Report, Verdict};
use testkit::is_full;

use crate::support::{options, run, uml, workloads};

const FILE_SYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Runs workloads that must hold, each state of each cell.
async fn hold(names: &[&str], options: &Options) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads(names), options, directory.path()).await.report;
    assert_eq!(report.cells.len(), names.len() * options.spec.filesystems.len());
    for cell in &report.cells {
        assert_eq!(cell.verdict(), Verdict::Pass, "{} {:?} {:?}", cell.id, cell.violations, cell.failure);
        assert!(cell.exhaustive(), "{}", cell.id);
    }
    report
}

/// The right forms, where each sector of each write has a fate of its own: half of them, unless all are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn right_ones_hold() {
    if uml().is_none() {
        return;
    }
    let names = [
        "durable_replace",
        "append_log",
        "wal_cut",
        "mkdir_tree",
        "o_tmpfile_linkat",
        "fsync_replace_py",
        "checksummed_log",
        "segmented_log",
        "link_unlink_swap",
        "rename_exchange",
    ];
    let names = if is_full() { &names[..] } else { &names[..5] };
    let mut options = options(&FILE_SYSTEMS);
    options.spec.tear = Tear::Any;
    let report = hold(names, &options).await;
    // ext4 reads its journal ahead. If it were given what it asks for, no budget would do.
    let ext4 = report.cells.iter().find(|cell| cell.id.workload == "durable_replace" && cell.id.fs == "ext4").unwrap();
    let states = &ext4.crash_states;
    assert!(states.allowed > BigUint::from(10u32).pow(22) && states.mounts < 5000, "{states:?}");
}

/// An fsync that sends its flush too early is no fault of a program's, nor is one that the user has told to send none; both
/// are told. Where there are two kinds of commit, each schedule is executed with either, and no report counts those for a
/// file system that has one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_assumed_of_a_file_system_is_told() {
    if uml().is_none() {
        return;
    }
    let options = options(&["f2fs", "f2fs:fsync_mode=nobarrier", "ext4", "ext4;mkfs=-O fast_commit"]);
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads(&["append_log"]), &options, directory.path()).await.report;
    let [early, without, plain, fast] = report.cells.as_slice() else { panic!("{:?}", report.cells) };
    for (cell, verdict) in
        [(early, Verdict::Pass), (without, Verdict::Violation), (plain, Verdict::Pass), (fast, Verdict::Pass)]
    {
        assert_eq!(cell.verdict(), verdict, "{} {:?} {:?}", cell.id, cell.violations, cell.failure);
        assert_eq!(cell.schedules.explored, cell.schedules.total, "{}", cell.id);
    }
    assert!(early.notes.contains(&Note::AssumedFlush) && early.notes.contains(&Note::AssumedAtomic { bytes: 4096 }));
    assert!(without.notes.contains(&Note::WithoutFlush { option: "fsync_mode=nobarrier".into() }));
    assert_eq!([&plain.notes, &fast.notes], [&vec![]; 2]);
    assert_eq!(fast.schedules.total, 2 * plain.schedules.total);
}

/// Those that change a file in place are read whole in each state. What is left open is whether writes tear. One file system
/// must do, unless all are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn right_ones_that_write_in_place_hold() {
    if uml().is_none() {
        return;
    }
    let mut options = if is_full() { options(&FILE_SYSTEMS) } else { options(&["btrfs"]) };
    options.spec.tear = Tear::None;
    hold(&["undo_log", "redo_log"], &options).await;
}

/// Background work in two places, and a second crash while the file system recovers. xfs takes minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_durable_replace_holds_through_a_second_crash() {
    if uml().is_none() {
        return;
    }
    let mut options = options(&["ext4", "btrfs"]);
    (options.spec.schedules, options.spec.recovery_crashes) = (2, true);
    hold(&["durable_replace"], &options).await;
}

/// A workload; what is found on each file system; and what the hint of some violation says, wherever there is one.
type Row<const N: usize> = (&'static str, [&'static [Kind]; N], &'static str);

const HOLDS: &[Kind] = &[];
const TORN: &[Kind] = &[Empty, WrongLength, ZeroFilled];
const CHECK: [&[Kind]; 3] = [&[CheckFailed]; 3];

async fn check<const N: usize>(file_systems: [&str; N], rows: &[Row<N>], tear: Tear) {
    if uml().is_none() {
        return;
    }
    let names: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let mut options = options(&file_systems);
    options.spec.tear = tear;
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads(&names), &options, directory.path()).await.report;
    assert_eq!(report.cells.len(), rows.len() * N);
    let expected = rows.iter().flat_map(|(_, kinds, place)| kinds.map(|kinds| (kinds, place)));
    let mut wrong = Vec::new();
    for (cell, (kinds, place)) in report.cells.iter().zip(expected) {
        assert!(cell.exhaustive(), "{} {:?}", cell.id, cell.failure);
        let mut found: Vec<Kind> = cell.violations.iter().map(|violation| violation.kind).collect();
        found.sort();
        found.dedup();
        let ops = report.ops_of(&cell.id.workload);
        let hints = cell.violations.iter().filter_map(|violation| violation.hint.as_ref());
        let hints: Vec<String> = hints.map(|hint| reporters::sentences::hint(hint, ops)).collect();
        let named = found.is_empty() || place.is_empty() || hints.iter().any(|hint| hint.contains(place));
        if found != kinds || !named {
            wrong.push(format!("{}: {found:?} {hints:?}", cell.id));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// What the three file systems do with one and the same mistake differs:
/// - `append_log_no_fsync`: only ext4 lets the new length of a file reach the disk before the data.
/// - `o_tmpfile_linkat_no_fsync`: ext4 starts writeback at the rename over the old file (`auto_da_alloc`), btrfs too, and
///   the fsync of the directory overtakes it.
/// - `o_tmpfile_linkat_fsync_before_link`: no fsync is missing; btrfs forgets that of a file without a name.
/// - `wal_cut_no_directory_fsync`: the fdatasync of a renamed file takes its name with it on xfs and btrfs.
#[tokio::test(flavor = "multi_thread")]
async fn one_thing_left_out() {
    check(
        FILE_SYSTEMS,
        &[
            (
                "append_log_no_fsync",
                [&[ZeroFilled, Stale], &[Stale], &[Stale]],
                "no fsync of log since its last write (op 5) before the promise",
            ),
            ("checksummed_log_no_fsync", CHECK, "no fsync of log since its last write (op 5)"),
            ("link_unlink_swap_no_backup", CHECK, "before op 4 (unlink)"),
            ("mkdir_tree_no_directory_fsync", [&[Missing]; 3], "nor of the directory albums/lantern since op 6"),
            (
                "o_tmpfile_linkat_no_fsync",
                [&[ZeroFilled], TORN, &[Empty, ZeroFilled]],
                "no fsync of settings.new between its last write (op 1) and op 3 (rename",
            ),
            ("o_tmpfile_linkat_fsync_before_link", [HOLDS, HOLDS, &[Empty, ZeroFilled]], ""),
            (
                "rename_exchange_no_directory_fsync",
                [&[Stale]; 3],
                "no fsync of the directory since op 15 (rename of theme to theme.next) before the promise",
            ),
            ("segmented_log_no_old_fsync", CHECK, "no fsync of log.1 since its last write (op 2)"),
            ("wal_cut_no_directory_fsync", [&[CheckFailed], HOLDS, HOLDS], "and op 8 (rename of 1.tmp to 1.wal)"),
            ("wal_cut_no_header_fsync", CHECK, "of 1.tmp since its last write (op 6) before op 7 (rename)"),
            ("wal_cut_no_temporary_name", CHECK, ""),
        ],
        Tear::None,
    )
    .await;
}

/// A log that is written before files are changed in place. Each has hundreds of schedules: one file system must do,
/// unless all are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn one_thing_left_out_of_a_log_before_writes_in_place() {
    let rows = [
        ("redo_log_no_log_fsync", CHECK, "no fsync of log since its last write (op 3)"),
        (
            "redo_log_truncate_before_fsync",
            CHECK,
            "no fsync of alice since its last write (op 6), nor of bob since its last write (op 7) before op 8 (ftruncate)",
        ),
        ("undo_log_no_commit_fsync", CHECK, "no fsync of the directory since op 13 (unlink of journal)"),
        ("undo_log_no_directory_fsync", CHECK, "and op 6 (rename of journal.new to journal)"),
        ("undo_log_no_journal_fsync", CHECK, "no fsync of journal since its last write (op 3)"),
        (
            "undo_log_unlink_before_fsync",
            CHECK,
            "no fsync of alice since its last write (op 9), nor of bob since its last write (op 10) before op 11 (unlink)",
        ),
    ];
    if is_full() {
        check(FILE_SYSTEMS, &rows, Tear::None).await;
    } else {
        check(["xfs"], &rows.map(|(name, kinds, place)| (name, [kinds[1]], place)), Tear::None).await;
    }
}

/// Where nothing at all is synced there are many schedules: one file system must do.
#[tokio::test(flavor = "multi_thread")]
async fn all_left_out() {
    let rows = [
        (
            "link_unlink_swap_no_fsync",
            [&[CheckFailed] as &[Kind]],
            "no fsync of settings.new since its last write (op 1)",
        ),
        ("rename_exchange_no_fsync", [TORN], "no fsync of theme.next/"),
    ];
    check(["xfs"], &rows, Tear::None).await;
}

/// A record without a checksum is seen to be torn where the length of the file comes before the data, on ext4, and where half
/// of what was appended is written back and committed by itself: on xfs, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_left_out() {
    let rows = [("checksummed_log_no_checksum", [&[CheckFailed] as &[Kind], &[CheckFailed], HOLDS], "")];
    check(FILE_SYSTEMS, &rows, Tear::One).await;
}
