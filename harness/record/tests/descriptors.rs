//! The recorder in a process that may open few files: a test binary of its own, since that holds for a whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::face;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use record::exit_status;

#[test]
fn few_descriptors_are_enough_and_none_at_all_is_told() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let many_files = face(&["many-files"]);
    let starved = face(&["starve"]);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    many_files.expect_complete();
    assert_eq!(many_files.lines("write(").len(), 100, "{}", many_files.text());

    assert_eq!(exit_status(&starved.trace), Some(0), "{}", starved.text());
    let told = starved.trace.limits.iter().filter(|limit| limit.detail.contains("Too many open files"));
    // The write, and the first sync. The second one is seen again.
    assert_eq!(told.map(|limit| limit.count).sum::<u64>(), 2, "{}", starved.text());
    assert_eq!(starved.lines("fsync(").len(), 1, "{}", starved.text());
}
