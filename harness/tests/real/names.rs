//! Programs that draw random names for temporary files are recorded the same each time.

use engine::subject::Bounds;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use engine::subject::Subject;
use report::Note;

use crate::support::{options, run, uml, workloads};

#[test]
fn two_recordings_are_the_same() {
    for workload in workloads(&["tempfile_no_sync", "fsync_replace_py"]) {
        let record = || {
            Subject::record(&workload, Bounds::default(), Default::default(), &Arc::new(AtomicBool::new(false)))
                .unwrap()
                .trace
        };
        let (first, second) = (record(), record());
        assert_eq!(record::numbered(&first).len(), 1, "{}", workload.name);
        assert_eq!(program::listing(&first), program::listing(&second));
        assert!(first.to_bytes() == second.to_bytes(), "{}: as the listings say, but not in every byte", workload.name);
    }
}

/// Nobody will find these names anywhere else.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_names_what_was_numbered() {
    if uml().is_none() {
        return;
    }
    let mut options = options(&["ext4"]);
    (options.spec.schedules, options.spec.budget.mounts) = (0, Some(1));
    let directory = tempfile::tempdir().unwrap();
    let is_of_names = |note: &Note| matches!(note, Note::NumberedNames { .. });
    let report = run(&workloads(&["tempfile_no_sync", "naive_config"]), &options, directory.path()).await.report;
    let notes = report.cells.iter().map(|cell| cell.notes.iter().filter(|note| is_of_names(note)));
    let notes: Vec<Vec<&Note>> = notes.map(Iterator::collect).collect();
    let note = Note::NumberedNames { names: vec![".tmp000001".into()] };
    assert_eq!(notes, [vec![&note], vec![]]);
}
