use crate::subject::Bounds;
use checker::Wanted;
use program::{Channel, Handle, Op, Target};
use proptest::prelude::*;
use report::Verdict;

use super::*;

const CREATE: u32 = 0o101;
const TRUNCATE: u32 = 0o1101;

fn open(handle: u32, path: &str, flags: u32) -> Call {
    Call::Open { handle: Handle(handle), path: path.into(), flags, mode: 0o644 }
}

fn write(handle: u32, offset: u64, data: &[u8]) -> Call {
    Call::Write { handle: Handle(handle), offset, data: Arc::new(data.to_vec()), flags: 0 }
}

fn rename(from: &str, to: &str) -> Call {
    Call::Rename { from: from.into(), to: to.into(), flags: 0 }
}

fn saved() -> Call {
    Call::Ack { channel: Channel::Stdout, data: b"saved".to_vec() }
}

/// A trace that starts with `config`, which holds "old".
fn trace_of(calls: Vec<Call>) -> Trace {
    let node = |kind, inode| Node { kind, mode: 0o644, uid: 0, gid: 0, inode, xattrs: BTreeMap::new() };
    let mut before = Tree::default();
    before.0.insert(RelPath::root(), node(program::Kind::Directory, 1));
    before.0.insert("config".into(), node(program::Kind::File(Arc::new(b"old".to_vec())), 2));
    let op = |call| Op { call, syscall: "test".into(), result: 0, thread: 0 };
    let ops = calls.into_iter().map(op).collect();
    Trace {
        command: vec![],
        before,
        holes: Default::default(),
        ops,
        after: Tree::default(),
        limits: vec![],
        outside: vec![],
        refused: vec![],
    }
}

fn judge_unless(stop: bool, trace: Trace, wanted: Vec<Wanted>) -> Option<ProcessReport> {
    process_crash(&Subject::of("test".into(), wanted, trace, Bounds::default()).unwrap(), false, &AtomicBool::new(stop))
}

fn judge(trace: Trace) -> ProcessReport {
    judge_unless(false, trace, vec![]).unwrap()
}

fn wrong(report: &ProcessReport) -> Vec<(Kind, u64, Option<usize>, Option<u64>)> {
    let of = |violation: &ProcessViolation| {
        let op = violation.killed.op.as_ref().map(|op| op.index);
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
    let killed = report.violations[1].killed.to_string();
    assert!(killed.starts_with("4,096 bytes into op 1: "), "{killed}");
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
    assert_eq!(report.violations[0].acks, Vec::<String>::new(), "the first of both points is before the promise");
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
    assert_eq!((preserved.verdict(), preserved.limits.len()), (Verdict::Invalid, 1));
    let other = judge(Wanted::PrefixOfHistory { path: "config".into() });
    assert_eq!((other.verdict(), other.limits.len(), other.notes.len()), (Verdict::Pass, 0, 1));
}

#[test]
fn a_copy_is_cut_like_a_write() {
    let source: Vec<u8> = (0..9_100u32).map(|byte| (byte % 251) as u8).collect();
    let copy = Call::CopyRange { from: Handle(0), from_offset: 100, to: Handle(1), to_offset: 0, length: 9_000 };
    let calls = vec![open(0, "staged", CREATE), write(0, 0, &source), open(1, "config", 1), copy];
    let mut states = Vec::new();
    points(&trace_of(calls), |point, tree| {
        if point.begun() == 4 {
            states.push((point.written, tree.file(&"config".into()).unwrap().to_vec()));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    let copied = |bytes: usize| source[100..100 + bytes].to_vec();
    let expected = [(Some(4096), copied(4096)), (Some(8192), copied(8192)), (None, copied(9000))];
    assert_eq!(states, expected);
}

proptest! {
    /// Cuts lie inside the write, at ends of pages of the file, and none is left out.
    #[test]
    fn writes_are_cut_at_pages(offset in 0u64..20_000, length in 0u64..20_000) {
        let expected: Vec<u64> = (1..length).filter(|written| (offset + written) % PAGE == 0).collect();
        prop_assert_eq!(cuts(offset, length).collect::<Vec<_>>(), expected);
    }

    /// A write that is cut leaves its beginning over what was there.
    #[test]
    fn a_cut_write_is_the_write_of_its_beginning(old in 0usize..12_000, offset in 0usize..9_000, length in 1usize..12_000) {
        let data = vec![b'n'; length];
        let calls = vec![open(0, "f", CREATE), write(0, 0, &vec![b'o'; old]), write(0, offset as u64, &data)];
        let mut found = Vec::new();
        points(&trace_of(calls), |point, tree| {
            if point.ended == 2 {
                found.push((point.written.unwrap_or(0) as usize, tree.file(&"f".into()).unwrap().to_vec()));
            }
            ControlFlow::Continue(())
        }).unwrap();
        prop_assert_eq!(found.len(), 1 + cuts(offset as u64, length as u64).count());
        for (written, content) in found {
            let mut expected = vec![b'o'; old];
            if written > 0 {
                expected.resize(old.max(offset + written), 0);
                expected[offset..offset + written].fill(b'n');
            }
            prop_assert_eq!(content, expected);
        }
    }
}
