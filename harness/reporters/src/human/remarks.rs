//! What else there is to know of a cell.

use std::path::Path;

use num_bigint::BigUint;
use program::thousands;
use report::{CellReport, Ops, ProcessReport, Reach, Schedules, ViolationReport};

use super::{of_violation, reproduce};
use crate::sentences;
use crate::text::{count, covered, many, reached, tame};

/// What else there is to know of a cell, one line each.
pub(super) fn of_cell(cell: &CellReport, ops: &Ops, results: Option<&Path>) -> Vec<String> {
    let reproduce = |shown: &ViolationReport| reproduce(&shown.token, results);
    let mut lines = Vec::new();
    if let Some(failure) = &cell.failure {
        lines.push(format!("could not be judged: {failure}"));
    }
    lines.extend(cell.unmodelled_calls.iter().map(|call| format!("not followed: {call}")));
    if cell.untouched() && !cell.unmodelled_calls.is_empty() {
        lines.push(
            "nothing was explored, since what is missing may matter (--explore-invalid does all the same)".into(),
        );
    } else if cell.untouched() && cell.failure.is_none() {
        lines.push(covered(cell));
    } else if !cell.exhaustive() && cell.failure.is_none() {
        let Schedules { explored, total, .. } = cell.schedules;
        lines.push(match &cell.reach {
            Some(reach) => {
                format!("not exhaustive: {} of {}: {}", covered(cell), executed(cell, reach), reached(reach))
            }
            None => {
                format!(
                    "not exhaustive: {} of {} of {} schedules",
                    covered(cell),
                    thousands(explored),
                    thousands(total)
                )
            }
        });
    }
    lines.extend(cell.unjudged.iter().map(|file| format!("not judged: {}", sentences::unjudged(file))));
    for weak in &cell.weaknesses {
        let plural = if weak.states == BigUint::from(1u32) { "" } else { "s" };
        let states = format!("{} state{plural}", count(&weak.states));
        let why = "because a write of its own was torn, which no program can prevent";
        lines.push(format!("weakness of the file system: {} in {states} {why}: {}", weak.kind, reproduce(weak)));
    }
    for warning in &cell.warnings {
        let headline = of_violation(warning);
        lines.push(format!("warning: {headline}: {}", reproduce(warning)));
    }
    lines.extend(cell.notes.iter().map(|note| format!("note: {}", sentences::note(note, ops))));
    lines.into_iter().map(|line| tame(&format!("{}: {line}", cell.id))).collect()
}

/// The same of a program that was killed.
pub(super) fn of_killed(killed: &ProcessReport, ops: &Ops) -> Vec<String> {
    let calls = killed.unmodelled_calls.iter().map(|call| format!("not followed: {call}"));
    let failure = killed.failure.iter().map(|failure| format!("could not be judged: {failure}"));
    let notes = killed.notes.iter().map(|note| format!("note: {}", sentences::note(note, ops)));
    let unjudged = killed.unjudged.iter().map(|file| format!("not judged: {}", sentences::unjudged(file)));
    let all = failure.chain(calls).chain(unjudged).chain(notes);
    all.map(|line| tame(&format!("{}, process crash: {line}", killed.workload))).collect()
}

/// `all 974 schedules`, `the 900 schedules executed of 974`.
pub(crate) fn executed(cell: &CellReport, reach: &Reach) -> String {
    let total = cell.schedules.total;
    let all = many(usize::try_from(reach.executed).unwrap_or(usize::MAX), "schedule");
    if reach.executed == total { format!("all {all}") } else { format!("the {all} executed of {}", thousands(total)) }
}
