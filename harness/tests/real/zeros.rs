//! Files that are long and hold next to nothing: databases allocate their logs ahead.

use std::time::{Duration, Instant};

use workload::Workload;

use crate::support::{options, run, uml};

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_zeros_and_a_log_that_is_filled_with_them_are_explored() {
    if uml().is_none() {
        return;
    }
    let workloads = [
        "fallocate -l 1G log && echo new | dd of=log bs=4096 seek=200000 conv=notrunc,fsync && echo done",
        "head -c 100663296 /dev/zero > log && sync log && echo new | dd of=log bs=4096 seek=7 conv=notrunc,fsync",
    ]
    .map(|script| {
        let directory = tempfile::tempdir().unwrap();
        let manifest = format!("command = ['sh', '-c', '{script}']\n");
        std::fs::write(directory.path().join("workload.toml"), manifest).unwrap();
        Workload::load(directory.path()).unwrap()
    });
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&["ext4"]);
    options.spec.budget.mounts = Some(4);
    let begun = Instant::now();
    let report = run(&workloads, &options, directory.path()).await.report;
    assert_eq!(report.cells.len(), 2);
    for cell in &report.cells {
        assert!(cell.failure.is_none(), "{} {:?}", cell.id, cell.failure);
        assert!(cell.crash_states.mounts >= 4, "{} {:?}", cell.id, cell.crash_states);
    }
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}
