//! What the harness writes its own files with holds itself to what the harness asks of others.

use std::path::Path;

use report::{Durable, Verdict};
use workload::Workload;

use crate::support::{options, run, uml};

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_harness_are_replaced_atomically_and_durably() {
    if uml().is_none() {
        return;
    }
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../files/examples/atomic_replace_ours");
    let workload = Workload::load(&place).unwrap();
    let options = options(&["ext4", "ext4:noauto_da_alloc", "xfs", "btrfs"]);
    let directory = tempfile::tempdir().unwrap();
    let report = run(&[workload], &options, directory.path()).await.report;
    assert_eq!(report.cells.len(), 4);
    for cell in &report.cells {
        assert_eq!(cell.verdict(), Verdict::Pass, "{} {:?} {:?}", cell.id, cell.violations, cell.failure);
        assert_eq!(cell.durable_after_exit, Durable::Yes, "{} {:?}", cell.id, cell.notes);
        assert!(cell.exhaustive(), "{}", cell.id);
    }
}
