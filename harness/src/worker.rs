//! Workers: each has a guest of its own and takes work from the cells until there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use disk::Layers;
use report::{CellReport, Event};
use tokio::sync::{Notify, mpsc};
use tracing::warn;
use vm::GuestError;

use crate::cell::{Ask, Cell, Job, Outcome};
use crate::explore::{Guests, explore, is_weakness};
use crate::guests::{Boot, Slot};
use crate::mkfs::{MkfsError, mkfs};
use crate::moment::moment;
use crate::replay::{Replay, ReplayError, populate, replay};
use crate::schedule::Plan;
use crate::tally::Tally;
use crate::words::violation_report;

/// What the workers of a run share.
pub struct Shared {
    /// The run's hash, for tokens.
    pub run: String,
    /// What their guests boot from.
    pub boot: Boot,
    /// The cells, in the order of the report.
    pub cells: Vec<Arc<Cell>>,
    /// Set to end early.
    pub stop: Arc<AtomicBool>,
    /// Told when there may be new work.
    pub news: Notify,
    /// Where events go.
    pub events: mpsc::UnboundedSender<Event>,
    /// Puts a finished cell into its report, with its tokens.
    pub finish: Box<dyn Fn(&Cell) -> CellReport + Send + Sync>,
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// No guest.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// No fresh file system.
    #[error(transparent)]
    Mkfs(#[from] MkfsError),
    /// The guest's kernel does not take what it is to mount.
    #[error("{cell}: the guest agent {reason}")]
    Start {
        /// Which cell.
        cell: String,
        /// Why.
        reason: String,
    },
}

/// Works until there is nothing left to do.
pub async fn work(shared: &Shared) -> Result<(), WorkError> {
    let mut slot = Slot::new(&shared.boot);
    loop {
        // Before looking, so that what is told meanwhile is heard.
        let news = shared.news.notified();
        let mut later = false;
        let mut found = None;
        // Each file system's first cell is prepared before anything is explored: a mount option that the kernel does
        // not know is told at once, not after hours.
        let begin = |cell: &&Arc<Cell>| {
            let first = shared.cells.iter().find(|other| other.filesystem == cell.filesystem);
            first.is_some_and(|first| first.index == cell.index) && cell.is_new()
        };
        for cell in shared.cells.iter().filter(begin).chain(&shared.cells) {
            if shared.stop.load(Ordering::Relaxed) {
                break;
            }
            match cell.ask() {
                Ask::Job(job) => {
                    found = Some((cell, job));
                    break;
                }
                Ask::Later => later = true,
                Ask::Nothing => {}
            }
        }
        match found {
            Some((cell, job)) => {
                let done = perform(shared, &mut slot, cell, job).await;
                shared.news.notify_waiters();
                done?;
                let _ = shared.events.send(Event::Progress { cell: cell.id.clone(), progress: cell.progress() });
                if cell.finish() {
                    let _ = shared.events.send(Event::CellFinished(Box::new((shared.finish)(cell))));
                }
            }
            None if later => news.await,
            None => return Ok(()),
        }
    }
}

async fn perform(shared: &Shared, slot: &mut Slot<'_>, cell: &Arc<Cell>, job: Job) -> Result<(), WorkError> {
    match job {
        Job::Prepare => match prepare(shared, slot, cell).await {
            Err(WorkError::Guest(error @ GuestError::Died { .. })) => {
                slot.lost();
                cell.failed(error.to_string());
                Ok(())
            }
            other => other.inspect_err(|error| cell.failed(error.to_string())),
        },
        Job::Schedule(schedule, base) => {
            let plan = cell.subject.schedules[schedule].plan(&cell.subject.trace, &cell.subject.history);
            match one_schedule(shared, slot, cell, schedule, &base, &plan).await {
                Ok(outcome) => {
                    tell_new(shared, cell, &outcome);
                    cell.explored(schedule, outcome);
                    Ok(())
                }
                Err(ReplayError::Guest(error @ (GuestError::Setup { .. } | GuestError::Boot { .. }))) => {
                    cell.failed(error.to_string());
                    Err(error.into())
                }
                Err(error) => {
                    // A guest that could not follow may have something mounted.
                    slot.lost();
                    let text = cell.subject.schedules[schedule].text();
                    cell.failed(format!("schedule {schedule} ({text}): {error}"));
                    Ok(())
                }
            }
        }
    }
}

/// Tells of violations of a kind that the cell did not have before.
fn tell_new(shared: &Shared, cell: &Cell, outcome: &Outcome) {
    let log = outcome.replay.as_ref().map(|(_, log)| log);
    for (key, violation) in &outcome.tally.violations {
        if !key.told_only && cell.is_news(key) {
            let violation = Box::new(violation_report(cell, log, key, violation, &shared.run));
            let _ = shared.events.send(Event::ViolationFound { cell: cell.id.clone(), violation });
        }
    }
}

async fn prepare(shared: &Shared, slot: &mut Slot<'_>, cell: &Cell) -> Result<(), WorkError> {
    let _ = shared.events.send(Event::CellStarted { cell: cell.id.clone(), vm: shared.boot.machine.name().into() });
    let fresh = mkfs(&cell.filesystem, shared.boot.sectors * disk::SECTOR as u64)?;
    slot.set_guide(&cell.subject.guide);
    let guest = slot.guest().await?;
    match populate(guest, &cell.filesystem, fresh, &cell.subject.trace.before).await {
        Ok(base) => {
            cell.prepared(base, guest.machine(), guest.kernel());
            Ok(())
        }
        Err(GuestError::Refused(reason)) => Err(WorkError::Start { cell: cell.id.to_string(), reason }),
        Err(error) => Err(error.into()),
    }
}

/// Replays one schedule and explores every epoch of what the disk saw.
async fn one_schedule(
    shared: &Shared,
    slot: &mut Slot<'_>,
    cell: &Cell,
    schedule: usize,
    base: &disk::Image,
    plan: &Plan,
) -> Result<Outcome, ReplayError> {
    let subject = &cell.subject;
    slot.set_guide(&subject.guide);
    let guest = slot.guest().await?;
    let Replay { start, log } = replay(guest, &cell.filesystem, base, plan, &subject.trace, &subject.live).await?;
    let mut tally = Tally::default();
    let mut complete = true;
    let mut durable = start.clone();
    let mut from = 0;
    let mut unchecked = None;
    for (index, epoch) in disk::epochs(&log, &cell.model).into_iter().enumerate() {
        epoch.advance(&mut durable, &log, from);
        from = epoch.volatile.start;
        let layers = Arc::new(Layers::new(durable.clone(), &log, &epoch, cell.model));
        tally.allowed += layers.fates().count();
        let go_on = || !shared.stop.load(Ordering::Relaxed) && cell.may_go_on();
        let whole = explore(slot, &cell.filesystem, &layers, go_on, |class| {
            let survived = class.fates.decisions().iter().filter(|decision| decision.survived);
            let moment = moment(plan, &epoch, layers.volatile(), survived.map(|decision| decision.write));
            let mut findings = subject.rules.judge(&class.observation, &moment);
            if let Some(checker) = &subject.checker {
                let judge = checker.judge(&class.observation, &moment);
                match tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(judge)) {
                    Ok(more) => findings.extend(more),
                    Err(error) => drop(unchecked.get_or_insert(error)),
                }
            }
            let weakness = is_weakness(&class.observation, class.fates.torn());
            findings.iter_mut().for_each(|finding| finding.fails &= !weakness);
            tally.class(&class.fates, findings, schedule, index, moment);
        })
        .await?;
        complete &= whole;
        if let Some(error) = unchecked.take() {
            return Err(error.into());
        }
    }
    if complete && tally.covered != tally.allowed {
        // The partition into classes is broken: say so rather than believe any number.
        warn!("covered {} of {} states", tally.covered, tally.allowed);
        return Err(ReplayError::Diverged(format!(
            "a defect of the harness: the classes hold {} states, the disk model allows {}",
            tally.covered, tally.allowed
        )));
    }
    let replay = (!tally.violations.is_empty()).then_some((start, log));
    Ok(Outcome { tally, complete, replay })
}
