//! Makes the report of a cell: names, numbers, ops, tokens. Reporters make sentences of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use checker::{Ack, CrashWindow, Invariant, Wanted, reason};
use filesystems::FlushCovers;
use num_bigint::BigUint;
use program::{Call, OpId, Trace};
use report::{
    CellReport, CrashStates, Losses, Note, Ops, Reach, ScheduleReport, Schedules, ViolationReport, durable_after_exit,
};

use storage::CacheKind;

use crate::cell::{Cell, CellResult, Seen};
use crate::judging::is_of_check;
use crate::promises::promises;
use crate::scheduled;
use crate::subject::{Scheduled, Subject};
use crate::tally::{FoundAt, Violation, ViolationKey};
use crate::token::Token;
use crate::unit::{Unit, short};
use crate::writes::writes;

/// Shows the ops of workloads that a report refers to.
pub fn ops_of(subjects: &[Arc<Subject>]) -> impl Fn(&str, BTreeSet<OpId>) -> Ops {
    move |workload, ids| {
        let subject = subjects.iter().find(|subject| subject.name == workload);
        subject.map_or_else(Ops::default, |subject| Ops::of(&subject.trace, ids))
    }
}

/// The report of a cell; `run` is the run's hash.
pub fn cell_report(cell: &Cell, result: &CellResult, run: &str) -> CellReport {
    let subject = &cell.subject;
    let total = subject.scheduled(&cell.filesystem).of;
    let exit = |key: &ViolationKey| match key.invariant {
        Invariant::DurableAfter(Ack::Exit) | Invariant::ViewAfter(_, Ack::Exit) => true,
        Invariant::Mountable => !key.informational,
        _ => false,
    };
    let judged = result.failure.is_none() && subject.unmodelled_calls().is_empty();
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
        unjudged: subject.unjudged().to_vec(),
        unmodelled_calls: subject.unmodelled_calls().to_vec(),
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

fn notes(cell: &Cell, result: &CellResult) -> Vec<Note> {
    let Scheduled { chosen, of } = cell.subject.scheduled(&cell.filesystem);
    let chosen = chosen as u64;
    let spent = result.spent.then_some(Note::BudgetSpent);
    let some = (chosen < of).then_some(Note::SchedulesChosen { chosen, of });
    let assumed = cell.assumed_atomic.map(|bytes| Note::AssumedAtomic { bytes });
    let filesystem = &cell.filesystem;
    let flush = (filesystem.kind.handling.flush_covers == FlushCovers::OwnWrites).then_some(Note::AssumedFlush);
    let without = filesystem.without_flush().filter(|_| cell.model.cache == CacheKind::Writeback);
    let without = without.map(|option| Note::WithoutFlush { option: option.into() });
    let unchecked = filesystem.feature().is_some_and(|feature| feature.unchecked).then_some(Note::Unchecked);
    let assumed = assumed.into_iter().chain(flush).chain(without).chain(unchecked);
    spent
        .into_iter()
        .chain(some)
        .chain(assumed)
        .chain(shifts(&cell.subject.trace))
        .chain(notes_on(&cell.subject))
        .collect()
}

/// FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE (include/uapi/linux/falloc.h).
const SHIFTS: u32 = 0x08 | 0x20;

/// What is not covered of ops that move the extents of a file one after the other, each in a transaction of its own
/// (fs/xfs/xfs_bmap_util.c, `xfs_collapse_file_space`; on ext4, too, where there are many: fs/ext4/extents.c,
/// `ext4_ext_shift_extents`). Meanwhile nobody waits for the disk, so that no commit can be made to come in between.
fn shifts(trace: &Trace) -> Vec<Note> {
    let is_one =
        |op: &program::Op| op.result >= 0 && matches!(op.call, Call::Allocate { mode, .. } if mode & SHIFTS != 0);
    let ops = trace.ops.iter().enumerate().filter(|(_, op)| is_one(op));
    ops.map(|(index, _)| Note::MovesExtents { op: OpId(index) }).collect()
}

/// What there is to know of a recorded workload, whatever crashes.
pub fn notes_on(Subject { rules, trace, defaults, .. }: &Subject) -> Vec<Note> {
    let changed = rules.changed_metadata().iter().map(|changed| Note::ChangedMetadata { changed: changed.clone() });
    let names = record::numbered(trace);
    let numbered = (!names.is_empty()).then_some(Note::NumberedNames { names });
    let refused = trace.refused.iter().map(|refused| Note::Refused { refused: refused.clone() });
    let outside = trace.outside.iter().map(|path| Note::WrittenOutside { path: path.clone() });
    let chosen = defaults.iter().flat_map(|defaults| &defaults.wanted);
    let appended = chosen.filter_map(|wanted| match wanted {
        Wanted::AppendOnly { path, record, .. } => {
            Some(Note::OnlyAppended { path: path.to_string(), lines: record.is_some() })
        }
        _ => None,
    });
    let from = trace.explored_from.map(|op| Note::ExploredFrom { op: OpId(op) });
    let before = from.into_iter().chain(stores(trace));
    before.chain(changed).chain(numbered).chain(refused).chain(outside).chain(appended).collect()
}

/// Of stores it is not known in which order they were made, nor how many.
fn stores(trace: &Trace) -> Option<Note> {
    let ops = trace.ops.iter().enumerate();
    let mut stores = ops.filter(|(_, op)| matches!(op.call, Call::Store { .. })).map(|(index, _)| OpId(index));
    Some(Note::StoresAsOne { op: stores.next()?, more: stores.count() })
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
    let FoundAt { unit: name, recovery_crash, schedule, epoch, .. } = example.place;
    let token = Token {
        run: run.into(),
        cell: cell.index,
        schedule,
        epoch,
        recovery_crash: recovery_crash.then(|| short(&name)),
        state: example.state.clone(),
    };
    let writes = unit.map(|unit| writes(cell, unit, path, example)).unwrap_or_default();
    // What a view is about, it shows itself.
    let [old, new] = if is_of_check(invariant) { [None, None] } else { subject.old_and_new(path) };
    let observed = seen.and_then(|seen| seen.observed.clone()).unwrap_or_else(|| example.observed.clone());
    let known = reason(trace, invariant, *kind, path, &example.window);
    let hint = known.or_else(|| seen.and_then(|seen| seen.hint.clone()));
    let promises = promises(trace, invariant, example.window.ended_latest);
    ViolationReport {
        invariant: invariant.to_string(),
        kind: *kind,
        path: path.to_string(),
        states: violation.states.clone(),
        token: token.to_string(),
        after_op: broken_from(trace, invariant, &example.window).map(OpId),
        after_op_latest: writes.begun_latest.checked_sub(1).map(OpId),
        lost: writes.lost,
        kept: writes.kept,
        unwritten: writes.unwritten,
        observed,
        schedule: ScheduleReport::Known(scheduled::schedule(&subject.schedules[schedule], recovery_crash)),
        hint,
        acks: promises.acks,
        acks_left_out: promises.left_out,
        promised: promises.promised,
        cause: cause.text(),
        output: example.output.clone(),
        old,
        new,
    }
}

/// The last op that had begun at the earliest point at which a state breaks an invariant. One that asks for what was
/// promised is not broken before the promise, however early the state can occur.
pub fn broken_from(trace: &Trace, invariant: &Invariant, window: &CrashWindow) -> Option<usize> {
    let promise = match invariant {
        Invariant::DurableAfter(Ack::Exit) | Invariant::ViewAfter(_, Ack::Exit) => {
            let ended = trace.ops.iter().enumerate().take(window.ended_latest);
            ended.rev().find(|(_, op)| matches!(op.call, Call::Exit { .. })).map(|(index, _)| index)
        }
        _ => None,
    };
    window.begun_earliest.checked_sub(1).max(promise)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use checker::{Kind, Observed};
    use filesystems::Filesystem;
    use program::{Handle, Limit, Op, Tree};
    use report::Durable;
    use storage::State;

    use super::*;
    use crate::cause::Cause;
    use crate::spec::RunSpec;
    use crate::subject::Bounds;
    use crate::tally::{Example, Tally};

    #[test]
    fn what_moves_extents_is_told() {
        let allocate = |mode| Call::Allocate { handle: Handle(0), mode, offset: 0, length: 4096 };
        let ops = [allocate(0), allocate(0x08), allocate(0x20)];
        let ops = ops.map(|call| Op { call, syscall: "fallocate".into(), result: 0, thread: 0 }).to_vec();
        let trace = Trace { ops, ..Trace::default() };
        assert_eq!(shifts(&trace), [1, 2].map(|op| Note::MovesExtents { op: OpId(op) }));
    }

    /// A pass must not seem to be about what was left out.
    #[test]
    fn what_is_not_explored_by_choice_or_by_nature_is_told() {
        let handle = Handle(0);
        let store = || Call::Store { handle, offset: 0, data: std::sync::Arc::new(vec![1]) };
        let open = Call::Open { handle, path: "f".into(), flags: 0o102, mode: 0o644 };
        let ops = [open, Call::Truncate { target: program::Target::Handle(handle), length: 1 }, store(), store()];
        let ops = ops.map(|call| Op { call, syscall: "test".into(), result: 0, thread: 0 }).to_vec();
        let told = |explored_from| {
            let trace = Trace { ops: ops.clone(), explored_from, ..Trace::default() };
            notes_on(&Subject::of("save".into(), vec![], trace, Bounds::default()).unwrap())
        };
        let stores = Note::StoresAsOne { op: OpId(2), more: 1 };
        assert_eq!(told(None), std::slice::from_ref(&stores));
        assert_eq!(told(Some(1)), [Note::ExploredFrom { op: OpId(1) }, stores]);
    }

    #[test]
    fn a_call_that_was_refused_is_a_note() {
        let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
        let ops = vec![Op { call: open, syscall: "open".into(), result: 3, thread: 0 }];
        let kind = program::Kind::File(Default::default());
        let node = program::Node { kind, mode: 0o644, uid: 0, gid: 0, inode: 1, xattrs: Default::default() };
        let trace = Trace {
            ops,
            after: Tree([("f".into(), node)].into()),

            refused: vec![program::RefusedCall { call: "io_uring_setup".into(), count: 1 }],
            ..Trace::default()
        };
        let subject = Subject::of("save".into(), vec![], trace, Bounds::default()).unwrap();
        let refused = program::RefusedCall { call: "io_uring_setup".into(), count: 1 };
        assert!(notes_on(&subject).contains(&Note::Refused { refused }), "{:?}", notes_on(&subject));
    }

    /// A state that lacks everything can occur before the first op, and is as it should be until the end is promised.
    #[test]
    fn a_promise_is_not_broken_before_it_was_given() {
        let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
        let ops = [open, Call::Exit { status: 0 }];
        let ops = ops.map(|call| Op { call, syscall: "test".into(), result: 0, thread: 0 }).to_vec();
        let trace = Trace { ops, ..Trace::default() };
        let window = |begun_earliest, ended_latest| CrashWindow { begun_earliest, ended_latest };
        let exit = Invariant::DurableAfter(Ack::Exit);
        assert_eq!(broken_from(&trace, &exit, &window(0, 2)), Some(1));
        assert_eq!(broken_from(&trace, &exit, &window(0, 1)), None);
        assert_eq!(broken_from(&trace, &Invariant::AtomicReplace, &window(0, 2)), None);
        assert_eq!(broken_from(&trace, &Invariant::AtomicReplace, &window(1, 2)), Some(0));
    }

    /// What the recorder missed may be the very call that makes it durable.
    #[test]
    fn only_what_could_be_judged_is_not_durable() {
        let durable = |limits: Vec<Limit>, failure: Option<String>| {
            // O_WRONLY | O_CREAT: rules want something to change.
            let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
            let ops = vec![Op { call: open, syscall: "open".into(), result: 0, thread: 0 }];
            let trace = Trace { ops, limits, ..Trace::default() };
            let subject = Subject::of("w".into(), vec![], trace, Bounds::default()).unwrap();
            let filesystem = Filesystem::from(&filesystems::EXT4);
            let cell = Cell::new(0, Arc::new(subject), filesystem, &RunSpec::default());
            let place =
                FoundAt { unit: Default::default(), recovery_crash: false, injections: 0, schedule: 0, epoch: 0 };
            let window = CrashWindow { begun_earliest: 1, ended_latest: 1 };
            let observed = Observed::NoFile;
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
