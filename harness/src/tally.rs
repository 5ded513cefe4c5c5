//! Adds up what the classes of crash states come to: pure.

use std::collections::BTreeMap;

use checker::{Finding, Invariant, Kind, Moment};
use disk::{Fates, State};
use num_bigint::BigUint;
use trace::RelPath;

use crate::front::SYSTEMATIC;
use crate::unit;

/// One way in which an invariant is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Whether it fails the run: first, so that what does comes first.
    pub told_only: bool,
    /// The file.
    pub path: RelPath,
    /// The invariant.
    pub invariant: Invariant,
    /// How it is broken.
    pub kind: Kind,
}

/// Where a class was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The unit.
    pub unit: unit::Key,
    /// Whether the machine crashed again while it recovered.
    pub again: bool,
    /// How many injections the schedule counts as.
    pub injections: u32,
    /// Index of the schedule.
    pub schedule: usize,
    /// Index of the epoch in that schedule's log.
    pub epoch: usize,
}

/// A class that shows a violation: the one that is shown of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Where.
    pub place: Place,
    /// The state, of the class, that lost the fewest writes.
    pub state: State,
    /// When the class can occur.
    pub moment: Moment,
    /// What was seen, in words.
    pub observed: String,
}

/// All crash states that break one invariant in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// How many.
    pub states: BigUint,
    /// One of them.
    pub example: Example,
}

/// How many states there are in which no write lost anything, one did, two did: what is tried in this order, before
/// anything is left to chance ([`crate::front`]).
pub type ByLosses = [BigUint; SYSTEMATIC as usize + 1];

/// Adds in each place.
pub fn add(sums: &mut ByLosses, more: ByLosses) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// What was found in some part of the work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// States that the disk model allows, of the epochs that were counted.
    pub allowed: BigUint,
    /// States that a mount decided.
    pub covered: BigUint,
    /// Of `allowed`: in how many no write lost anything, in how many one, two.
    pub allowed_by_losses: ByLosses,
    /// Of `covered`, likewise.
    pub covered_by_losses: ByLosses,
    /// Mounts.
    pub mounts: u64,
    /// What is wrong, by what.
    pub violations: BTreeMap<Key, Violation>,
}

impl Tally {
    /// Adds one class, found at `place`.
    pub fn class(&mut self, fates: &Fates, findings: Vec<Finding>, place: Place, moment: Moment) {
        let count = fates.count();
        for finding in findings {
            let observed = finding.observed.clone();
            let example = Example { place, state: fates.fewest_lost(), moment, observed };
            let Finding { invariant, kind, path, fails, .. } = finding;
            self.add(Key { told_only: !fails, path, invariant, kind }, Violation { states: count.clone(), example });
        }
        self.covered += count;
        add(&mut self.covered_by_losses, fates.count_by_losses());
        self.mounts += 1;
    }

    /// Adds what was found elsewhere. The result does not depend on the order.
    pub fn merge(&mut self, other: Tally) {
        self.allowed += other.allowed;
        self.covered += other.covered;
        add(&mut self.allowed_by_losses, other.allowed_by_losses);
        add(&mut self.covered_by_losses, other.covered_by_losses);
        self.mounts += other.mounts;
        for (key, violation) in other.violations {
            self.add(key, violation);
        }
    }

    fn add(&mut self, key: Key, violation: Violation) {
        match self.violations.entry(key) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(violation);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.states += violation.states;
                if violation.example.rank() < known.example.rank() {
                    known.example = violation.example;
                }
            }
        }
    }
}

impl Example {
    /// The lower, the easier to understand: one crash only, fewer injections, fewer lost writes, an earlier schedule and
    /// epoch.
    fn rank(&self) -> impl Ord {
        let State { lost, torn, lost_units } = &self.state;
        let Place { unit, again, injections, schedule, epoch } = self.place;
        (again, injections, lost.len() + torn.len() + lost_units.len(), schedule, epoch, self.state.clone(), unit)
    }
}
