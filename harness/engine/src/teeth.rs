//! Whether rules that hold would notice anything: after a pass, the same program is held to them without its syncs.
//!
//! A rule that holds even then says little of the program: be it that it asks for too little, or that the file system does more
//! than it promises. Mutation testing asks the same of tests.

use std::sync::Arc;

use explore::Budget;
use report::Note;

use crate::cell::{Cell, CellResult};
use crate::spec::RunSpec;

/// How many states are looked at, at most: where a rule would notice, the first few of them show it.
const MOUNTS: u64 = 200;

/// The cells that try out the rules of these, which are of a run of `count` cells: those whose programs have syncs. Each has an
/// index behind all of the run.
pub(crate) fn trials(cells: &[Arc<Cell>], count: usize, spec: &RunSpec) -> Vec<Arc<Cell>> {
    let mut trials: Vec<Arc<Cell>> = Vec::new();
    for cell in cells {
        let of = |trial: &&Arc<Cell>| trial.tried().is_some_and(|tried| Arc::ptr_eq(&tried.subject, &cell.subject));
        // Guests know a program by its subject: one for all file systems.
        let subject = match trials.iter().find(of) {
            Some(trial) => Some(trial.subject.clone()),
            None => cell.subject.without_syncs().map(Arc::new),
        };
        let Some(subject) = subject else { continue };
        let budget = Budget { mounts: Some(spec.budget.mounts.unwrap_or(MOUNTS).min(MOUNTS)), ..spec.budget };
        let spec = RunSpec { budget, recovery_crashes: false, ..spec.clone() };
        let trial = Cell::new(count + cell.index, subject, cell.filesystem.clone(), &spec);
        trials.push(Arc::new(trial.among(count).trying(cell.clone())));
    }
    trials
}

/// What a trial says of the cell that it was of: nothing if something broke, as it should, nor if it did not come to its end.
pub(crate) fn note(trial: &Cell, result: &CellResult) -> Option<Note> {
    let CellResult { tally, failure, explored, .. } = result;
    let broke = tally.violations.keys().any(|key| !key.informational);
    let is_whole = failure.is_none() && tally.visits > 0 && *explored == trial.subject.all_schedules;
    (is_whole && !broke).then(|| Note::HeldWithoutSyncs { states: tally.covered.clone() })
}
