//! Programs that draw random names for temporary files are recorded the same each time.

use harness::subject::Bounds;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use harness::subject::Subject;

use crate::support::workloads;

#[test]
fn two_recordings_are_the_same() {
    for workload in workloads(&["tempfile_no_sync", "fsync_replace_py"]) {
        let record = || Subject::record(&workload, Bounds::default(), &Arc::new(AtomicBool::new(false))).unwrap().trace;
        let (first, second) = (record(), record());
        assert_eq!(record::numbered(&first).len(), 1, "{}", workload.name);
        assert_eq!(trace::listing(&first), trace::listing(&second));
        assert!(first.to_bytes() == second.to_bytes(), "{}: as the listings say, but not in every byte", workload.name);
    }
}
