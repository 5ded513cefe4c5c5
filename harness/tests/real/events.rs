//! What is told while a run is under way.

use report::Event;

use crate::support::{options, run_and_listen, uml, workloads};

/// Each kind of violation is told once, in its cell's time.
#[tokio::test(flavor = "multi_thread")]
async fn every_violation_is_told_once() {
    if uml().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (workloads, options) = (workloads(&["naive_config"]), options(&["ext4", "xfs"]));
    let (finished, events) = run_and_listen(&workloads, &options, directory.path()).await;
    for cell in &finished.report.cells {
        let mine = |event: &&Event| match event {
            Event::CellStarted { cell: id, .. } | Event::ViolationFound { cell: id, .. } => *id == cell.id,
            Event::CellFinished(finished) => finished.id == cell.id,
            _ => false,
        };
        let events: Vec<&Event> = events.iter().filter(mine).collect();
        let [Event::CellStarted { .. }, found @ .., Event::CellFinished(_)] = events.as_slice() else {
            panic!("{events:#?}")
        };
        let mut told: Vec<_> = found
            .iter()
            .filter_map(|event| match event {
                Event::ViolationFound { violation, .. } => Some(violation),
                _ => None,
            })
            .map(|violation| (&violation.path, violation.kind, &violation.invariant))
            .collect();
        told.sort();
        let mut reported: Vec<_> =
            cell.violations.iter().map(|violation| (&violation.path, violation.kind, &violation.invariant)).collect();
        reported.sort();
        assert_eq!(told, reported, "{}", cell.id);
        assert!(!told.is_empty(), "{}", cell.id);
    }
    assert!(!events.iter().any(|event| matches!(event, Event::RunFinished(_))), "the caller sends it, last of all");
}
