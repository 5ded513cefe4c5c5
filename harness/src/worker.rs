//! Workers: each has a guest of its own and takes work from the cells until there is none.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use checker::{Guide, Moment};
use disk::Layers;
use protocol::Command;
use report::{CellReport, Event};
use tokio::sync::{Notify, mpsc};
use tracing::warn;
use vm::{Guest, GuestError, Limits, Machine};

use crate::cell::{Ask, Cell, Job, Outcome};
use crate::explore::{Guests, explore};
use crate::mkfs::{MkfsError, mkfs};
use crate::replay::{Replay, ReplayError, populate, replay};
use crate::schedule::Plan;
use crate::tally::Tally;

/// What the workers of a run share.
pub struct Yard {
    /// The machine that guests run on.
    pub machine: Box<dyn Machine>,
    /// What they boot from.
    pub initramfs: PathBuf,
    /// Size of their data disk, 512-byte sectors.
    pub sectors: u64,
    /// Time limits.
    pub limits: Limits,
    /// The cells, in the order of the report.
    pub cells: Vec<Arc<Cell>>,
    /// Set to end early.
    pub stop: Arc<AtomicBool>,
    /// Rung when there may be new work.
    pub bell: Notify,
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

/// A worker's guest, and what it was told.
pub struct Slot<'a> {
    yard: &'a Yard,
    guest: Option<Guest>,
    guide: Option<Arc<Guide>>,
    told: bool,
}

impl<'a> Slot<'a> {
    /// No guest yet.
    pub fn new(yard: &'a Yard) -> Self {
        Self { yard, guest: None, guide: None, told: false }
    }

    /// Has guests observe along `guide` from now on.
    pub fn set_guide(&mut self, guide: &Arc<Guide>) {
        if !self.guide.as_ref().is_some_and(|known| Arc::ptr_eq(known, guide)) {
            self.guide = Some(guide.clone());
            self.told = false;
        }
    }
}

impl Guests for Slot<'_> {
    async fn guest(&mut self) -> Result<&mut Guest, GuestError> {
        if self.guest.is_none() {
            let Yard { machine, initramfs, sectors, limits, .. } = self.yard;
            self.guest = Some(Guest::boot(machine.as_ref(), initramfs, *sectors, *limits).await?);
            self.told = false;
        }
        let guest = self.guest.as_mut().unwrap_or_else(|| unreachable!("a guest has just been put there"));
        if !self.told
            && let Some(guide) = &self.guide
        {
            guest.call(&Command::Guide(guide.clone())).await?;
            self.told = true;
        }
        Ok(guest)
    }

    fn lost(&mut self) {
        self.guest = None;
    }
}

/// Works until there is nothing left to do.
pub async fn work(yard: &Yard) -> Result<(), WorkError> {
    let mut slot = Slot::new(yard);
    loop {
        // Before looking, so that a bell that rings meanwhile is heard.
        let bell = yard.bell.notified();
        let mut later = false;
        let mut found = None;
        for cell in &yard.cells {
            if yard.stop.load(Ordering::Relaxed) {
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
                let done = perform(yard, &mut slot, cell, job).await;
                yard.bell.notify_waiters();
                done?;
                let _ = yard.events.send(Event::Progress { cell: cell.id.clone(), progress: cell.progress() });
                if cell.finish() {
                    let _ = yard.events.send(Event::CellFinished(Box::new((yard.finish)(cell))));
                }
            }
            None if later => bell.await,
            None => return Ok(()),
        }
    }
}

async fn perform(yard: &Yard, slot: &mut Slot<'_>, cell: &Arc<Cell>, job: Job) -> Result<(), WorkError> {
    match job {
        Job::Prepare => prepare(yard, slot, cell).await,
        Job::Schedule(schedule, base) => {
            let plan = cell.subject.schedules[schedule].plan(&cell.subject.trace, &cell.subject.history);
            match one_schedule(yard, slot, cell, schedule, &base, &plan).await {
                Ok(outcome) => {
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

async fn prepare(yard: &Yard, slot: &mut Slot<'_>, cell: &Cell) -> Result<(), WorkError> {
    let _ = yard.events.send(Event::CellStarted { cell: cell.id.clone(), vm: yard.machine.name().into() });
    let fresh = mkfs(&cell.filesystem, yard.sectors * disk::SECTOR as u64)?;
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
    yard: &Yard,
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
    for (index, epoch) in disk::epochs(&log, &cell.model).into_iter().enumerate() {
        epoch.advance(&mut durable, &log, from);
        from = epoch.volatile.start;
        let layers = Arc::new(Layers::new(durable.clone(), &log, &epoch, cell.model));
        tally.allowed += layers.fates().count();
        let ended_latest = plan.ops_begun(epoch.ended_last as usize);
        let go_on = || !yard.stop.load(Ordering::Relaxed) && cell.may_go_on();
        let whole = explore(slot, &cell.filesystem, &layers, go_on, |class| {
            let survived = class.fates.decisions().iter().filter(|decision| decision.survived);
            let steps = survived.map(|decision| layers.volatile()[decision.write as usize].step + 1).max();
            let begun_earliest = plan.ops_begun(steps.unwrap_or(0).max(epoch.ended_first) as usize);
            let moment = Moment { begun_earliest, ended_latest };
            let mut findings = subject.rules.judge(&class.observation, &moment);
            findings.iter_mut().for_each(|finding| finding.fails &= !class.weakness);
            tally.class(&class.fates, findings, schedule, index, moment);
        })
        .await?;
        complete &= whole;
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
