//! Has workers explore the cells of a run, on guests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use report::{CellReport, Event, Note};
use tokio::sync::{Notify, mpsc};
use vm::{Choice, Limits, Machine, Paths};

use super::begun::{Begun, Initramfs, cells};
use super::finish::{cut_short, finisher, killed, report_of};
use super::{Finished, RunError};
use crate::cell::Cell;
use crate::cell_report::cell_report;
use crate::guests::Boot;
use crate::journal::Journal;
use crate::teeth::{self, trials};
use crate::worker::{Shared, WorkError, work};

/// Explores every cell that is not done, and reports.
pub(super) async fn explore(
    begun: Begun,
    machine: Box<dyn Machine>,
    count: usize,
    limits: Limits,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<Finished, RunError> {
    let (Initramfs { file: initramfs, lacking }, sectors) =
        (begun.initramfs(machine.as_ref(), paths)?, begun.sectors());
    let count = workers_with_room(count, &events);
    let Begun { id, subjects, kept, store, lock: _lock, mut done } = begun;
    let cells = cells(&kept, &subjects, &store)?;
    let journal = Journal::open(&store, &id, kept.spec.seed)?;

    let _ = events.send(Event::RunStarted { cells: cells.iter().map(|cell| cell.id.clone()).collect() });
    // Those of which it is known that they cannot be judged have a report already.
    let is_explored = |cell: &&Arc<Cell>| cell.subject.is_explored(kept.spec.explore_invalid);
    for cell in cells.iter().filter(|cell| !is_explored(cell)) {
        done.insert(cell.index, cell_report(cell, &cell.result(), &id));
    }
    for cell in &cells {
        if let Some(reason) = lacking.get(cell.filesystem.kind.name) {
            cell.failed(reason.clone());
        }
    }
    let at_work: Vec<Arc<Cell>> = cells.iter().filter(|cell| !done.contains_key(&cell.index)).cloned().collect();
    for report in done.values() {
        let _ = events.send(Event::CellFinished(Box::new(report.clone())));
    }
    let trials = trials(&at_work, cells.len(), &kept.spec);
    let at_work = at_work.into_iter().chain(trials).collect();
    let finish = Arc::new(finisher(store.clone(), id.clone(), events.clone()));
    let reports = Arc::new(std::sync::Mutex::new(done));
    let tried = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    let shared = Shared {
        run: id.clone(),
        boot: Boot::new(machine, initramfs, sectors, limits, Some(store.clone())).telling(events.clone()),
        cells: at_work,
        journal,
        stop: stop.clone(),
        news: Notify::new(),
        events: events.clone(),
        finish: Box::new({
            let (finish, reports, tried, run) = (finish.clone(), reports.clone(), tried.clone(), id.clone());
            move |cell| {
                if let Some(of) = cell.tried() {
                    let result = cell.result();
                    let mut tried = tried.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    tried.insert(of.index, teeth::note(cell, &result));
                    return cell_report(cell, &result, &run);
                }
                let report = finish(cell);
                let mut reports = reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                reports.insert(cell.index, report.clone());
                report
            }
        }),
    };
    // Before what takes its time, so that a run that is cut short has it.
    let killed = killed(&subjects, &kept.spec, stop);
    let outcome = workers(Arc::new(shared), count, stop).await;
    if let Err(error @ WorkError::Journal { .. }) = outcome {
        // Nothing that was found before is reported: it would be said of states that nobody has looked at.
        return Err(error.into());
    }
    let mut cut = outcome.err().map(RunError::from);
    if stop.load(Ordering::Relaxed) {
        cut = Some(RunError::Interrupted);
    }
    let mut done = std::mem::take(&mut *reports.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let mut tried = std::mem::take(&mut *tried.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let report = |cell: &Arc<Cell>| {
        let report = done.remove(&cell.index).unwrap_or_else(|| {
            // A cell that was cut short has what it has.
            let mut report = finish(cell);
            if let Some(cut) = &cut {
                report.notes.extend(cut_short(&report, cut));
            }
            report
        });
        with_note(report, tried.remove(&cell.index).flatten())
    };
    let cells = cells.iter().map(report).collect();
    let explored = Some(kept.spec.explored());
    let report = report_of(&subjects, explored, cells, killed);
    let written = report::write_report(&report, store.directory());
    let nothing = report.process_crashes.is_empty() && report.cells.iter().all(|cell| cell.crash_states.mounts == 0);
    if let Some(error) = cut.take_if(|_| nothing) {
        return Err(error);
    }
    Ok(Finished { report, store, cut: cut.or(written.err().map(RunError::from)) })
}

/// The same report with one more note.
pub(crate) fn with_note(mut report: CellReport, note: Option<Note>) -> CellReport {
    report.notes.extend(note);
    report
}

/// How many workers there are: as many as asked, if the host has room for the memory of all their guests, which is asked
/// before any of them starts. A guest that finds none left is killed in the middle of anything, or this process is.
fn workers_with_room(asked: usize, events: &mpsc::UnboundedSender<Event>) -> usize {
    let asked = asked.max(1);
    let room = vm::room();
    if room < asked {
        let text = format!(
            "fewer guests run at once than asked for, {room} instead of {asked}: this host, or this process's control group, \
             has no memory left for more, 1 GiB each"
        );
        let _ = events.send(Event::Warning { cell: None, text });
    }
    asked.min(room)
}

/// Finds a machine, for which it may boot a guest.
pub(super) async fn choose(
    choice: Choice,
    kernel: Option<&Path>,
    paths: &Paths,
    stop: &AtomicBool,
) -> Result<Box<dyn Machine>, RunError> {
    tokio::select! {
        machine = vm::choose(choice, kernel, paths) => Ok(machine?),
        () = stopped(stop) => Err(RunError::Interrupted),
    }
}

/// Returns soon after `stop` was set.
pub(super) async fn stopped(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Runs the workers; one that fails ends the others. After a stop they get a moment to hand in what they have.
async fn workers(shared: Arc<Shared>, count: usize, stop: &Arc<AtomicBool>) -> Result<(), WorkError> {
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..count {
        let shared = shared.clone();
        set.spawn(async move { work(&shared).await });
    }
    let stopped = async {
        stopped(stop).await;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    };
    let all = async {
        while let Some(done) = set.join_next().await {
            match done {
                Ok(result) => result?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
        }
        Ok(())
    };
    let result = tokio::select! {
        result = all => result,
        () = stopped => Ok(()),
    };
    // Aborted workers drop their guests.
    set.shutdown().await;
    result
}
