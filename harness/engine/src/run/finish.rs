//! What a run leaves: its report, and the executions that its tokens need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use report::{Asked, CellReport, Event, Explored, Note, ProcessReport, Report};
use tokio::sync::mpsc;

use super::begun::{Begun, cells};
use super::{Finished, RunError};
use crate::cell::{Cell, CellResult};
use crate::cell_report::{cell_report, ops_of};
use crate::killed::process_crash;
use crate::spec::RunSpec;
use crate::store::{KeptRecoveryCrash, Shown, Store};
use crate::subject::Subject;
use crate::tally::{Example, Violation};
use crate::unit::{self, Executed};

impl Begun {
    /// The report of a run all of whose cells are done, or are known not to be judged.
    pub fn finish(self, stop: &AtomicBool, events: &mpsc::UnboundedSender<Event>) -> Result<Finished, RunError> {
        let Self { id, subjects, kept, store, mut done, .. } = self;
        let cells = cells(&kept, &subjects, &store)?;
        let mut reports = Vec::new();
        for cell in &cells {
            let report = done.remove(&cell.index).unwrap_or_else(|| cell_report(cell, &cell.result(), &id));
            let _ = events.send(Event::CellFinished(Box::new(report.clone())));
            reports.push(report);
        }
        let killed = killed(&subjects, &kept.spec, stop);
        let explored = Some(kept.spec.explored());
        let report = report_of(&subjects, explored, reports, killed);
        let written = report::write_report(&report, store.directory());
        Ok(Finished { report, store, cut: written.err().map(RunError::from) })
    }
}

/// The report of these cells and killed programs.
pub(super) fn report_of(
    subjects: &[Arc<Subject>],
    explored: Option<Explored>,
    cells: Vec<CellReport>,
    killed: Vec<ProcessReport>,
) -> Report {
    let report = Report { explored, asked: asked(subjects), ..Report::with_process_crashes(cells, killed) };
    report.with_ops(ops_of(subjects))
}

/// What was asked for of each workload.
fn asked(subjects: &[Arc<Subject>]) -> Vec<Asked> {
    let asked = |subject: &Arc<Subject>| Asked {
        workload: subject.name.clone(),
        invariants: subject.demands.wanted.clone(),
        chosen: subject.defaults.as_ref().map(|defaults| defaults.wanted.clone()),
        ignore: subject.demands.ignore.iter().map(ToString::to_string).collect(),
        require_durable: subject.requires_durability,
        check: subject.checker.as_ref().and_then(|checker| Some(checker.command()?.to_vec())),
    };
    subjects.iter().map(asked).collect()
}

/// What there is to know of a cell that a run which was cut short did not finish.
pub(super) fn cut_short(cell: &CellReport, cut: &RunError) -> Vec<Note> {
    let CellReport { violations, not_durable, weaknesses, warnings, .. } = cell;
    let shown = [violations, not_durable, weaknesses, warnings];
    let unconfirmed = shown.iter().any(|shown| !shown.is_empty());
    let unconfirmed = unconfirmed.then_some(Note::NotConfirmed);
    std::iter::once(Note::CutShort { error: cut.to_string() }).chain(unconfirmed).collect()
}

/// What becomes of the programs' files if they are killed, if that was asked: of each of them, or of those before a stop.
pub(super) fn killed(subjects: &[Arc<Subject>], spec: &RunSpec, stop: &AtomicBool) -> Vec<ProcessReport> {
    let asked = if spec.crash.process() { subjects } else { &[] };
    let here = tokio::runtime::Handle::current();
    let killed = |subject: &Arc<Subject>| here.block_on(process_crash(subject, spec.explore_invalid, stop));
    tokio::task::block_in_place(|| asked.iter().map_while(killed).collect())
}

/// Turns a finished cell into its report and keeps the executions that its tokens need.
pub(super) fn finisher(
    store: Store,
    id: String,
    events: mpsc::UnboundedSender<Event>,
) -> impl Fn(&Cell) -> CellReport + Send + Sync {
    move |cell| {
        let result = cell.result();
        keep_shown(cell, &result, &store, &events);
        cell_report(cell, &result, &id)
    }
}

/// Keeps what the tokens of a cell need: the executions whose states are shown, as far as their data are there.
pub(crate) fn keep_shown(cell: &Cell, result: &CellResult, store: &Store, events: &mpsc::UnboundedSender<Event>) {
    let mut shown: BTreeMap<usize, (Arc<Executed>, Vec<Shown>)> = BTreeMap::new();
    for Violation { example, .. } in result.tally.violations.values() {
        let Some(unit) = result.units.get(&example.place.unit) else { continue };
        let recovery_crash = unit.recovery_crash.as_ref().map(|crash| KeptRecoveryCrash {
            name: unit::short(&unit.key),
            settled: crash.class.decisions().to_vec(),
            log: (*crash.log).clone(),
            index: crash.index,
        });
        let Example { ref state, window, .. } = *example;
        let of_schedule = shown.entry(unit.executed.schedule).or_insert((unit.executed.clone(), Vec::new()));
        of_schedule.1.push(Shown { epoch: unit.epoch, state: state.clone(), window, recovery_crash });
    }
    for (schedule, (executed, shown)) in shown {
        let kept = match executed.has_data {
            true => store.keep_execution(cell.index, schedule, (&executed.start, &executed.log), &shown),
            false => Err(store.damaged("journal.jsonl", "what the disk was given is not in it")),
        };
        if let Err(error) = kept {
            let text = format!("tokens of schedule {schedule} will not work: {error}");
            let _ = events.send(Event::Warning { cell: Some(cell.id.clone()), text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was seen only once must not look like what was seen twice.
    #[test]
    fn a_cell_that_was_cut_short_says_what_was_not_confirmed() {
        let cell = serde_json::json!({
            "workload": "w", "fs": "ext4", "mount_options": "", "vm": "uml", "kernel": "6.1", "verdict": "incomplete",
            "exhaustive": false, "schedules": {"explored": 0, "new": 0, "total": 1},
            "crash_states": {"allowed": "2", "covered": "1", "mounts": 1},
            "durable_after_exit": "unknown", "violations": [],
        });
        let mut cell: CellReport = serde_json::from_value(cell).unwrap();
        let cut = || Note::CutShort { error: "interrupted".into() };
        assert_eq!(cut_short(&cell, &RunError::Interrupted), [cut()]);
        let shown = serde_json::json!({
            "invariant": "durable-after exit", "kind": "empty", "path": "f", "states": "1", "token": "t", "after_op": null,
            "after_op_latest": null, "lost": [], "kept": [], "observed": {"seen": "empty"},
            "schedule": {"injections": [], "ending": "commit"},
        });
        cell.not_durable.push(serde_json::from_value(shown).unwrap());
        assert_eq!(cut_short(&cell, &RunError::Interrupted), [cut(), Note::NotConfirmed]);
    }
}
