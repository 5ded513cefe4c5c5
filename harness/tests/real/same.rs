//! A report does not depend on how many workers made it, nor on which of them was faster.

use engine::spec::Budget;
use engine::store::Store;
use report::Report;

use crate::support::{options, run, uml, workloads};

/// The report of a run with so many workers.
async fn report(workers: usize, budget: Budget) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let mut options = engine::run::Options { workers, ..options(&["ext4", "xfs"]) };
    options.spec.budget = budget;
    run(&workloads(&["naive_config_py", "overwrite_in_place"]), &options, directory.path()).await.report
}

/// They must not differ in a single byte; says where they do.
fn assert_same(one: &Report, other: &Report) {
    let [one, other] = [one, other].map(|report| serde_json::to_string_pretty(report).unwrap());
    let different = one.lines().zip(other.lines()).enumerate().find(|(_, (one, other))| one != other);
    assert!(one == other, "the first difference, with its line: {different:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_worker_and_with_four() {
    if uml().is_none() {
        return;
    }
    let one = report(1, Budget::default()).await;
    assert!(one.cells.iter().all(|cell| cell.exhaustive()));
    assert_same(&one, &report(4, Budget::default()).await);
}

/// A workload has the file system that it needs, whatever is run beside it.
#[tokio::test(flavor = "multi_thread")]
async fn beside_a_larger_workload() {
    if uml().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&["ext4"]);
    options.spec.budget = Budget { mounts: Some(3), time: None };
    options.spec.schedules = 0;
    // What is counted; the size of the disk, and where the guest wrote on it.
    let first = async |names: &[&str]| {
        let place = directory.path().join(names.len().to_string());
        let cell = run(&workloads(names), &options, &place).await.report.cells.remove(0);
        let store = Store::open(&place).unwrap();
        let kept = (0..2).filter_map(|schedule| store.execution(0, schedule).ok()).map(|execution| {
            let places = execution.log.writes.iter().map(|write| (write.sector, write.sectors()));
            (execution.start.sectors(), places.collect::<Vec<_>>())
        });
        (cell.crash_states, cell.violations.len(), cell.failure, kept.collect::<Vec<_>>())
    };
    let alone = first(&["naive_config_py"]).await;
    let beside = first(&["naive_config_py", "big_truncate_write"]).await;
    assert!(!alone.3.is_empty());
    assert_eq!(alone, beside);
}

/// A budget of mounts cuts at the same place, whoever does the work.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_budget_runs_out() {
    if uml().is_none() {
        return;
    }
    let budget = Budget { mounts: Some(30), time: None };
    let one = report(1, budget).await;
    assert!(one.cells.iter().all(|cell| cell.crash_states.mounts == 30 && !cell.exhaustive()));
    assert_same(&one, &report(4, budget).await);
}
