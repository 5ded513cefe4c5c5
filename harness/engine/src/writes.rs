//! What became of the block writes of an execution in a crash state.

use program::{OpId, RelPath};
use report::{BlockWrite, TornWrite, WriteCause, WriteReport};
use storage::{State, WriteEntry};

use crate::cell::Cell;
use crate::label::Data;
use crate::scheduled;
use crate::tally::Example;
use crate::unit::{Executed, Unit};
use crate::window::begun_latest;
use plan::{Origin, Plan};

/// What became of the writes of an example's execution.
#[derive(Default)]
pub struct Writes {
    /// Those that the state lost.
    pub lost: Vec<WriteReport>,
    /// Those that it kept.
    pub kept: Vec<WriteReport>,
    /// Those of the file's data that came too late for it.
    pub unwritten: Vec<WriteReport>,
    /// How many ops had begun at the latest point at which the state can occur.
    pub begun_latest: usize,
}

/// The writes that the state lost, those that it kept, and, if it lost none, those of the file's data that came too
/// late for it; each with what caused it.
pub fn writes(cell: &Cell, unit: &Unit, path: &RelPath, example: &Example) -> Writes {
    let subject = &cell.subject;
    let Executed { plan, log, epochs, .. } = &*unit.executed;
    let epoch = &epochs[unit.epoch];
    let mut writes = Writes { begun_latest: begun_latest(plan, epoch), ..Writes::default() };
    let has_data = unit.executed.has_data;
    let shown = |write: &WriteEntry, cause: WriteCause, torn: Option<TornWrite>| {
        let holds = has_data.then(|| subject.labels.content(cell.filesystem.kind, write));
        let (sector, bytes) = (write.sector, write.data.len() as u64);
        WriteReport::Known(BlockWrite { sector, bytes, holds, cause, torn })
    };
    let recovery = unit.recovery_crash.iter().flat_map(|crash| crash.epoch.volatile_writes(&crash.log));
    let first = epoch.volatile_writes(log).map(|write| (write, false));
    for (index, (write, is_recovery)) in first.chain(recovery.map(|write| (write, true))).enumerate() {
        let index = index as u32;
        let cause = if is_recovery { WriteCause::Recovery } else { cause(plan, write.step as usize) };
        let unit = cell.model.unit;
        let lost_units = example.state.lost_units.iter().filter(|(write, _)| *write == index);
        let lost_bytes: u64 = lost_units.map(|&(_, lost)| write.bytes_in(lost..lost + 1, unit)).sum();
        let torn = example.state.torn.iter().find(|(write, _)| *write == index);
        let torn = match torn {
            Some((_, tear)) => Some(tear_report(*tear, write, unit)),
            None => (lost_bytes > 0).then_some(TornWrite::Sectors { lost: lost_bytes }),
        };
        match &example.state {
            State { lost: all, .. } if all.contains(&index) => writes.lost.push(shown(write, cause, None)),
            _ => writes.kept.push(shown(write, cause, torn)),
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
        writes.unwritten = late.map(|write| shown(write, cause(plan, write.step as usize), None)).collect();
    }
    writes
}

fn tear_report(tear: storage::Tear, write: &WriteEntry, unit: u32) -> TornWrite {
    let bytes = |boundary: u32| write.bytes_in(0..boundary, unit);
    match tear {
        storage::Tear::Head(boundary) => TornWrite::Head { kept: bytes(boundary) },
        storage::Tear::Tail(boundary) => TornWrite::Tail { lost: bytes(boundary) },
    }
}

/// What was under way when a write was made: an op or background work.
fn cause(plan: &Plan, step: usize) -> WriteCause {
    match plan.origins.get(step) {
        Some(Origin::Op(index)) => WriteCause::Op { op: OpId(*index) },
        Some(Origin::Work(work)) => WriteCause::Background { work: scheduled::work(work) },
        None => WriteCause::AfterTheEnd,
    }
}
