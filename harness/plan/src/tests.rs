//! Which schedules there are, as people read them.

use program::{Call, History, Trace};
use protocol::Step;

use crate::injections::injections;
use crate::pool::choices;
use crate::*;

#[test]
fn choices_hold_as_many_as_asked() {
    assert_eq!(choices(0..3, 0), [Vec::<usize>::new()]);
    assert_eq!(choices(0..3, 1), [vec![0], vec![1], vec![2]]);
    assert_eq!(choices(0..3, 2), [vec![0, 1], vec![0, 2], vec![1, 2]]);
}

fn trace_of(calls: Vec<Call>) -> Trace {
    let op = |call| program::Op { call, syscall: String::new(), result: 0, thread: 0 };
    let (before, after) = (program::Tree::default(), program::Tree::default());
    let ops = calls.into_iter().map(op).collect();
    Trace { before, ops, after, ..Trace::default() }
}

/// What the schedules without injections are called, for a program that makes these calls.
fn endings_of(calls: Vec<Call>) -> Vec<String> {
    let trace = trace_of(calls);
    let all = schedules(&trace, &History::new(&trace), 0);
    all.iter().filter(|schedule| schedule.injected() == 0).map(Schedule::text).collect()
}

fn save(number: u32, name: &str, length: usize) -> [Call; 2] {
    let handle = program::Handle(number);
    let open = Call::Open { handle, path: name.into(), flags: 0o101, mode: 0o644 };
    [open, Call::Write { handle, offset: 0, data: std::sync::Arc::new(vec![1; length]), flags: 0 }]
}

/// Three files, one of them renamed over another; that has so many bytes.
pub(crate) fn three_saves(length: usize) -> (Trace, History) {
    let rename = Call::Rename { from: "a".into(), to: "b".into(), flags: 0 };
    let trace = trace_of([&save(0, "b", 1)[..], &save(1, "a", length), &[rename], &save(2, "c", 1)].concat());
    let history = History::new(&trace);
    (trace, history)
}

fn injected(calls: Vec<Call>) -> String {
    let trace = trace_of(calls);
    let all = schedules(&trace, &History::new(&trace), 1);
    let first = all[0].ending;
    let texts = all.iter().filter(|schedule| schedule.ending == first && schedule.injected() > 0);
    let text = |schedule: &Schedule| schedule.text().rsplit_once("; ").unwrap().0.to_owned();
    texts.map(text).collect::<Vec<_>>().join("\n")
}

/// "The machine idled here", and "somebody else synced here", each as one event.
#[test]
fn what_can_happen_once() {
    let handle = program::Handle(0);
    let calls = [&save(0, "f", 5000)[..], &[Call::Fsync { handle }]].concat();
    insta::assert_snapshot!(injected(calls), @"
    no inode looked at before
    all within one tick of the clock
    commit after op 0
    commit after op 1
    writeback of f (still under way), commit after op 1
    writeback of f, commit after op 1
    writeback of f up to byte 4,096, commit after op 1
    writeback of f from byte 4,096, commit after op 1
    commit while op 2 waits for the disk
    ");
}

/// One file by itself, each by itself, and all at once.
#[test]
fn files_are_written_back_by_themselves_and_together() {
    let calls = [save(0, "f", 1), save(1, "g", 1)].concat();
    let all = injected(calls);
    let after_last: Vec<&str> = all.lines().filter(|line| line.ends_with("after op 3")).collect();
    insta::assert_snapshot!(after_last.join("\n"), @"
    writeback of f (still under way), commit after op 3
    writeback of f, commit after op 3
    writeback of g (still under way), commit after op 3
    writeback of g, commit after op 3
    writeback of f (still under way), writeback of g (still under way), commit after op 3
    ");
}

/// Work that the program's own commit overtakes, since it syncs something else next.
#[test]
fn what_is_under_way_may_be_passed_by_a_sync() {
    let handle = program::Handle(1);
    let calls = [&save(0, "f", 1)[..], &save(1, "g", 1), &[Call::Fsync { handle }]].concat();
    let all = injected(calls);
    let without_commit: Vec<&str> = all.lines().filter(|line| !line.contains("commit")).skip(2).collect();
    insta::assert_snapshot!(without_commit.join("\n"), @"
    writeback of f (still under way) after op 1
    writeback of f after op 1
    writeback of f (still under way) after op 3
    writeback of f after op 3
    writeback of f (still under way), writeback of g (still under way) after op 3
    writeback of f, writeback of g after op 3
    ");
}

/// 500 lines that a program prints before it saves, and files that it only reads, add nothing; nor do they keep what
/// happens after the last change from being the last.
#[test]
fn what_changes_nothing_is_no_place() {
    let handle = program::Handle(9);
    let print = Call::Ack { channel: program::Channel::Stdout, data: b"hello\n".to_vec() };
    let read =
        [Call::Open { handle, path: program::RelPath::root(), flags: 0o200000, mode: 0 }, Call::Close { handle }];
    let quiet = save(0, "f", 5000).to_vec();
    let chatty = [&vec![print; 500], &quiet[..1], &read, &quiet[1..], &read, &[Call::Exit { status: 0 }]].concat();
    let count = |calls: Vec<Call>| {
        let trace = trace_of(calls);
        schedule_count(&trace, &History::new(&trace), 1)
    };
    assert_eq!(count(chatty), count(quiet));
}

/// A log to which 200 records are appended is no 200 places.
#[test]
fn a_long_run_of_writes_is_a_few_places() {
    let handle = program::Handle(0);
    let append = |index: u64| {
        let data = std::sync::Arc::new(b"a record\n".to_vec());
        Call::Write { handle, offset: 9 * index, data, flags: 0 }
    };
    let all = |count: u64| {
        let trace = trace_of(save(0, "log", 0)[..1].iter().cloned().chain((0..count).map(append)).collect());
        places::places(&trace, &History::new(&trace)).iter().filter(|place| **place).count()
    };
    assert_eq!([all(1), all(6), all(7), all(200)], [2, 7, 6, 6]);
}

/// What an op waits for is not there yet when the commit comes.
#[test]
fn a_commit_comes_while_an_op_waits() {
    let (trace, history) = {
        let trace = trace_of([&save(0, "f", 1)[..], &[Call::Fsync { handle: program::Handle(0) }]].concat());
        let history = History::new(&trace);
        (trace, history)
    };
    let all = schedules(&trace, &history, 1);
    let during = Injection { op: 2, event: Event::CommitDuring };
    let found = all.iter().find(|schedule| schedule.injections == [during.clone()]).unwrap();
    let steps = found.plan(&trace, &history).steps;
    assert_eq!(steps, [Step::Call(0), Step::Call(1), Step::CallWithCommit(2), Step::Commit]);
}

#[test]
fn as_many_as_are_counted() {
    let check = |(trace, history): (Trace, History), bound: u32| {
        let count = schedule_count(&trace, &history, bound);
        assert_eq!(count, schedules(&trace, &history, bound).len() as u64, "{bound}");
    };
    for bound in [0, 1, 2] {
        check(three_saves(1), bound);
        check(three_saves(5000), bound);
    }
    let trace = trace_of(save(0, "f", 1).to_vec());
    let history = History::new(&trace);
    assert_eq!(injections(&trace, &history).len(), 2);
    check((trace, history), 4_000_000_000);
}

#[test]
fn without_dirty_data_nothing_is_written_back_at_the_end() {
    let handle = program::Handle(0);
    // O_WRONLY | O_CREAT
    let open = Call::Open { handle, path: "f".into(), flags: 0o101, mode: 0o644 };
    let write = Call::Write { handle, offset: 0, data: std::sync::Arc::new(vec![1]), flags: 0 };
    let dirty = vec![open, write];
    let clean = [dirty.clone(), vec![Call::Fsync { handle }]].concat();
    assert_eq!(endings_of(clean), ["commit at the end"]);
    assert_eq!(endings_of(dirty), ["commit, then writeback at the end", "writeback, then commit at the end"]);
}
