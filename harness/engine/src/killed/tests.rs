use checker::{Kind, Wanted};
use program::{Call, Handle, Target, Trace};
use report::Verdict;

use super::*;
use crate::subject::Bounds;
use crate::targets::process::tests::{CREATE, TRUNCATE, open, rename, saved, trace_of, write};

fn judge_unless(stop: bool, trace: Trace, wanted: Vec<Wanted>) -> Option<ProcessReport> {
    let subject = Subject::of("test".into(), wanted, trace, Bounds::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(process_crash(&subject, false, &AtomicBool::new(stop)))
}

fn judge(trace: Trace) -> ProcessReport {
    judge_unless(false, trace, vec![]).unwrap()
}

fn wrong(report: &ProcessReport) -> Vec<(Kind, u64, Option<usize>, Option<u64>)> {
    let of = |violation: &ProcessViolation| {
        let op = violation.killed.op.map(|op| op.0);
        (violation.kind, violation.states, op, violation.killed.written)
    };
    report.violations.iter().map(of).collect()
}

/// Not a report on some of the points, which could not be told from one on all.
#[test]
fn nothing_is_said_after_a_stop() {
    assert_eq!(judge_unless(true, trace_of(vec![open(0, "config", TRUNCATE)]), vec![]), None);
}

#[test]
fn a_file_that_is_overwritten_is_empty_for_a_while_and_then_half_written() {
    let trace = trace_of(vec![open(0, "config", TRUNCATE), write(0, 0, &[b'n'; 9000]), Call::Exit { status: 0 }]);
    let report = judge(trace);
    assert_eq!(report.verdict(), Verdict::Violation);
    // Before the first op, after each of three, and two inside the write.
    assert_eq!(report.states, 6);
    let empty = (Kind::Empty, 1, Some(0), None);
    assert_eq!(wrong(&report), [empty, (Kind::WrongLength, 2, Some(1), Some(4096))]);
}

#[test]
fn a_kernel_that_lives_needs_no_fsync() {
    let calls = vec![open(0, "new", CREATE), write(0, 0, &[b'n'; 9000]), rename("new", "config"), saved()];
    let report = judge(trace_of(calls));
    assert_eq!((report.verdict(), report.states), (Verdict::Pass, 7));
}

#[test]
fn what_lies_in_a_buffer_is_lost() {
    // The write comes when the program ends: after the rename, and after the promise.
    let calls = vec![open(0, "new", CREATE), rename("new", "config"), saved(), write(0, 0, b"new")];
    let report = judge(trace_of(calls));
    assert_eq!(wrong(&report), [(Kind::Empty, 2, Some(1), None)]);
    assert_eq!(report.violations[0].acks, [], "the first of both points is before the promise");
}

#[test]
fn what_failed_did_nothing() {
    let mut trace = trace_of(vec![open(0, "config", TRUNCATE), open(1, "other", CREATE)]);
    trace.ops[0].result = -13;
    assert_eq!(judge(trace).verdict(), Verdict::Pass);
}

#[test]
fn what_cannot_be_followed_is_not_judged() {
    let report = judge(trace_of(vec![open(0, "config", TRUNCATE), rename("nothing", "config"), saved()]));
    assert_eq!((report.verdict(), report.states), (Verdict::Invalid, 2));
    let failure = report.failure.unwrap();
    assert!(failure.starts_with("op 1 cannot be followed: rename nothing to config: "), "{failure}");
}

#[test]
fn a_group_that_the_program_sets_is_preserved() {
    let chown = Call::Chown { target: Target::Handle(Handle(0)), uid: u32::MAX, gid: 100 };
    let calls = vec![open(0, "new", CREATE), write(0, 0, b"new"), chown, rename("new", "config")];
    let mut trace = trace_of(calls);
    for node in trace.before.0.values_mut() {
        (node.uid, node.gid) = (1000, 1000);
    }
    trace.before.0.get_mut(&"config".into()).unwrap().gid = 100;
    let report = judge_unless(false, trace, vec![Wanted::MetadataPreserved { path: "config".into() }]).unwrap();
    assert_eq!((report.verdict(), wrong(&report)), (Verdict::Pass, vec![]));
}

#[test]
fn set_id_bits_that_the_kernel_clears_are_no_pass() {
    let mut trace = trace_of(vec![open(0, "config", 1), write(0, 0, b"new"), Call::Exit { status: 0 }]);
    trace.before.0.get_mut(&"config".into()).unwrap().mode = 0o4755;
    trace.after = trace.before.clone();
    trace.after.0.get_mut(&"config".into()).unwrap().mode = 0o755;
    let judge = |wanted| judge_unless(false, trace.clone(), vec![wanted]).unwrap();
    let preserved = judge(Wanted::MetadataPreserved { path: "config".into() });
    assert_eq!((preserved.verdict(), preserved.unmodelled_calls.len()), (Verdict::Invalid, 1));
    let other = judge(Wanted::PrefixOfHistory { path: "config".into() });
    assert_eq!((other.verdict(), other.unmodelled_calls.len(), other.notes.len()), (Verdict::Pass, 0, 1));
}
