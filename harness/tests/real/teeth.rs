//! Rules that hold whether the program syncs or not are told; the others are not.

use report::{CellReport, Note, Verdict};
use workload::Workload;

use crate::judged::judged;
use crate::support::{options, run, uml};

fn script(name: &str, script: &str) -> Workload {
    let words = ["sh", "-c", script].map(str::to_owned).to_vec();
    Workload { name: name.into(), ..Workload::bare(words, None).unwrap() }
}

fn held(cell: &CellReport) -> bool {
    assert_eq!(cell.verdict(), Verdict::Pass, "{} {:?}", cell.id, cell.failure);
    cell.notes.iter().any(|note| matches!(note, Note::HeldWithoutSyncs { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_no_missing_sync_breaks_are_told() {
    if uml().is_none() {
        return;
    }
    let workloads = [
        // A symbolic link is there or not, as every file system has it.
        script("toothless", "ln -s target link && sync ."),
        script("toothed", "yes new | head -c 6000 > f.tmp && sync f.tmp && mv f.tmp f && sync ."),
        script("without", "ln -s target link"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let first = directory.path().join("first");
    let finished = run(&workloads, &options(&["ext4", "xfs"]), &first).await;
    let told: Vec<bool> = finished.report.cells.iter().map(held).collect();
    assert_eq!(told, [true, true, false, false, false, false]);
    // What was seen says so again.
    let (again, visited) = judged(&first, &[], &directory.path().join("again")).await;
    assert!(!visited);
    assert_eq!(again.report, finished.report);
}
