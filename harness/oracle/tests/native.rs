//! The native oracle: that it sees what it is for, and that the explorer has what it sees.
//!
//! Needs root, FUSE and loop devices; the comparison needs User Mode Linux too.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::guests;
use oracle::compare::{explored, missing, plain};
use oracle::fresh::KINDS;
use oracle::known::{is_known, known_litmus};
use oracle::litmus::table;
use oracle::log::Event;
use oracle::native::{Effort, Outcome, Workshop, lacking, look, run, shows};
use oracle::program::{Background, Program, Step};
use oracle::random;
use testkit::Need;

fn workshop() -> Option<Workshop> {
    testkit::given(Need::Native, lacking().map_or(Ok(()), Err))?;
    Some(Workshop::open(Path::new(env!("CARGO_BIN_EXE_oracle"))).unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// What the whole oracle stands on: while a data write waits for its answer, a commit writes, flushes and ends.
#[test]
fn a_held_data_write_blocks_neither_a_commit_nor_its_flush() {
    let Some(workshop) = workshop() else { return };
    let program = Program::new().file("f", "O").hold().write("t", "NN").rename("t", "f").commit();
    for kind in ["ext4", "btrfs"] {
        // On a busy host writeback may begin only after the commit: then the run shows nothing.
        let shown = (0..TRIES).any(|_| {
            let run = run(&workshop, kind, &program).unwrap();
            assert!(run.device.contains("loop/dio 1, queue/write_cache write back"), "{}", run.device);
            let place = |wanted: &dyn Fn(&Event) -> bool| run.log.events.iter().position(wanted);
            let data =
                place(&|event| matches!(event, Event::Begun(write) if run.log.writes[*write].letter() == Some('N')));
            let commit = program.steps.iter().position(|step| *step == Step::Background(Background::Commit)).unwrap();
            let begun = place(&|event| *event == Event::StepBegun(commit)).unwrap();
            let ended = place(&|event| *event == Event::StepDone(commit)).unwrap();
            let during = &run.log.events[begun..ended];
            let answered = during.iter().any(|event| matches!(event, Event::Done(_)));
            let flushed = during.iter().any(|event| matches!(event, Event::FlushDone(_)));
            data.is_some_and(|data| data < begun) && run.passed[commit] && answered && flushed
        });
        assert!(shown, "{kind}: the data were under way all the time, while a commit wrote, flushed and ended");
    }
}

/// How often a native run is repeated that shows nothing by chance.
const TRIES: u32 = 8;

/// Where nothing is held, the same program leaves no zeros: the disk adds nothing of its own.
#[test]
fn without_the_overtaking_there_are_no_zeros() {
    let Some(workshop) = workshop() else { return };
    let program = Program::new().file("f", "O").write("t", "NN").rename("t", "f").commit();
    let run = run(&workshop, "ext4", &program).unwrap();
    let found = look(&workshop, "ext4", &program, &run, Effort::default()).unwrap();
    let trees: Vec<&str> = found.outcomes.keys().map(|outcome| outcome.tree.as_str()).collect();
    assert_eq!(trees, ["{f:NN}", "{f:O}"]);
}

/// Every state of the table shows on a native mount.
#[test]
fn litmus_states_show_natively() {
    let Some(workshop) = workshop() else { return };
    let mut wrong = Vec::new();
    for litmus in table().iter().filter(|litmus| litmus.is_native()) {
        // This machine's kernel may know no other file system.
        for wanted in litmus.wanted.iter().filter(|wanted| KINDS.contains(&wanted.kind)) {
            if shows(&workshop, wanted.kind, &litmus.program, &wanted.outcome, litmus.tries).unwrap().is_none() {
                wrong.push(format!("{} on {}: {}", litmus.number, wanted.kind, wanted.outcome));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Every state of the table is found by the explorer by default, or its number is among those that are known.
#[test]
fn litmus_states_are_the_explorers() {
    let Some(mut guests) = guests() else { return };
    let runtime = runtime();
    let (mut wrong, mut found) = (Vec::new(), Vec::new());
    for litmus in table() {
        let trace = litmus.program.trace().unwrap();
        for wanted in &litmus.wanted {
            let there = |outcomes: &BTreeSet<Outcome>| outcomes.contains(&wanted.outcome);
            let filesystem = plain(wanted.kind);
            let explored = explored(&mut guests, &filesystem, &trace, 1, there);
            let explored = runtime.block_on(explored).unwrap();
            let name = format!("{} on {}: {}", litmus.number, wanted.kind, wanted.outcome);
            match (there(&explored.outcomes), known_litmus(litmus.number)) {
                (false, None) => wrong.push(name),
                (false, Some(reason)) => eprintln!("known to be missing: {name}: {reason}"),
                (true, _) => found.push(name),
            }
        }
    }
    eprintln!("found: {found:?}");
    assert_eq!(wrong, Vec::<String>::new());
}

/// How many random programs are compared on each file system.
const PROGRAMS: u64 = 10;

/// Every native outcome of random programs is among the explorer's, at the bound that the program's background work needs.
fn native_outcomes_are_the_explorers(kind: &str) {
    let (Some(workshop), Some(mut guests)) = (workshop(), guests()) else { return };
    let runtime = runtime();
    let (mut wrong, mut count, mut mounts, mut executions) = (Vec::new(), 0, 0, 0);
    let number = KINDS.iter().position(|known| *known == kind).unwrap() as u64;
    for seed in (0..PROGRAMS).map(|index| 3 * index + number) {
        let program = random::program(seed);
        let run = run(&workshop, kind, &program).unwrap();
        let native = look(&workshop, kind, &program, &run, Effort::SMALL).unwrap();
        let all = |found: &BTreeSet<Outcome>| missing(&native.outcomes, found).is_empty();
        // Fewer than the default would be no measure.
        let bound = (program.background_events() - random::ENDING).max(1) as u32;
        let explored =
            runtime.block_on(explored(&mut guests, &plain(kind), &program.trace().unwrap(), bound, all)).unwrap();
        count += native.outcomes.len();
        mounts += native.mounts;
        executions += explored.schedules;
        for (outcome, witness) in missing(&native.outcomes, &explored.outcomes) {
            let text = format!("seed {seed} on {kind}: {outcome} (lost {:?}): {program}", witness.lost);
            match is_known(seed, kind) {
                Some(reason) => eprintln!("known to be missing: {text}: {reason}"),
                None => wrong.push(text),
            }
        }
    }
    eprintln!("{kind}: {PROGRAMS} programs, {count} native outcomes in {mounts} mounts, {executions} executions");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn native_outcomes_on_ext4_are_the_explorers() {
    native_outcomes_are_the_explorers("ext4");
}

#[test]
fn native_outcomes_on_xfs_are_the_explorers() {
    native_outcomes_are_the_explorers("xfs");
}

#[test]
fn native_outcomes_on_btrfs_are_the_explorers() {
    native_outcomes_are_the_explorers("btrfs");
}
