//! What is written into a hole of the start state goes to new blocks, which no file system shows before they are written.

use checker::Kind;
use workload::Workload;

use crate::support::{options, run, uml};

/// Writes one block at the beginning of a file of zeros that `setup` makes.
fn workload(setup: &str) -> Workload {
    let directory = tempfile::tempdir().unwrap();
    let manifest = format!(
        "setup = ['sh', '-c', '{setup} && echo old | dd of=state bs=4096 seek=2 conv=notrunc']\n\
         command = ['sh', '-c', 'yes new | head -c 4096 | dd of=state bs=4096 iflag=fullblock conv=notrunc']\n"
    );
    std::fs::write(directory.path().join("workload.toml"), manifest).unwrap();
    Workload::load(directory.path()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_into_a_hole_is_not_torn_and_one_over_written_zeros_is() {
    if uml().is_none() {
        return;
    }
    let workloads = [workload("truncate -s 16384 state"), workload("head -c 16384 /dev/zero > state")];
    let directory = tempfile::tempdir().unwrap();
    let report = run(&workloads, &options(&["ext4", "xfs"]), directory.path()).await.report;
    let mut found = Vec::new();
    for cell in &report.cells {
        assert!(cell.exhaustive(), "{} {:?}", cell.id, cell.failure);
        found.push(cell.violations.iter().map(|violation| violation.kind).collect::<Vec<_>>());
    }
    assert_eq!(found, [vec![], vec![], vec![Kind::Mixed], vec![Kind::Mixed]]);
}
