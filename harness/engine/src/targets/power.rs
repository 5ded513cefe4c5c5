//! Power failures: the machine stops, and the disk has what was flushed, and any part of the rest.
//!
//! The evidence is what the disk saw while a schedule was executed; its epochs are explored; a visit is a mount in a guest,
//! unless the journal says what one has seen.

use std::borrow::Borrow;
use std::sync::Arc;

use checker::{CrashWindow, Finding, Observation, ReadPlan};
use explore::{ExplorationUnit, Target, Visit};
use report::Event;
use storage::{Fates, Layers, Recovery, State};
use tokio::sync::mpsc;
use vm::GuestError;

use crate::cell::Cell;
use crate::execute::ExecutionError;
use crate::guests::Slot;
use crate::journal::line::Id;
use crate::journal::{self, Journal};
use crate::judging::{JudgedUnit, judge, same};
use crate::subject::Subject;
use crate::tally::{Example, FoundAt};
use crate::unit::{Executed, ToVisit, Unit};
use crate::visit::{EquivalenceClass, Guests, enter, observe_image};
use crate::window::window;

/// What a mount showed.
#[derive(Debug)]
pub struct Mounted {
    /// What all states of the equivalence class look like.
    pub observation: Arc<Observation>,
    /// What recovery wrote, if recovery crashes are to be explored.
    pub recovery: Option<Recovery>,
    /// Whether the journal had it: nothing was mounted now.
    pub from_journal: bool,
}

impl Borrow<Observation> for Mounted {
    fn borrow(&self) -> &Observation {
        &self.observation
    }
}

/// One guest, and who looks at crash states on it.
pub struct Bench<'a> {
    /// The worker's guest, which is booted when it is needed.
    pub slot: Slot<'a>,
    journal: &'a Journal,
    events: &'a mpsc::UnboundedSender<Event>,
    /// The unit that it was at last: most pieces of work are of the same unit as the one before, and many of the others
    /// of the same epoch.
    at: Option<At>,
}

/// A unit, with what the states of its epoch share, and what its own do.
struct At {
    unit: Arc<Unit>,
    first: Arc<Layers>,
    layers: Arc<Layers>,
}

/// The power failures of one cell.
pub struct PowerFailure<'b, 'a> {
    bench: &'b mut Bench<'a>,
    cell: &'b Cell,
}

impl Target for PowerFailure<'_, '_> {
    type Evidence = Executed;
    type Observation = Mounted;
    type Error = GuestError;

    async fn visit(&mut self, to_visit: &ToVisit) -> Result<Visit<Fates, Mounted>, GuestError> {
        let Self { bench, cell } = self;
        let unit = &to_visit.unit;
        // What recovery writes is in no journal, so a branch that recovers anew has to be visited anew.
        let record = cell.recovery_crashes && to_visit.branch.mounts_anew && unit.recovery_crash.is_none();
        let known = if record { None } else { bench.journal.find(cell.index, to_visit) };
        let known = known.and_then(|record| {
            let observed = record.observed.filter(|observed| observed.plan == cell.subject.plan)?;
            let (class, observation) = (unit.settled(&record.decisions)?, observed.observation);
            Some(Visit { class, observation: Mounted { observation, recovery: None, from_journal: true } })
        });
        match known {
            Some(known) => Ok(known),
            None => bench.mount(cell, to_visit, record).await,
        }
    }
}

impl JudgedUnit for Unit {
    type Example = Example;

    /// A recovery crash changes nothing of that.
    fn window(&self, class: &Fates) -> CrashWindow {
        let before = self.recovery_crash.iter().flat_map(|crash| crash.class.decisions());
        let survived = before.chain(class.decisions()).filter(|decision| decision.survived);
        let Executed { plan, epochs, log, .. } = &*self.executed;
        window(plan, &epochs[self.epoch], log, survived.map(|decision| decision.write))
    }

    fn is_torn(&self, class: &Fates) -> bool {
        class.torn()
    }

    fn example(&self, subject: &Subject, class: &Fates, finding: &Finding) -> Example {
        let schedule = self.executed.schedule;
        let place = FoundAt {
            unit: self.key,
            recovery_crash: self.recovery_crash.is_some(),
            injections: subject.schedules[schedule].injected(),
            schedule,
            epoch: self.epoch,
        };
        Example::of(finding, class, place, self.window(class))
    }
}

impl<'a> Bench<'a> {
    /// One without a guest; what is seen is kept in the journal.
    pub fn new(slot: Slot<'a>, journal: &'a Journal, events: &'a mpsc::UnboundedSender<Event>) -> Self {
        Self { slot, journal, events, at: None }
    }

    /// Forgets all: the guest may have anything mounted, and a unit may be half made.
    pub fn reset(&mut self) {
        self.slot.lost();
        self.at = None;
    }

    /// What crashes in this cell.
    pub fn target<'b>(&'b mut self, cell: &'b Cell) -> PowerFailure<'b, 'a> {
        PowerFailure { bench: self, cell }
    }

    /// Visits one branch, and keeps what is seen.
    async fn mount(
        &mut self,
        cell: &Cell,
        to_visit: &ToVisit,
        record: bool,
    ) -> Result<Visit<Fates, Mounted>, GuestError> {
        let layers = self.at(cell, &to_visit.unit).layers.clone();
        self.slot.set_read_plan(&cell.subject.read_plan);
        let found = enter(&mut self.slot, &cell.filesystem, &layers, &to_visit.branch.prefix(), record).await?;
        let EquivalenceClass { fates, observation, recovery } = found;
        let seen = (fates.decisions(), &observation, recovery.as_ref());
        self.kept(self.journal.add(cell.index, to_visit, cell.subject.plan, seen));
        let observation = Mounted { observation: Arc::new(observation), recovery, from_journal: false };
        Ok(Visit { class: fates, observation })
    }

    /// Warns if something could not be kept in the journal.
    pub fn kept(&self, kept: std::io::Result<()>) {
        if let Err(error) = kept {
            let text = format!(
                "failed to write {}: {error}; if this run is cut short, it cannot go on beyond this point",
                journal::NAME
            );
            let _ = self.events.send(Event::Warning { cell: None, text });
        }
    }

    /// Whether a state of an equivalence class, looked at by itself, shows these findings and no others.
    ///
    /// # Errors
    /// As [`judge`], and what a guest may fail by.
    pub async fn shows(
        &mut self,
        cell: &Cell,
        unit: &Arc<Unit>,
        class: &Fates,
        findings: &[Finding],
    ) -> Result<bool, ExecutionError> {
        let image = self.at(cell, unit).layers.image(&class.fewest_lost());
        self.slot.set_read_plan(&cell.subject.read_plan);
        let observation = observe_image(&mut self.slot, &cell.filesystem, image).await?;
        let found = judge(&cell.subject, class.torn(), &observation, &unit.window(class)).await?;
        let has = |all: &[Finding], one: &Finding| all.iter().any(|other| same(one, other));
        Ok(found.iter().all(|one| has(findings, one)) && findings.iter().all(|one| has(&found, one)))
    }

    /// Looks at one state, built as a whole, along a read plan with this hash; and keeps what is seen.
    ///
    /// # Errors
    /// What a guest may fail by.
    pub async fn look_at(
        &mut self,
        cell: &Cell,
        unit: &Arc<Unit>,
        state: &State,
        (read_plan, plan): (&Arc<ReadPlan>, Id),
    ) -> Result<Observation, GuestError> {
        let image = self.at(cell, unit).layers.image(state);
        self.slot.set_read_plan(read_plan);
        let observation = observe_image(&mut self.slot, &cell.filesystem, image).await?;
        self.kept(self.journal.add_look(cell.index, unit.key(), state, plan, &observation));
        Ok(observation)
    }

    /// What the unit's states share, made once for all pieces of work of one unit that come one after the other.
    fn at(&mut self, cell: &Cell, unit: &Arc<Unit>) -> &At {
        let at = match self.at.take() {
            Some(at) if Arc::ptr_eq(&at.unit, unit) => at,
            other => {
                let first = match other {
                    Some(At { unit: known, first, .. })
                        if Arc::ptr_eq(&known.executed, &unit.executed) && known.epoch == unit.epoch =>
                    {
                        first
                    }
                    _ => Arc::new(unit.executed.layers(unit.epoch, cell.model)),
                };
                let layers = unit.layers(&first);
                At { unit: unit.clone(), first, layers }
            }
        };
        self.at.insert(at)
    }
}
