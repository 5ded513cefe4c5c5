use explore::ExplorationUnit;
use program::{Call, Handle, Op, Trace};
use storage::{BlockLog, Queueing, WriteEntry};

use super::*;
use crate::execute::Execution;
use crate::judging;
use crate::subject::Bounds;
use plan::Plan;

/// A cell of one schedule, whose start state is there.
fn prepared(recovery_crashes: bool) -> Cell {
    prepared_with(recovery_crashes, Budget::default())
}

fn prepared_with(recovery_crashes: bool, budget: Budget) -> Cell {
    // O_WRONLY | O_CREAT: rules want something to change.
    let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
    let ops = vec![Op { call: open, syscall: "open".into(), result: 0, thread: 0 }];
    let trace = Trace { ops, ..Trace::default() };
    let mut subject = Subject::of("w".into(), vec![], trace, Bounds::default()).unwrap();
    subject.schedules.truncate(1);
    subject.all_schedules = 1;
    let filesystem = Filesystem::from(&filesystems::EXT4);
    let spec = RunSpec { budget, recovery_crashes, ..RunSpec::default() };
    let cell = Cell::new(0, Arc::new(subject), filesystem, &spec);
    assert!(matches!(cell.ask(), Ask::Job(Job::Prepare)));
    cell.prepared(Image::zeroed(1 << 16), "uml", "6.1");
    cell
}

/// A log of so many writes, each flushed; contents of its own.
fn log(writes: u32) -> BlockLog {
    let mut log = BlockLog::default();
    for covers in 1..=writes {
        let data = Arc::new(vec![7; storage::SECTOR]);
        log.writes.push(WriteEntry { sector: u64::from(covers), data, step: 0 });
        log.queueing.push(Queueing::default());
        log.entries.extend([storage::Entry::Write(covers - 1), storage::Entry::Flush { covers, available: 0 }]);
    }
    log
}

/// What a recovery clears is the same in thousands of them, and may be megabytes.
#[test]
fn what_recoveries_wrote_is_held_once() {
    let cell = prepared(true);
    let mut held: Vec<Arc<Vec<u8>>> = Vec::new();
    loop {
        match cell.ask() {
            Ask::Job(Job::Execute(schedule, base)) => {
                let plan = Plan::default();
                let execution = Execution { start: (*base).clone(), log: log(2) };
                cell.executed(Executed::new(schedule, plan, execution, &cell.model));
            }
            Ask::Job(Job::Enter(entries)) => {
                let entered = entries.into_iter().map(|entry| {
                    let unit = &entry.unit;
                    let class = unit.space();
                    let states = class.count();
                    let recovery = unit.recovery_crash.is_none().then(|| Recovery { class, log: log(1) });
                    if let Some(crash) = &unit.recovery_crash {
                        held.extend(crash.log.writes.iter().map(|write| write.data.clone()));
                    }
                    let answer = Answer { rest: vec![], violates: false, states, to_visit: entry };
                    Entered { answer, recovery }
                });
                let entered = entered.collect();
                cell.entered(entered, Tally::default());
            }
            Ask::Nothing => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(cell.result().failure, None);
    assert!(held.len() > 1, "{}", held.len());
    assert!(held.iter().all(|data| Arc::ptr_eq(data, &held[0])));
}

/// Of four writes of a sector each, none of them flushed, a crash leaves 16 states: 1 without a loss, 4 with one, 6 with two.
#[test]
fn what_is_whole_is_counted_by_losses() {
    let covered = |mounts: u64| {
        let cell = prepared_with(false, Budget { time: None, mounts: Some(mounts) });
        loop {
            match cell.ask() {
                Ask::Job(Job::Execute(schedule, base)) => {
                    let mut log = log(4);
                    log.entries.retain(|entry| matches!(entry, storage::Entry::Write(_)));
                    let plan = Plan::default();
                    let execution = Execution { start: (*base).clone(), log };
                    cell.executed(Executed::new(schedule, plan, execution, &cell.model));
                }
                Ask::Job(Job::Enter(entries)) => {
                    let mut tally = Tally::default();
                    let mut entered = Vec::new();
                    for entry in entries {
                        let unit = &entry.unit;
                        let mut fates = unit.space();
                        assert!(fates.settle_these(&entry.branch.prefix()));
                        // Recovery that reads all of them.
                        for write in 0..4 {
                            if fates.forced(write, 0).is_none() {
                                fates.settle(storage::Decision { write, unit: 0, survived: true });
                            }
                        }
                        let answer = judging::fold(&cell.subject, entry, (&fates, 0), &[], &mut tally);
                        entered.push(Entered { answer, recovery: None });
                    }
                    cell.entered(entered, tally);
                }
                Ask::Nothing => break,
                other => panic!("{other:?}"),
            }
        }
        let report = crate::cell_report::cell_report(&cell, &cell.result(), "run");
        let numbers = |reach: report::Reach| {
            assert_eq!(reach.executed, 1);
            let both = |losses: &report::Losses| (losses.covered.clone(), losses.allowed.clone());
            reach.by_losses.iter().map(both).collect::<Vec<_>>()
        };
        report.reach.map(numbers)
    };
    let expected =
        |counts: [u32; 3]| Some(counts.into_iter().zip([1u32, 4, 6]).map(|(a, b)| (a.into(), b.into())).collect());
    assert_eq!(covered(1), expected([1, 0, 0]));
    assert_eq!(covered(4), expected([1, 3, 0]));
    assert_eq!(covered(5), expected([1, 4, 0]));
    assert_eq!(covered(13), expected([1, 4, 6]));
    assert_eq!(covered(99), None, "all are covered");
}
