use disk::{BlockLog, Queueing, WriteEntry};
use trace::{Call, Handle, Op, Trace, Tree};

use super::*;
use crate::replay::Replay;
use crate::schedule::Plan;
use crate::subject::Bounds;

/// A cell of one schedule, whose start state is there.
fn prepared(recovery_crashes: bool) -> Cell {
    // O_WRONLY | O_CREAT: rules want something to change.
    let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
    let ops = vec![Op { call: open, syscall: "open".into(), result: 0, thread: 0 }];
    let (before, after) = (Tree::default(), Tree::default());
    let trace =
        Trace { command: vec![], before, holes: Default::default(), ops, after, limits: vec![], outside: vec![] };
    let subject = Subject::of("w".into(), vec![], trace, Bounds { injections: 0, seed: 0 }).unwrap();
    assert_eq!(subject.schedules.len(), 1);
    let filesystem = Filesystem { kind: "ext4".into(), options: String::new() };
    let (model, budget) = (DiskModel::default(), Budget::default());
    let cell = Cell::new(0, Arc::new(subject), filesystem, model, budget, recovery_crashes, 0);
    assert!(matches!(cell.ask(), Ask::Job(Job::Prepare)));
    cell.prepared(Image::zeroed(1 << 16), "uml", "6.1");
    cell
}

/// A log of so many writes, each flushed; contents of its own.
fn log(writes: u32) -> BlockLog {
    let mut log = BlockLog::default();
    for covers in 1..=writes {
        let data = Arc::new(vec![7; disk::SECTOR]);
        log.writes.push(WriteEntry { sector: u64::from(covers), data, step: 0 });
        log.queueing.push(Queueing::default());
        log.entries.extend([disk::Entry::Write(covers - 1), disk::Entry::Flush { covers, available: 0 }]);
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
            Ask::Job(Job::Replay(schedule, base)) => {
                let plan = Plan::default();
                let replay = Replay { start: (*base).clone(), log: log(2) };
                cell.replayed(Replayed::new(schedule, plan, replay, &cell.model));
            }
            Ask::Job(Job::Enter(entries)) => {
                let entered = entries.into_iter().map(|entry| {
                    let unit = &entry.unit;
                    let first = Arc::new(unit.replayed.layers(unit.epoch, cell.model));
                    let class = unit.layers(&first).fates();
                    let states = class.count();
                    let recovery = unit.again.is_none().then(|| Recovery { class, log: log(1) });
                    if let Some(again) = &unit.again {
                        held.extend(again.log.writes.iter().map(|write| write.data.clone()));
                    }
                    Entered { rest: vec![], violates: false, states, recovery, entry }
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
