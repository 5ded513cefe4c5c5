//! What the harness leaves out on file systems that overwrite in place has no crash states of its own.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod common;

use common::guests;
use oracle::compare::{executed, explored, outcomes_of, plain};
use oracle::program::{Op, Program};
use program::History;

/// Two files that are overwritten, synced, and overwritten again before the other is synced.
fn overwrites() -> Program {
    let first = Program::new().file("f", "O").file("g", "O").write_at("f", 0, "N");
    let f = first.last();
    let second = first.write_at("g", 0, "N").fsync().print("g");
    second.op(Op::Write { file: f, offset: 0, letter: 'P', length: 512 }).sync_path("f")
}

/// Three files that are overwritten, of which one is synced while another has been written back and the third has not. What is
/// renamed before and made after tells when there was a commit.
fn three() -> Program {
    let program = Program::new().file("f", "O").file("g", "O").file("k", "O").file("a", "A").rename("a", "b");
    let program = program.write_at("f", 0, "N").write_at("g", 0, "N");
    let g = program.last();
    let program = program.write_at("k", 0, "N").op(Op::Mkdir { path: "x".into() });
    program.op(Op::Fdatasync { file: g }).print("g")
}

fn schedules_that_are_left_out_add_no_outcome(program: &Program, kind: &str) {
    let Some(mut guests) = guests() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let trace = program.trace().unwrap();
    let all = plan::schedules(&trace, &History::new(&trace), 1);
    let filesystem = plain(kind);
    let fewer = executed(&filesystem, &trace, 1).len();
    assert!(fewer + 5 < all.len(), "{fewer} of {}", all.len());
    let of_all = runtime.block_on(outcomes_of(&mut guests, &filesystem, &trace, all, |_| false)).unwrap();
    let of_fewer = runtime.block_on(explored(&mut guests, &filesystem, &trace, 1, |_| false)).unwrap();
    eprintln!(
        "{} outcomes; {} executions and {} mounts, or {fewer} and {}",
        of_all.outcomes.len(),
        of_all.schedules,
        of_all.mounts,
        of_fewer.mounts
    );
    assert_eq!(of_all.outcomes, of_fewer.outcomes);
}

#[test]
fn of_two_files_on_ext4() {
    schedules_that_are_left_out_add_no_outcome(&overwrites(), "ext4");
}

#[test]
fn of_two_files_on_xfs() {
    schedules_that_are_left_out_add_no_outcome(&overwrites(), "xfs");
}

#[test]
fn of_three_files_on_ext4() {
    schedules_that_are_left_out_add_no_outcome(&three(), "ext4");
}

#[test]
fn of_three_files_on_xfs() {
    schedules_that_are_left_out_add_no_outcome(&three(), "xfs");
}
