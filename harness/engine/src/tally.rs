//! Adds up what the classes of crash states come to: pure.

use std::collections::BTreeMap;

use checker::{CrashWindow, Finding, Invariant, Kind, Output};
use explore::SYSTEMATIC;
use num_bigint::BigUint;
use program::RelPath;
use storage::{Fates, State};

use crate::cause::{Cause, told_apart};

/// How many failures of a check are told apart while a cell is explored: those that come first in the order of their
/// texts, so that it does not depend on the order in which they are found.
const KNOWN_APART: usize = 1000;

/// One way in which an invariant is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Whether it fails the run: first, so that what does comes first.
    pub informational: bool,
    /// The file.
    pub path: RelPath,
    /// The invariant.
    pub invariant: Invariant,
    /// How it is broken.
    pub kind: Kind,
    /// Which failure of the workload's own check it is.
    pub cause: Cause,
}

/// Where a class was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The unit.
    pub unit: explore::Key,
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
    pub window: CrashWindow,
    /// What was seen, in words.
    pub observed: String,
    /// What the workload's own check printed, if it is what found fault.
    pub output: Option<Output>,
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
/// anything is left to chance ([`explore::Frontier`]).
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
    pub fn class(&mut self, fates: &Fates, findings: Vec<Finding>, place: Place, window: CrashWindow) {
        let count = fates.count();
        for finding in findings {
            let cause = Cause::of(&finding);
            let Finding { invariant, kind, path, fails, observed, check } = finding;
            let output = check.map(|check| check.output);
            let example = Example { place, state: fates.fewest_lost(), window, observed, output };
            let key = Key { informational: !fails, path, invariant, kind, cause };
            self.add(key, Violation { states: count.clone(), example });
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
                let key = entry.key().clone();
                entry.insert(violation);
                if matches!(key.cause, Cause::Failure(_)) {
                    self.bound(&key);
                }
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

impl Tally {
    /// Puts the last of the failures that differ from this one by their causes alone to the others, if there are too many.
    /// Whichever came before it stays before it, so it would not be let in again.
    fn bound(&mut self, key: &Key) {
        let failures = || self.violations.keys().filter(|other| is_alike(key, other)).filter(|other| is_failure(other));
        if failures().count() > KNOWN_APART
            && let Some(last) = failures().next_back().cloned()
        {
            self.put_to_others(last);
        }
    }

    fn put_to_others(&mut self, key: Key) {
        if let Some(violation) = self.violations.remove(&key) {
            self.add(Key { cause: Cause::Others, ..key }, violation);
        }
    }

    /// Leaves so many failures of a check apart as are reported; all others become one.
    pub fn fold(&mut self) {
        let failures: Vec<Key> = self.violations.keys().filter(|key| is_failure(key)).cloned().collect();
        let mut rest = failures.as_slice();
        while let Some(first) = rest.first() {
            let (alike, others) = rest.split_at(rest.iter().take_while(|key| is_alike(first, key)).count());
            let counted =
                alike.iter().filter_map(|key| Some((key.cause.text()?, self.violations.get(key)?.states.clone())));
            let kept = told_apart(counted);
            for key in alike {
                if key.cause.text().is_some_and(|text| !kept.contains(&text)) {
                    self.put_to_others(key.clone());
                }
            }
            rest = others;
        }
    }
}

fn is_failure(key: &Key) -> bool {
    matches!(key.cause, Cause::Failure(_))
}

/// Whether two ways of breaking an invariant differ by their causes alone.
fn is_alike(one: &Key, other: &Key) -> bool {
    let Key { informational, path, invariant, kind, cause: _ } = one;
    (informational, path, invariant, kind) == (&other.informational, &other.path, &other.invariant, &other.kind)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(failures: impl IntoIterator<Item = usize>) -> Tally {
        let mut tally = Tally::default();
        for number in failures {
            let place = Place { unit: Default::default(), again: false, injections: 0, schedule: number, epoch: 0 };
            let window = CrashWindow { begun_earliest: 0, ended_latest: 0 };
            let example =
                Example { place, state: State::default(), window, observed: number.to_string(), output: None };
            let cause = Cause::Failure(format!("exit 1: {}", "x".repeat(number)));
            let (invariant, kind) = (Invariant::Check, Kind::CheckFailed);
            let key = Key { informational: false, path: RelPath::root(), invariant, kind, cause };
            tally.add(key, Violation { states: (number as u32 + 1).into(), example });
        }
        tally
    }

    #[test]
    fn at_most_ten_failures_are_told_apart_whatever_the_order() {
        let mut some = tally(0..10);
        some.fold();
        assert_eq!(some, tally(0..10));
        let mut folded = tally(0..13);
        folded.fold();
        let others = folded.violations.iter().find(|(key, _)| key.cause == Cause::Others).unwrap().1;
        assert_eq!((folded.violations.len(), &others.states), (11, &6u32.into()));
        assert_eq!(others.example.observed, "0", "the simplest of them");
        let mut backwards = tally((0..13).rev());
        backwards.merge(Tally::default());
        backwards.fold();
        assert_eq!(backwards, folded);
    }

    /// A check that prints something else each time must not fill the memory.
    #[test]
    fn failures_are_bounded_and_counted_all_the_same() {
        let many = KNOWN_APART + 200;
        let (forwards, mut backwards) = (tally(0..many), tally((many / 2..many).rev()));
        backwards.merge(tally(0..many / 2));
        assert_eq!(forwards, backwards);
        assert_eq!(forwards.violations.len(), KNOWN_APART + 1);
        let states = forwards.violations.values().map(|violation| &violation.states).sum::<BigUint>();
        assert_eq!(states, BigUint::from(many * (many + 1) / 2));
    }
}
