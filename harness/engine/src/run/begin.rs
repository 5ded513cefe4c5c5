//! Begins a run: records its workloads, and has them explored.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use report::Event;
use tokio::sync::mpsc;
use vm::Paths;
use workload::Workload;

use super::begun::{Begun, tools};
use super::explore::{choose, explore};
use super::finish::{killed, report_of};
use super::identity::{hash, is_same};
use super::{Finished, Options, RunError};
use crate::cell::Cell;
use crate::cell_report::cell_report;
use crate::spec::RunSpec;
use crate::store::Store;
use crate::subject::{Subject, SubjectError};

/// Runs `workloads`. `directory` is made from the run's hash. Events go to `events` as they happen, all but the last:
/// [`Event::RunFinished`] is sent by the caller, when there is nothing more to say.
///
/// A run that is cut short when some states have been explored has a report all the same.
///
/// # Errors
/// There is nothing to report: see [`RunError`].
pub async fn run(
    workloads: &[Workload],
    options: &Options,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
    directory: impl FnOnce(&str) -> PathBuf,
) -> Result<Finished, RunError> {
    let spec = &options.spec;
    let mut subjects = Vec::new();
    for workload in workloads {
        let doing = if workload.build.is_some() { "building and recording" } else { "recording" };
        let _ = events.send(Event::Note { cell: None, text: format!("{doing} {}", workload.name) });
        let mut distinct: Vec<Subject> = Vec::new();
        for number in 0..options.recordings.max(1) {
            let again = (number > 0).then(|| format!("{}#{}", workload.name, distinct.len() + 1));
            let subject = tokio::task::block_in_place(|| record(workload, again, spec, stop));
            if stop.load(Ordering::Relaxed) {
                return Err(RunError::Interrupted);
            }
            let subject = subject?;
            if distinct.iter().any(|known| is_same(&known.trace, &subject.trace)) {
                continue;
            }
            if !subject.unmodelled_calls().is_empty() {
                let text = cannot_be_judged(&subject, spec.explore_invalid);
                let _ = events.send(Event::Warning { cell: None, text });
            }
            distinct.push(subject);
        }
        if options.recordings > 1 {
            let text =
                format!("{}: {} of {} recordings are distinct", workload.name, distinct.len(), options.recordings);
            let _ = events.send(Event::Note { cell: None, text });
        }
        subjects.extend(distinct.into_iter().map(Arc::new));
    }
    run_recorded(subjects, options, paths, stop, events, directory).await
}

/// Records a workload: for the first time, or once more, as a program of another name.
fn record(
    workload: &Workload,
    again: Option<String>,
    spec: &RunSpec,
    stop: &Arc<AtomicBool>,
) -> Result<Subject, SubjectError> {
    let (bounds, io_uring) = (spec.bounds(), spec.io_uring.into());
    let workload = spec.ignoring(workload.clone());
    match again {
        None => Subject::record(&workload, bounds, io_uring, stop),
        Some(name) => {
            // It has been built.
            let other = Workload { name, build: None, ..workload };
            Subject::record(&other, bounds, io_uring, stop)
        }
    }
}

/// Does the same for programs that have been recorded, or were made from recorded ones.
///
/// # Errors
/// There is nothing to report: see [`RunError`].
pub async fn run_recorded(
    subjects: Vec<Arc<Subject>>,
    options: &Options,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
    directory: impl FnOnce(&str) -> PathBuf,
) -> Result<Finished, RunError> {
    let spec = &options.spec;
    let is_explored = |subject: &Arc<Subject>| subject.is_explored(spec.explore_invalid);
    if !spec.crash.power() || !subjects.iter().any(is_explored) {
        return run_without_guests(&subjects, spec, stop, directory);
    }
    let machine = choose(options.vm, spec.kernel.as_deref(), paths, stop).await?;
    let id = hash(&subjects, spec, machine.name());
    let begun = Begun::new(&directory(&id), id, subjects, (spec, machine.name(), tools(&spec.filesystems)))?;
    explore(begun, machine, options.workers, options.limits, paths, stop, events).await
}

/// The report of programs that need no guest: only what becomes of their files if they are killed was asked for, or none
/// of them is explored.
fn run_without_guests(
    subjects: &[Arc<Subject>],
    spec: &RunSpec,
    stop: &AtomicBool,
    directory: impl FnOnce(&str) -> PathBuf,
) -> Result<Finished, RunError> {
    let id = hash(subjects, spec, "none");
    let (store, _lock) = Store::create(&directory(&id))?;
    for (workload, subject) in subjects.iter().enumerate() {
        store.keep_trace(workload, &subject.trace)?;
    }
    let killed = killed(subjects, spec, stop);
    let whole = !spec.crash.process() || killed.len() == subjects.len();
    if killed.is_empty() && !whole {
        return Err(RunError::Interrupted);
    }
    let filesystems = if spec.crash.power() { spec.filesystems.as_slice() } else { &[] };
    let pairs = subjects.iter().flat_map(|subject| filesystems.iter().map(move |fs| (subject, fs)));
    let cells = pairs.zip(0..).map(|((subject, fs), index)| {
        let cell = Cell::new(index, subject.clone(), fs.clone(), spec);
        cell_report(&cell, &cell.result(), &id)
    });
    let explored = spec.crash.power().then(|| spec.explored());
    let report = report_of(subjects, explored, cells.collect(), killed);
    let written = report::write_report(&report, store.directory());
    let cut = (!whole).then_some(RunError::Interrupted);
    Ok(Finished { report, store, cut: cut.or(written.err().map(RunError::from)) })
}

/// What is known as soon as a workload has been recorded: that it cannot be judged, and why.
fn cannot_be_judged(subject: &Subject, explore_invalid: bool) -> String {
    /// Enough to see what it is about; the report has all.
    const SHOWN: usize = 3;
    let calls = subject.unmodelled_calls();
    let mut reasons: Vec<String> = calls.iter().take(SHOWN).map(ToString::to_string).collect();
    if calls.len() > SHOWN {
        reasons.push(format!("… and {} more", calls.len() - SHOWN));
    }
    let explored = if explore_invalid { "explored all the same" } else { "not explored (--explore-invalid does)" };
    format!(
        "{} cannot be judged, since its files were changed in a way that the recorder does not follow: {}; {explored}",
        subject.name,
        reasons.join("; ")
    )
}
