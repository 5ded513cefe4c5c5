//! The fates of an epoch's volatile writes: which are settled, which are open, and how many states that leaves.

use std::collections::BTreeMap;
use std::ops::Range;

use explore::{Decision, StateSpace};
use num_bigint::BigUint;

use crate::{DiskModel, TearKind, WriteEntry};

mod count;
mod enumerate;
mod state;

pub use state::{State, Tear};

/// What is settled about one write: the outermost units known to have survived and to have been lost. Under `one`
/// the surviving units of a torn write are a head or a tail, so the extremes say all.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    survived: Option<(u32, u32)>,
    lost: Option<(u32, u32)>,
}

impl Known {
    fn with(mut self, unit: u32, survived: bool) -> Self {
        let range = if survived { &mut self.survived } else { &mut self.lost };
        *range = Some(range.map_or((unit, unit), |(low, high)| (low.min(unit), high.max(unit))));
        self
    }

    /// How many untorn fates remain: kept whole, lost whole.
    fn whole(&self) -> u64 {
        u64::from(self.lost.is_none()) + u64::from(self.survived.is_none())
    }

    /// How many torn fates (head or tail kept, at one of `units - 1` boundaries) remain.
    fn torn(&self, units: u32) -> u64 {
        let span = |above: Option<u32>, upto: Option<u32>| {
            let lowest = above.map_or(1, |unit| (unit + 1).max(1));
            let highest = upto.map_or(units - 1, |unit| unit.min(units - 1));
            u64::from((highest + 1).saturating_sub(lowest))
        };
        // A head kept up to boundary b: every surviving unit is below b, every lost one at or above it.
        let head = span(self.survived.map(|(_, high)| high), self.lost.map(|(low, _)| low));
        // A tail kept from b on: every lost unit is below b, every surviving one at or above it.
        let tail = span(self.lost.map(|(_, high)| high), self.survived.map(|(low, _)| low));
        head + tail
    }
}

/// The writes that one crash caught.
#[derive(Clone, Debug)]
struct Crash {
    writes: Range<u32>,
    /// The first of them that is known to be torn: a unit of it survived, another was lost.
    torn: Option<u32>,
    /// How many torn fates those have together of which nothing is known.
    open: u64,
}

/// The fates of the volatile writes of one epoch, as far as they are settled: a set of crash states, counted exactly.
///
/// After a crash during recovery these are the writes that the first crash caught, and then those that the second did.
/// Only the first crash tears writes: see [`Fates::crashed`].
#[derive(Clone, Debug)]
pub struct Fates {
    tear: TearKind,
    /// Atomic units of each write.
    units: Vec<u32>,
    /// What is settled, for the writes of which anything is.
    known: BTreeMap<u32, Known>,
    /// For `any`: the single settled units.
    settled: BTreeMap<(u32, u32), bool>,
    crashes: Vec<Crash>,
    decisions: Vec<Decision>,
}

impl StateSpace for Fates {
    fn forced(&self, write: u32, unit: u32) -> Option<bool> {
        Self::forced(self, write, unit)
    }

    fn settle(&mut self, decision: Decision) {
        Self::settle(self, decision);
    }

    fn decisions(&self) -> &[Decision] {
        Self::decisions(self)
    }

    fn count(&self) -> BigUint {
        Self::count(self)
    }

    fn count_by_losses(&self) -> explore::ByLosses {
        Self::count_by_losses(self)
    }
}

impl Fates {
    /// All states of the volatile `writes` under `model`.
    pub fn open<'a>(model: &DiskModel, writes: impl IntoIterator<Item = &'a WriteEntry>) -> Self {
        let nothing = Self {
            tear: model.tear,
            units: Vec::new(),
            known: BTreeMap::new(),
            settled: BTreeMap::new(),
            crashes: Vec::new(),
            decisions: Vec::new(),
        };
        nothing.caught(writes.into_iter().map(|write| units_of(write, model.unit)))
    }

    /// What another crash makes of this: all that is settled, as a fact and not as a decision that a walk could turn
    /// round, and all subsets of the volatile `writes` that it caught. These are atomic whatever the model says of tears:
    /// to bound tears to one crash keeps the two from multiplying.
    pub fn crashed<'a>(self, writes: impl IntoIterator<Item = &'a WriteEntry>) -> Self {
        self.caught(writes.into_iter().map(|_| 1))
    }

    /// Another crash, which caught writes of so many units.
    fn caught(mut self, units: impl Iterator<Item = u32>) -> Self {
        let first = self.units.len();
        self.units.extend(units);
        let open = self.units[first..].iter().map(|&units| Known::default().torn(units)).sum();
        self.crashes.push(Crash { writes: first as u32..self.units.len() as u32, torn: None, open });
        self.decisions.clear();
        self
    }

    /// What has been settled, in the order in which it was.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Whether the unit's fate follows from what is settled already: `None` if both are still possible.
    pub fn forced(&self, write: u32, unit: u32) -> Option<bool> {
        let known = self.known.get(&write).copied().unwrap_or_default();
        match self.tear {
            TearKind::Any => self.settled.get(&(write, unit)).copied(),
            TearKind::None => match (known.survived, known.lost) {
                (Some(_), _) => Some(true),
                (_, Some(_)) => Some(false),
                _ => None,
            },
            TearKind::One => {
                let possible = |survived| self.possible(write, known.with(unit, survived));
                match (possible(true), possible(false)) {
                    (true, true) => None,
                    (survived, _) => Some(survived),
                }
            }
        }
    }

    /// Which way an open question about `write` is taken first: nothing is lost without need, and a write that has lost
    /// something is lost as a whole before it is torn.
    pub fn rather_survived(&self, write: u32) -> bool {
        self.known.get(&write).is_none_or(|known| known.lost.is_none() || known.survived.is_some())
    }

    /// Whether any state is left if `write` is known to be `known`: at most one write of a crash may have lost both its
    /// whole fates, and that one must still have a torn one.
    fn possible(&self, write: u32, known: Known) -> bool {
        let another = self.crashes[self.crash(write)].torn.is_some_and(|torn| torn != write);
        known.whole() > 0 || !another && known.torn(self.units[write as usize]) > 0
    }

    /// Index of the crash that caught a write.
    fn crash(&self, write: u32) -> usize {
        self.crashes.partition_point(|crash| crash.writes.end <= write)
    }

    /// Whether there is such a unit, and it may still have this fate.
    fn fits(&self, decision: Decision) -> bool {
        let Decision { write, unit, survived } = decision;
        self.units.get(write as usize).is_some_and(|&units| unit < units) && self.forced(write, unit) != Some(!survived)
    }

    /// Settles one unit. Settling what is forced already, the same way, is harmless but is recorded.
    pub fn settle(&mut self, decision: Decision) {
        let Decision { write, unit, survived } = decision;
        let crash = self.crash(write);
        let crash = &mut self.crashes[crash];
        let known = self.known.entry(write).or_insert_with(|| {
            crash.open -= Known::default().torn(self.units[write as usize]);
            Known::default()
        });
        *known = known.with(unit, survived);
        if known.whole() == 0 {
            crash.torn.get_or_insert(write);
        }
        if self.tear == TearKind::Any {
            self.settled.insert((write, unit), survived);
        }
        self.decisions.push(decision);
    }

    /// One state among those that agree with everything settled: what is open survived, and a write of which only
    /// losses are known is lost whole.
    pub fn fewest_lost(&self) -> State {
        let mut state = State::default();
        for (&write, known) in &self.known {
            match (known.survived, known.lost) {
                (_, None) => {}
                (None, Some(_)) => state.lost.push(write),
                (Some(_), Some(_)) if self.tear == TearKind::Any => {
                    let units = self.settled.range((write, 0)..=(write, u32::MAX));
                    state.lost_units.extend(units.filter(|&(_, &survived)| !survived).map(|(&at, _)| at));
                }
                (Some(survived), Some(lost)) if survived.1 < lost.0 => state.torn.push((write, Tear::Head(lost.0))),
                (Some(_), Some(lost)) => state.torn.push((write, Tear::Tail(lost.1 + 1))),
            }
        }
        state
    }

    /// Whether some write is torn in every state that agrees with what is settled: a unit of it survived, another was
    /// lost.
    pub fn torn(&self) -> bool {
        self.crashes.iter().any(|crash| crash.torn.is_some())
    }

    /// Settles what a file says. False if that does not fit: the file must be damaged, and these fates are of no use.
    pub fn settle_these(&mut self, decisions: &[Decision]) -> bool {
        decisions.iter().all(|&decision| {
            let fits = self.fits(decision);
            if fits {
                self.settle(decision);
            }
            fits
        })
    }

    /// The fates of one whole state.
    pub fn settle_all(&mut self, state: &State) {
        for write in 0..self.units.len() as u32 {
            for unit in 0..self.units[write as usize] {
                self.settle(Decision { write, unit, survived: state.survived(write, unit) });
            }
        }
    }

    /// Whether `state` is one of the states that the model allows, whatever is settled.
    pub fn allows(&self, state: &State) -> bool {
        let units = |write: u32| self.units.get(write as usize).copied();
        let torn = state.torn.iter().all(|&(write, Tear::Head(boundary) | Tear::Tail(boundary))| {
            self.tear == TearKind::One && units(write).is_some_and(|units| (1..units).contains(&boundary))
        });
        let of = |crash: &Crash| state.torn.iter().filter(|(write, _)| crash.writes.contains(write)).count();
        let torn = torn && self.crashes.iter().all(|crash| of(crash) <= 1);
        let single =
            |&(write, unit): &(u32, u32)| self.tear == TearKind::Any && units(write).is_some_and(|units| unit < units);
        torn && state.lost.iter().all(|&write| units(write).is_some()) && state.lost_units.iter().all(single)
    }
}

/// The number of atomic units that a write touches.
pub(crate) fn units_of(write: &WriteEntry, unit: u32) -> u32 {
    let unit = u64::from(unit);
    ((write.sector + write.sectors()).div_ceil(unit) - write.sector / unit) as u32
}

#[cfg(test)]
mod tests;
