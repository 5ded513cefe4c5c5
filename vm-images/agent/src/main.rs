//! Runs as process 1 of the guest: replays traces, mounts, observes, reports.
fn main() {}
