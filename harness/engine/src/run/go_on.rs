//! Goes on with a run that was begun before, if its guests and tools are still what they were.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use checks::KeptCheck;
use program::Trace;
use report::Event;
use tokio::sync::mpsc;
use vm::{Choice, Limits, Paths};
use workload::Workload;

use super::begun::{Begun, filesystems_of, tools};
use super::explore::{choose, explore, stopped};
use super::{Finished, RunError};
use crate::permit::Permit;
use crate::store::{Kept, KeptWorkload, Store};
use crate::subject::{Demands, Judges, SubjectError};

/// Goes on with a run that was cut short: what it has found is not looked for again, and the report is the one that it
/// would have written. Its checks are run if `permit` says so.
///
/// # Errors
/// The run cannot be gone on with, or see [`super::run`].
pub async fn resume(
    store: Store,
    permit: &Permit,
    workers: usize,
    limits: Limits,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<Finished, RunError> {
    let kept = store.kept()?;
    // Before anything is written or run.
    let checks = checks(&kept, &store, permit, |_| false)?;
    let lock = store.lock()?;
    let id = store.id()?;
    is_as_it_was(&kept, &checks, &store)?;
    store.remove_unfinished(&lock)?;
    let mut subjects = Vec::new();
    for (index, (workload, check)) in kept.workloads.iter().zip(&checks).enumerate() {
        let trace = store.trace(index)?;
        let damaged = |problem| store.damaged_manifest(problem);
        if check.is_some() {
            tell_of_check(workload, permit, &events).map_err(damaged)?;
        }
        let judges = judges(check.as_ref(), &trace, stop)?;
        subjects.push(Arc::new(workload.subject(trace, kept.spec.bounds(), judges).map_err(damaged)??));
    }
    let begun = Begun { id, subjects, kept, store, lock, done: BTreeMap::new() };
    go_on(begun, workers, limits, paths, stop, events).await
}

/// Goes on with a run some of whose cells may be done: explores the others, on guests of the kind that it had.
///
/// # Errors
/// There are no such guests, or see [`super::run`].
pub(crate) async fn go_on(
    begun: Begun,
    workers: usize,
    limits: Limits,
    paths: &Paths,
    stop: &Arc<AtomicBool>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<Finished, RunError> {
    let was = &begun.kept.machine;
    let machine = choose(Choice::of(was), begun.kept.spec.kernel.as_deref(), paths, stop).await?;
    if machine.name() != was {
        return Err(RunError::OtherMachine { was: was.clone(), is: machine.name().into() });
    }
    // Before anything is written: what the run has found stays as it is.
    tokio::select! {
        same = begun.has_its_kernel(machine.as_ref(), limits, paths) => same?,
        () = stopped(stop) => return Err(RunError::Interrupted),
    }
    explore(begun, machine, workers, limits, paths, stop, events).await
}

/// Who judges a program: its rules and this workload's check and views.
pub(crate) fn judges(check: Option<&Workload>, trace: &Trace, stop: &Arc<AtomicBool>) -> Result<Judges, SubjectError> {
    let Some(check) = check else { return Ok(Judges::Rules) };
    tokio::task::block_in_place(|| Judges::of(check, trace, stop))
}

/// Says which commands are run, if they stand in the results.
///
/// # Errors
/// What was kept of the workload is damaged.
pub(crate) fn tell_of_check(
    workload: &KeptWorkload,
    permit: &Permit,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<(), String> {
    if let Some(kept) = workload.commands()?.filter(|_| permit.runs_what_stands_there()) {
        let text = format!("running the {} of {}: {}", kept.what(), workload.name, kept.shown());
        let _ = events.send(Event::Note { cell: None, text });
    }
    Ok(())
}

/// For each workload of a run, whose check and commands are run as its own, with the views of the run, unless another
/// takes its place.
pub(crate) fn checks(
    kept: &Kept,
    store: &Store,
    permit: &Permit,
    is_replaced: impl Fn(&str) -> bool,
) -> Result<Vec<Option<Workload>>, RunError> {
    let check = |kept: &KeptWorkload| {
        let name = &kept.name;
        if is_replaced(name) {
            return Ok(None);
        }
        let damaged = |problem| RunError::from(store.damaged_manifest(problem));
        let found = match kept.commands().map_err(damaged)? {
            // Built-in readers run no command.
            None => KeptCheck::default().workload(name).map_err(SubjectError::from)?,
            Some(commands) => {
                let permitted = permit.check(name, &commands).map_err(SubjectError::from)?;
                permitted.ok_or_else(|| RunError::NotPermitted {
                    directory: store.directory().into(),
                    name: name.clone(),
                    what: commands.with_article(),
                    check: commands.shown(),
                })?
            }
        };
        let Demands { wanted, ignore, .. } = kept.demands().map_err(damaged)?;
        Ok(Some(Workload { invariants: wanted, ignore, ..found }))
    };
    kept.workloads.iter().map(check).collect()
}

/// Refuses to mix what a run has found with what would be found now, by other means.
pub(crate) fn is_as_it_was(kept: &Kept, checks: &[Option<Workload>], store: &Store) -> Result<(), RunError> {
    let filesystems = filesystems_of(kept, store)?;
    let was = |what: &str| kept.tools.get(what).map_or("unknown", String::as_str).to_owned();
    let mut all: Vec<(String, String, String)> =
        tools(&filesystems).into_iter().map(|(what, is)| (was(&what), is, what)).collect();
    for (kept, workload) in kept.workloads.iter().zip(checks) {
        let commands = kept.commands().map_err(|problem| store.damaged_manifest(problem))?;
        if let (Some(commands), Some(workload)) = (commands, workload) {
            let (was, is) = commands.files_in(workload);
            all.push((was, is, format!("{} of {}", commands.what(), kept.name)));
        }
    }
    match all.into_iter().find(|(was, is, _)| was != is) {
        Some((was, is, what)) => Err(RunError::Changed { directory: store.directory().into(), what, was, is }),
        None => Ok(()),
    }
}
