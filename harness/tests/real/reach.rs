//! Files that come from outside the recorded directory, and runs of which only the end is explored.

use checker::Kind;
use report::CellReport;
use workload::Workload;

use crate::support::{options, run, uml};

fn workload(name: &str, manifest: &str) -> Workload {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("workload.toml"), manifest).unwrap();
    Workload { name: name.into(), ..Workload::load(directory.path()).unwrap() }
}

fn kinds(cell: &CellReport) -> Vec<Kind> {
    assert!(cell.exhaustive(), "{} {:?}", cell.id, cell.failure);
    cell.violations.iter().map(|violation| violation.kind).collect()
}

/// `mktemp` beside the directory, and `mv` into it: what a crash leaves depends on whether the data were synced out there.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_outside_is_as_durable_as_it_was_there() {
    if uml().is_none() {
        return;
    }
    let moved = |name: &str, sync: &str| {
        let script = format!("t=$(mktemp {{run}}.XXXXXX) && echo new > $t && {sync} mv $t data && sync .");
        workload(name, &format!("setup = ['sh', '-c', 'echo old > data']\ncommand = ['sh', '-c', '{script}']\n"))
    };
    let tree = "mkdir {run}.new && echo one > {run}.new/one && echo two > {run}.new/two && sync {run}.new/* \
                && mv {run}.new new && mv old {run}.old && sync . && rm -r {run}.old";
    let tree = format!("setup = ['sh', '-c', 'mkdir old && echo old > old/one']\ncommand = ['sh', '-c', '{tree}']\n");
    let workloads = [moved("unsynced", ""), moved("synced", "sync $t &&"), workload("tree", &tree)];
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads, &options(&["ext4", "xfs"]), directory.path()).await.report;
    let found: Vec<Vec<Kind>> = report.cells.iter().map(kinds).collect();
    assert_eq!(found, [vec![Kind::ZeroFilled], vec![Kind::Empty], vec![], vec![], vec![], vec![]]);
    // The directory was synced.
    assert!(report.cells[2..4].iter().all(|cell| cell.not_durable.is_empty()), "{:?}", report.cells[2].not_durable);
}

/// What comes before is executed as it was, and what it left volatile may be lost; but no crash comes so early.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_end_is_explored() {
    if uml().is_none() {
        return;
    }
    let manifest = |begin: &str| {
        format!(
            "setup = ['sh', '-c', 'echo old > data']\n\
             command = ['sh', '-c', 'echo between > data; {begin} echo ready; echo new > data.new; sync data.new; mv data.new data']\n"
        )
    };
    let from = "explore-from = { ack = 'ready' }\n";
    let workloads = [
        workload("all", &manifest("sync data;")),
        workload("end", &format!("{from}{}", manifest("sync data;"))),
        // Nobody has synced it by then.
        workload("volatile", &format!("{from}{}", manifest(""))),
    ];
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads, &options(&["ext4"]), directory.path()).await.report;
    let found: Vec<Vec<Kind>> = report.cells.iter().map(kinds).collect();
    assert_eq!(found[1], []);
    assert!(found[0].contains(&Kind::Empty) && !found[2].is_empty(), "{found:?}");
    assert!(report.cells[1].crash_states.mounts < report.cells[0].crash_states.mounts);
}
