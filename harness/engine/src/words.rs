//! Puts what a cell came to into a report: names, texts, tokens.

use std::sync::Arc;

use checker::{Ack, CrashWindow, Invariant, describe, reason};
use num_bigint::BigUint;
use program::{Call, RelPath, Trace, thousands};
use report::{
    CellReport, CrashStates, Losses, OpRef, Promised, Reach, Schedules, ViolationReport, WriteRef, durable_after_exit,
};
use storage::{State, WriteEntry};

use crate::cell::{Cell, CellResult, Seen};
use crate::label::{Data, place};
use crate::subject::Subject;
use crate::tally::{Example, FoundAt, Violation, ViolationKey};
use crate::token::Token;
use crate::unit::{Executed, Unit, short};
use crate::window::begun_latest;
use plan::{Origin, Plan};

/// The report of a cell; `run` is the run's hash.
pub fn cell_report(cell: &Cell, result: &CellResult, run: &str) -> CellReport {
    let subject = &cell.subject;
    let total = subject.all_schedules;
    let exit = |key: &ViolationKey| match key.invariant {
        Invariant::DurableAfter(checker::Ack::Exit) => true,
        Invariant::Mountable => !key.informational,
        _ => false,
    };
    let judged = result.failure.is_none() && subject.limits().is_empty();
    let complete = judged && result.explored == total;
    let lost = judged && result.tally.violations.keys().any(exit);
    let mut report = CellReport {
        id: cell.id.clone(),
        vm: result.machine.as_ref().map_or_else(String::new, |(vm, _)| vm.clone()),
        kernel: result.machine.as_ref().map_or_else(String::new, |(_, kernel)| kernel.clone()),
        schedules: Schedules { explored: result.explored, new: result.new, total },
        crash_states: CrashStates {
            allowed: result.tally.allowed.clone(),
            covered: result.tally.covered.clone(),
            mounts: result.tally.visits,
        },
        reach: None,
        durable_after_exit: durable_after_exit(lost, complete && subject.rules.has_exit()),
        violations: Vec::new(),
        not_durable: Vec::new(),
        weaknesses: Vec::new(),
        warnings: Vec::new(),
        limits: subject.limits().to_vec(),
        failure: result.failure.clone(),
        notes: notes(cell, result),
    };
    if report.crash_states.allowed != BigUint::ZERO && !report.exhaustive() {
        report.reach = Some(reach(result));
    }
    for (key, violation) in &result.tally.violations {
        let unit = result.units.get(&violation.example.place.unit);
        let seen = result.seen.get(key);
        let text = violation_report(cell, unit.map(Arc::as_ref), key, violation, seen, run);
        match (key.informational, &key.invariant) {
            (false, _) => report.violations.push(text),
            (true, Invariant::Mountable) => report.weaknesses.push(text),
            (true, Invariant::NoLeftovers) => report.warnings.push(text),
            (true, _) => report.not_durable.push(text),
        }
    }
    report
}

fn reach(result: &CellResult) -> Reach {
    let counts = result.tally.allowed_by_losses.iter().zip(&result.tally.covered_by_losses);
    let losses = |(writes, (allowed, covered)): (u32, (&BigUint, &BigUint))| Losses {
        writes,
        allowed: allowed.clone(),
        covered: covered.clone(),
    };
    Reach { executed: result.executed, by_losses: (0..).zip(counts).map(losses).collect() }
}

fn notes(cell: &Cell, result: &CellResult) -> Vec<String> {
    let mut notes = Vec::new();
    if result.spent {
        let allowed = "the states of schedules that were not begun are not counted";
        notes.push(format!("the budget ran out ({allowed}): raise --budget"));
    }
    let Subject { schedules, all_schedules, .. } = &*cell.subject;
    if (schedules.len() as u64) < *all_schedules {
        let (some, all) = (thousands(schedules.len() as u64), thousands(*all_schedules));
        notes.push(format!(
            "there are {all} schedules; {some} of them were chosen, by chance (--seed) beyond the single injections"
        ));
    }
    notes.extend(shifts(&cell.subject.trace));
    notes.extend(notes_on(&cell.subject));
    notes
}

/// FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE (include/uapi/linux/falloc.h).
const SHIFTS: u32 = 0x08 | 0x20;

/// What is not covered of ops that move the extents of a file one after the other, each in a transaction of its own
/// (fs/xfs/xfs_bmap_util.c, `xfs_collapse_file_space`; on ext4, too, where there are many: fs/ext4/extents.c,
/// `ext4_ext_shift_extents`). Meanwhile nobody waits for the disk, so that no commit can be made to come in between.
fn shifts(trace: &Trace) -> Vec<String> {
    let is_one =
        |op: &program::Op| op.result >= 0 && matches!(op.call, Call::Allocate { mode, .. } if mode & SHIFTS != 0);
    let note = |(index, op): (usize, &program::Op)| {
        let syscall = &op.syscall;
        format!("op {index} ({syscall}) moves extents one by one: a commit between two of them is not explored")
    };
    trace.ops.iter().enumerate().filter(|(_, op)| is_one(op)).map(note).collect()
}

/// What there is to know of a recorded workload, whatever crashes.
pub fn notes_on(Subject { rules, trace, .. }: &Subject) -> Vec<String> {
    let mut notes = rules.notes().to_vec();
    let numbered = record::numbered(trace);
    if !numbered.is_empty() {
        notes.push(format!("random names, numbered by the recorder: {}", numbered.join(", ")));
    }
    notes.extend(trace.refused.iter().map(|refused| format!("{refused}: what the program did without it is tested")));
    let outside = trace.outside.iter();
    notes.extend(outside.map(|path| format!("{path} was written outside the workload's directory: not tested")));
    notes
}

/// One violation; `unit` is what its example was found in, `seen` what the confirming look at it showed, and `run` the
/// run's hash.
pub fn violation_report(
    cell: &Cell,
    unit: Option<&Unit>,
    key: &ViolationKey,
    violation: &Violation,
    seen: Option<&Seen>,
    run: &str,
) -> ViolationReport {
    let ViolationKey { path, invariant, kind, cause, .. } = key;
    let subject = &cell.subject;
    let example = &violation.example;
    let trace = &subject.trace;
    let FoundAt { unit: name, recovery_crash: again, schedule, epoch, .. } = example.place;
    let (run, cell_index, again_name) = (run.into(), cell.index, again.then(|| short(&name)));
    let token = Token { run, cell: cell_index, schedule, epoch, again: again_name, state: example.state.clone() };
    let writes = unit.map(|unit| writes(cell, unit, path, example)).unwrap_or_default();
    let crash = if again { "; and a second crash, during recovery" } else { "" };
    // The root stands for the whole file system.
    let versions = if path.is_root() { &[] } else { subject.history.versions(path) };
    let observed = seen.and_then(|seen| seen.observed.clone()).unwrap_or_else(|| example.observed.clone());
    let known = reason(trace, invariant, *kind, path, &example.window).map(|reason| reason.text);
    let reason = known.or_else(|| seen.and_then(|seen| seen.reason.clone()));
    let promises = promises(trace, invariant, example.window.ended_latest);
    ViolationReport {
        invariant: invariant.to_string(),
        kind: *kind,
        path: path.to_string(),
        states: violation.states.clone(),
        token: token.to_string(),
        after_op: broken_from(trace, invariant, &example.window).map(|index| op_ref(trace, index)),
        after_op_latest: writes.begun_latest.checked_sub(1).map(|index| op_ref(trace, index)),
        lost: writes.lost,
        kept: writes.kept,
        unwritten: writes.unwritten,
        observed,
        schedule: format!("{}{crash}", subject.schedules[schedule].text()),
        reason,
        acks: promises.acks,
        acks_left_out: promises.left_out,
        promised: promises.promised,
        cause: cause.text(),
        output: example.output.clone(),
        old: versions.first().map(|version| describe(&version.state)),
        new: versions.last().map(|version| describe(&version.state)),
    }
}

/// The last op that had begun at the earliest point at which a state breaks an invariant. One that asks for what was
/// promised is not broken before the promise, however early the state can occur.
pub fn broken_from(trace: &Trace, invariant: &Invariant, window: &CrashWindow) -> Option<usize> {
    let promise = match invariant {
        Invariant::DurableAfter(Ack::Exit) => {
            let ended = trace.ops.iter().enumerate().take(window.ended_latest);
            ended.rev().find(|(_, op)| matches!(op.call, Call::Exit { .. })).map(|(index, _)| index)
        }
        _ => None,
    };
    window.begun_earliest.checked_sub(1).max(promise)
}

/// An op for people.
pub fn op_ref(trace: &Trace, index: usize) -> OpRef {
    OpRef { index, text: trace.ops.get(index).map_or_else(String::new, ToString::to_string) }
}

/// What the program had promised: no more of it than fits into a report.
pub struct Promises {
    /// All, or the first and the last ones.
    pub acks: Vec<String>,
    /// How many in the middle are not in it.
    pub left_out: usize,
    /// The one that matters.
    pub promised: Option<Promised>,
}

/// How many of the first, and of the last promises are listed.
const LISTED: usize = 3;

/// What the program had promised once `ended` ops had, for a state that breaks this invariant. The end of a line is no
/// promise of its own.
pub fn promises(trace: &Trace, invariant: &Invariant, ended: usize) -> Promises {
    let given = trace.ops.iter().enumerate().take(ended);
    let is_promise = |op: &program::Op| matches!(op.call, Call::Ack { .. } | Call::Exit { .. }) && !op.ends_line();
    let ops: Vec<usize> = given.filter(|(_, op)| is_promise(op)).map(|(index, _)| index).collect();
    let text = |op: &usize| trace.ops[*op].to_string();
    let waited_for = match invariant {
        Invariant::DurableAfter(ack) => checker::last_ack(trace, ack, ended),
        _ => None,
    };
    let matters = waited_for.map_or(ops.len(), |op| ops.partition_point(|given| *given <= op)).checked_sub(1);
    let promised = matters.and_then(|index| Some(Promised { ack: text(ops.get(index)?), before: index }));
    let left_out = ops.len().saturating_sub(2 * LISTED);
    let last = if left_out > 0 { LISTED + left_out } else { LISTED.min(ops.len()) };
    let listed = ops.iter().take(LISTED).chain(&ops[last..]);
    Promises { acks: listed.map(text).collect(), left_out, promised }
}

/// What became of the writes of an example's replay.
#[derive(Default)]
struct Writes {
    lost: Vec<WriteRef>,
    kept: Vec<WriteRef>,
    unwritten: Vec<WriteRef>,
    begun_latest: usize,
}

/// The writes that the state lost, those that it kept, and, if it lost none, those of the file's data that came too
/// late for it; each with what caused it.
fn writes(cell: &Cell, unit: &Unit, path: &RelPath, example: &Example) -> Writes {
    let subject = &cell.subject;
    let Executed { plan, log, epochs, .. } = &*unit.executed;
    let epoch = &epochs[unit.epoch];
    let mut writes = Writes { begun_latest: begun_latest(plan, epoch), ..Writes::default() };
    let has_data = unit.executed.has_data;
    let describe = |write: &WriteEntry| match has_data {
        true => subject.labels.describe(cell.filesystem.kind, write),
        false => place(write),
    };
    let told = |write: &WriteEntry, fate: &str| {
        let text = describe(write);
        let (op, cause) = cause(subject, plan, write.step as usize);
        let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
        WriteRef { write: format!("{text}{cause}{fate}"), op }
    };
    let again = unit.recovery_crash.iter().flat_map(|again| again.epoch.volatile_writes(&again.log));
    let first = epoch.volatile_writes(log).map(|write| (write, false));
    for (index, (write, recovery)) in first.chain(again.map(|write| (write, true))).enumerate() {
        let index = index as u32;
        let told = |write: &WriteEntry, fate: &str| match recovery {
            false => told(write, fate),
            true => WriteRef { write: format!("{} (recovery){fate}", describe(write)), op: None },
        };
        let unit = cell.model.unit;
        let lost_units = example.state.lost_units.iter().filter(|(write, _)| *write == index);
        let lost_bytes: u64 = lost_units.map(|&(_, lost)| write.bytes_in(lost..lost + 1, unit)).sum();
        let torn = example.state.torn.iter().find(|(write, _)| *write == index);
        match &example.state {
            State { lost: all, .. } if all.contains(&index) => writes.lost.push(told(write, "")),
            _ if let Some((_, tear)) = torn => {
                writes.kept.push(told(write, &format!(", torn: {}", tear_text(*tear, write, unit))));
            }
            _ if lost_bytes > 0 => {
                writes.kept.push(told(write, &format!(", torn: {} bytes of it lost", thousands(lost_bytes))));
            }
            _ => writes.kept.push(told(write, "")),
        }
    }
    if example.state == State::default() && has_data {
        let data = |write| subject.labels.data(write).filter(|data| data.path == path);
        let is_in = |among: &[usize], index| among.binary_search(&index).is_ok();
        let given = |&(index, _): &(usize, _)| {
            index < epoch.durable || is_in(&epoch.forced, index) || is_in(&epoch.volatile, index)
        };
        let (before, after): (Vec<_>, Vec<_>) = log.writes.iter().enumerate().partition(given);
        let early: Vec<Data<'_>> = before.iter().filter_map(|(_, write)| data(write)).collect();
        let after = after.into_iter().map(|(_, write)| write);
        let late = after.filter(|write| data(write).is_some_and(|data| !early.contains(&data)));
        writes.unwritten = late.map(|write| told(write, "")).collect();
    }
    writes
}

fn tear_text(tear: storage::Tear, write: &WriteEntry, unit: u32) -> String {
    let bytes = |boundary: u32| thousands(write.bytes_in(0..boundary, unit));
    match tear {
        storage::Tear::Head(boundary) => format!("only its first {} bytes survived", bytes(boundary)),
        storage::Tear::Tail(boundary) => format!("its first {} bytes were lost", bytes(boundary)),
    }
}

/// The op that was under way when a write was made; or, for background work, what that was.
fn cause(subject: &Subject, plan: &Plan, step: usize) -> (Option<OpRef>, Option<String>) {
    match plan.origins.get(step) {
        Some(Origin::Op(index)) => (Some(op_ref(&subject.trace, *index)), None),
        Some(Origin::Work(work)) => (None, Some(work.text())),
        None => (None, Some("after the end".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use checker::Kind;
    use filesystems::Filesystem;
    use program::{Handle, Limit, Op, Tree};
    use report::Durable;

    use super::*;
    use crate::cause::Cause;
    use crate::spec::RunSpec;
    use crate::subject::Bounds;
    use crate::tally::Tally;

    #[test]
    fn what_moves_extents_is_told() {
        let allocate = |mode| Call::Allocate { handle: Handle(0), mode, offset: 0, length: 4096 };
        let ops = [allocate(0), allocate(0x08), allocate(0x20)];
        let ops = ops.map(|call| Op { call, syscall: "fallocate".into(), result: 0, thread: 0 }).to_vec();
        let (before, after) = (Tree::default(), Tree::default());
        let trace = Trace {
            command: vec![],
            before,
            ops,
            after,
            limits: vec![],
            outside: vec![],
            refused: vec![],
            holes: Default::default(),
        };
        insta::assert_snapshot!(shifts(&trace).join("\n"), @r"
        op 1 (fallocate) moves extents one by one: a commit between two of them is not explored
        op 2 (fallocate) moves extents one by one: a commit between two of them is not explored
        ");
    }

    #[test]
    fn a_call_that_was_refused_is_a_note() {
        let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
        let ops = vec![Op { call: open, syscall: "open".into(), result: 3, thread: 0 }];
        let kind = program::Kind::File(Default::default());
        let node = program::Node { kind, mode: 0o644, uid: 0, gid: 0, inode: 1, xattrs: Default::default() };
        let trace = Trace {
            command: vec![],
            before: Tree::default(),
            ops,
            after: Tree([("f".into(), node)].into()),
            limits: vec![],
            outside: vec![],
            refused: vec![program::RefusedCall { call: "io_uring_setup".into(), count: 1 }],
            holes: Default::default(),
        };
        let subject = Subject::of("save".into(), vec![], trace, Bounds::default()).unwrap();
        let note = "io_uring_setup was refused (ENOSYS): what the program did without it is tested";
        assert!(notes_on(&subject).iter().any(|it| it == note), "{:?}", notes_on(&subject));
    }

    /// A state that lacks everything can occur before the first op, and is as it should be until the end is promised.
    #[test]
    fn a_promise_is_not_broken_before_it_was_given() {
        let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
        let ops = [open, Call::Exit { status: 0 }];
        let ops = ops.map(|call| Op { call, syscall: "test".into(), result: 0, thread: 0 }).to_vec();
        let (before, after) = (Tree::default(), Tree::default());
        let trace = Trace {
            command: vec![],
            before,
            ops,
            after,
            limits: vec![],
            outside: vec![],
            refused: vec![],
            holes: Default::default(),
        };
        let window = |begun_earliest, ended_latest| CrashWindow { begun_earliest, ended_latest };
        let exit = Invariant::DurableAfter(Ack::Exit);
        assert_eq!(broken_from(&trace, &exit, &window(0, 2)), Some(1));
        assert_eq!(broken_from(&trace, &exit, &window(0, 1)), None);
        assert_eq!(broken_from(&trace, &Invariant::AtomicReplace, &window(0, 2)), None);
        assert_eq!(broken_from(&trace, &Invariant::AtomicReplace, &window(1, 2)), Some(0));
    }

    /// Whatever a program prints.
    #[test]
    fn few_promises_are_listed_and_the_one_that_matters() {
        let op = |call| Op { call, syscall: "test".into(), result: 0, thread: 0 };
        let print = |text: String| op(Call::Ack { channel: program::Channel::Stdout, data: text.into_bytes() });
        let mut ops: Vec<Op> = (0..8000).map(|line| print(format!("line {line}"))).collect();
        ops.extend([op(Call::SyncAll), print("\n".into()), op(Call::Exit { status: 0 })]);
        let trace = Trace {
            command: vec![],
            before: Tree::default(),
            ops,
            after: Tree::default(),
            limits: vec![],
            outside: vec![],
            refused: vec![],
            holes: Default::default(),
        };
        let told = |invariant: &Invariant, ended| {
            let Promises { acks, left_out, promised } = promises(&trace, invariant, ended);
            let promised = promised.map(|promised| format!("{} after {}", promised.ack, promised.before));
            format!("{} with {left_out} left out; {}", acks.join(", "), promised.unwrap_or_default())
        };
        let line = |text: &str| Invariant::DurableAfter(Ack::Text(text.into()));
        insta::assert_snapshot!(
            [
                told(&Invariant::AtomicReplace, 0),
                told(&Invariant::AtomicReplace, 1),
                told(&Invariant::AtomicReplace, 4),
                told(&Invariant::AtomicReplace, 7),
                // What follows the last line is its end.
                told(&Invariant::AtomicReplace, 8002),
                told(&Invariant::AtomicReplace, 8003),
                told(&line("line 70"), 8003),
                told(&line("line 7999\n"), 8003),
                told(&Invariant::DurableAfter(Ack::Exit), 8003),
            ]
            .join("\n")
        );
    }

    /// What the recorder missed may be the very call that makes it durable.
    #[test]
    fn only_what_could_be_judged_is_not_durable() {
        let durable = |limits: Vec<Limit>, failure: Option<String>| {
            // O_WRONLY | O_CREAT: rules want something to change.
            let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
            let ops = vec![Op { call: open, syscall: "open".into(), result: 0, thread: 0 }];
            let (before, after) = (Tree::default(), Tree::default());
            let trace = Trace {
                command: vec![],
                before,
                ops,
                after,
                limits,
                outside: vec![],
                refused: vec![],
                holes: Default::default(),
            };
            let subject = Subject::of("w".into(), vec![], trace, Bounds { injections: 0, seed: 0 }).unwrap();
            let filesystem = Filesystem::from(&filesystems::EXT4);
            let cell = Cell::new(0, Arc::new(subject), filesystem, &RunSpec::default());
            let place =
                FoundAt { unit: Default::default(), recovery_crash: false, injections: 0, schedule: 0, epoch: 0 };
            let window = CrashWindow { begun_earliest: 1, ended_latest: 1 };
            let observed = "no file".into();
            let example = Example { place, state: State::default(), window, observed, output: None };
            let invariant = Invariant::DurableAfter(Ack::Exit);
            let key = ViolationKey {
                informational: true,
                path: "f".into(),
                invariant,
                kind: Kind::Missing,
                cause: Cause::None,
            };
            let violations = BTreeMap::from([(key, Violation { states: 1u32.into(), example })]);
            let tally = Tally { violations, ..Tally::default() };
            cell_report(&cell, &CellResult { tally, failure, ..CellResult::default() }, "run").durable_after_exit
        };
        let limit = Limit { call: "mmap".into(), detail: "shared mapping of f".into(), count: 1 };
        assert_eq!(durable(vec![], None), Durable::No);
        assert_eq!(durable(vec![limit], None), Durable::Unknown);
        assert_eq!(durable(vec![], Some("no".into())), Durable::Unknown);
    }
}
