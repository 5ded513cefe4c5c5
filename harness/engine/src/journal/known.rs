//! What has been seen before: the lines of a journal, by what they are of.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use checker::Observation;
use program::Content;
use storage::{Decision, LogShape, State};

use super::file::load;
use super::line::{Id, KeptRecovery, Line, Settled, Visit, name_of};
use super::names::Names;
use crate::store::{Store, StoreError};
use crate::sum::sum;
use crate::unit::ToVisit;

/// How many entries of each cell are looked at again when a run goes on: their mounts are all that it costs.
pub(super) const LOOKED_AT_AGAIN: usize = 8;

/// What the states of an equivalence class look like, and the hash of the read plan under which that was seen.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The hash of the read plan under which it was made ([`checker::ReadPlan`]).
    pub plan: Id,
    /// The observation of the mounted file system.
    pub observation: Arc<Observation>,
}

/// What an observation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The states of an equivalence class.
    Visit,
    /// One state that a report shows, built as a whole.
    Look,
}

/// What entering a branch came to.
#[derive(Debug)]
pub struct Record {
    /// All that was settled, the branch's prefix first.
    pub decisions: Vec<Decision>,
    /// What all states of the equivalence class look like; none if that was not kept.
    pub observed: Option<Observed>,
    /// What recovery wrote, if it was to be explored.
    pub recovery: Option<KeptRecovery>,
}

/// Where a visit was: the index of the cell, the keys of the exploration unit and of the branch.
pub(super) type Place = (usize, explore::Key, explore::Key);

/// What has been seen before.
#[derive(Debug, Default)]
pub struct Known {
    pub(super) visits: HashMap<Place, Visit>,
    pub(super) observations: HashMap<Id, Observed>,
    pub(super) contents: HashMap<Id, Content>,
    pub(super) executions: BTreeMap<(usize, usize), LogShape>,
    looks: HashMap<(usize, Id, State), Vec<Id>>,
}

impl Known {
    /// What the journal of a run holds, for those who only read it. An empty one if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn of(store: &Store, run: &str) -> Result<Self, StoreError> {
        Ok(load(store, run)?.map_or_else(Self::default, |(known, _)| known))
    }

    /// What these lines hold.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn of_lines(lines: Vec<Line>) -> Result<Self, &'static str> {
        let mut known = Self::default();
        lines.into_iter().try_for_each(|line| known.add(line))?;
        Ok(known)
    }

    /// What entering a branch came to.
    pub fn find(&self, cell: usize, entry: &ToVisit) -> Option<Record> {
        let visit = self.visits.get(&(cell, entry.unit.key, entry.branch.key))?;
        let mut decisions = entry.branch.prefix();
        decisions.extend(decided(&visit.settled));
        let observed = visit.observation.and_then(|id| self.observations.get(&id)).cloned();
        Some(Record { decisions, observed, recovery: visit.recovery.clone() })
    }

    /// What the disk of a cell saw while a schedule was executed, without the data.
    pub fn execution(&self, cell: usize, schedule: usize) -> Option<&LogShape> {
        self.executions.get(&(cell, schedule))
    }

    /// What a state looks like that was built as a whole, under each plan that it was looked at under.
    pub fn looks(&self, cell: usize, unit: &explore::Key, state: &State) -> impl Iterator<Item = &Observed> {
        let looks = self.looks.get(&(cell, Id(*unit), state.clone()));
        looks.into_iter().flatten().filter_map(|id| self.observations.get(id))
    }

    /// The lines of the journal of another run, of the same executions: visits and looks with what `again` makes of their
    /// observations. Those of which it makes none are left out.
    pub fn lines(&self, again: impl Fn(usize, &Observed, Of) -> Vec<Observed>) -> Vec<Line> {
        let mut lines = Vec::new();
        for (&(cell, schedule), shape) in &self.executions {
            let log = postcard::to_stdvec(shape).unwrap_or_default();
            lines.push(Line::Execution { cell, schedule, log });
        }
        let mut names = Names::default();
        let mut translate = |cell: usize, id: Id, of: Of, lines: &mut Vec<Line>| -> Vec<Id> {
            let all = self.observations.get(&id).map_or_else(Vec::new, |observed| again(cell, observed, of));
            let name = |Observed { plan, observation }: Observed| {
                names.observation(name_of(&observation, plan), &observation, plan, lines)
            };
            all.into_iter().filter_map(name).collect()
        };
        let mut visits: Vec<&Visit> = self.visits.values().collect();
        visits.sort_unstable_by_key(|visit| (visit.cell, visit.unit, visit.branch));
        for visit in visits {
            let ids = visit.observation.map_or_else(Vec::new, |id| translate(visit.cell, id, Of::Visit, &mut lines));
            for id in ids {
                lines.push(Line::Visit(Visit { observation: Some(id), ..visit.clone() }));
            }
        }
        let mut looks: Vec<_> = self.looks.iter().collect();
        looks.sort_unstable_by_key(|(place, _)| *place);
        for ((cell, unit, state), ids) in looks {
            for &id in ids {
                for observation in translate(*cell, id, Of::Look, &mut lines) {
                    lines.push(Line::Look { cell: *cell, unit: *unit, state: state.clone(), observation });
                }
            }
        }
        lines
    }

    /// How many visits there are of each cell.
    pub fn visits(&self) -> BTreeMap<usize, u64> {
        let mut visits = BTreeMap::new();
        for (cell, ..) in self.visits.keys() {
            *visits.entry(*cell).or_default() += 1;
        }
        visits
    }

    /// Takes in a line; what is wrong with it, if it is of no use.
    pub(super) fn add(&mut self, line: Line) -> Result<(), &'static str> {
        match line {
            Line::Execution { cell, schedule, log } => {
                let shape = postcard::from_bytes(&log).map_err(|_| "it holds no log")?;
                self.executions.insert((cell, schedule), shape);
            }
            Line::Content { bytes } => drop(self.contents.insert(Id::of(&bytes), bytes.into())),
            Line::Observation(kept) => {
                let (id, plan) = (kept.id, kept.plan);
                let observation = kept.observation(|content| self.contents.get(&content).cloned());
                let observation = observation.filter(|observation| name_of(observation, plan) == id);
                let observation = Arc::new(observation.ok_or("its observation is not the one that it names")?);
                self.observations.insert(id, Observed { plan, observation });
            }
            Line::Visit(visit) => {
                self.visits.insert((visit.cell, visit.unit.0, visit.branch.0), visit);
            }
            Line::Look { cell, unit, state, observation } => {
                self.looks.entry((cell, unit, state)).or_default().push(observation);
            }
        }
        Ok(())
    }
}

/// The same decisions, as the disk has them.
pub fn decided(settled: &[Settled]) -> impl Iterator<Item = Decision> {
    settled.iter().map(|&(write, unit, survived)| Decision { write, unit, survived })
}

pub(super) fn settled(decisions: &[Decision]) -> Vec<Settled> {
    decisions.iter().map(|decision| (decision.write, decision.unit, decision.survived)).collect()
}

/// The entries that are looked at again: for each cell some, by chance.
pub(super) fn chosen(known: &Known, seed: u64) -> HashSet<Place> {
    let mut cells: HashMap<usize, Vec<([u8; 8], Place)>> = HashMap::new();
    for &place in known.visits.keys() {
        let (cell, unit, branch) = place;
        cells.entry(cell).or_default().push((sum(&[&seed.to_le_bytes(), &unit, &branch]), place));
    }
    let some = |mut all: Vec<([u8; 8], Place)>| {
        all.sort_unstable();
        all.into_iter().take(LOOKED_AT_AGAIN).map(|(_, place)| place)
    };
    cells.into_values().flat_map(some).collect()
}
