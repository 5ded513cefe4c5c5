//! Adds up what equivalence classes of crash states come to: pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, btree_map};

use num_bigint::BigUint;

use crate::{Key, SYSTEMATIC, StateSpace};

/// How many kinds of violations that differ by their variants alone are told apart in what is reported.
pub const TOLD_APART: usize = 10;

/// How many of them are told apart while states are explored: those that come first in the order of their keys, so that
/// it does not depend on the order in which they are found.
pub const KNOWN_APART: usize = 1000;

/// What tells one kind of violation from another. Those that are alike but for their variants follow one another in the
/// order of keys.
pub trait Distinct: Clone + Ord {
    /// What tells it from those that are alike otherwise, where there may be any number of them.
    fn variant(&self) -> Option<&str>;

    /// Whether the two differ by their variants alone.
    fn is_alike(&self, other: &Self) -> bool;

    /// What stands for all like it that are not told apart: it has no variant.
    fn others(&self) -> Self;
}

/// An equivalence class that shows a violation.
pub trait Ranked {
    /// The lower, the easier to understand: of many that show the same, the lowest is shown. No two classes have the same.
    fn rank(&self) -> impl Ord;

    /// The key of the exploration unit that it was found in.
    fn unit(&self) -> &Key;
}

/// All crash states that break one invariant in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<E> {
    /// How many states show it.
    pub states: BigUint,
    /// The lowest-ranked of the examples that were shown.
    pub example: E,
}

/// How many states there are in which no write lost anything, one did, two did: what is tried in this order, before
/// anything is left to chance ([`Frontier`](crate::Frontier)).
pub type ByLosses = [BigUint; SYSTEMATIC as usize + 1];

/// What was found in some part of the work: violations with keys `K`, each shown by an example `E`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<K, E> {
    /// States that there are, of the exploration units that were counted.
    pub allowed: BigUint,
    /// States that a visit decided.
    pub covered: BigUint,
    /// Of `allowed`: in how many no write lost anything, in how many one, two.
    pub allowed_by_losses: ByLosses,
    /// Of `covered`, likewise.
    pub covered_by_losses: ByLosses,
    /// How many visits there were.
    pub visits: u64,
    /// What is wrong, by what.
    pub violations: BTreeMap<K, Violation<E>>,
}

impl<K, E> Default for Tally<K, E> {
    fn default() -> Self {
        Self {
            allowed: BigUint::ZERO,
            covered: BigUint::ZERO,
            allowed_by_losses: ByLosses::default(),
            covered_by_losses: ByLosses::default(),
            visits: 0,
            violations: BTreeMap::new(),
        }
    }
}

impl<K: Distinct, E: Ranked> Tally<K, E> {
    /// Counts the states that there are.
    pub fn add_allowed(&mut self, space: &impl StateSpace) {
        self.allowed += space.count();
        add(&mut self.allowed_by_losses, space.count_by_losses());
    }

    /// Adds one equivalence class, and what it shows.
    pub fn add_equivalence_class(&mut self, class: &impl StateSpace, shown: impl IntoIterator<Item = (K, E)>) {
        let count = class.count();
        for (key, example) in shown {
            self.add_violation(key, Violation { states: count.clone(), example });
        }
        self.covered += count;
        add(&mut self.covered_by_losses, class.count_by_losses());
        self.visits += 1;
    }

    /// Adds what was found elsewhere. The result does not depend on the order.
    pub fn merge(&mut self, other: Self) {
        self.allowed += other.allowed;
        self.covered += other.covered;
        add(&mut self.allowed_by_losses, other.allowed_by_losses);
        add(&mut self.covered_by_losses, other.covered_by_losses);
        self.visits += other.visits;
        for (key, violation) in other.violations {
            self.add_violation(key, violation);
        }
    }

    fn add_violation(&mut self, key: K, violation: Violation<E>) {
        match self.violations.entry(key) {
            btree_map::Entry::Vacant(entry) => {
                let key = entry.key().clone();
                entry.insert(violation);
                if key.variant().is_some() {
                    self.bound(&key);
                }
            }
            btree_map::Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.states += violation.states;
                if violation.example.rank() < known.example.rank() {
                    known.example = violation.example;
                }
            }
        }
    }

    /// Puts the last of those that differ from this one by their variants alone to the others, if there are too many.
    /// Whichever came before it stays before it, so it would not be let in again.
    fn bound(&mut self, key: &K) {
        let variants =
            || self.violations.keys().filter(|other| key.is_alike(other)).filter(|other| other.variant().is_some());
        if variants().count() > KNOWN_APART
            && let Some(last) = variants().next_back().cloned()
        {
            self.put_to_others(last);
        }
    }

    fn put_to_others(&mut self, key: K) {
        if let Some(violation) = self.violations.remove(&key) {
            self.add_violation(key.others(), violation);
        }
    }

    /// Leaves so many variants apart as are reported; all others become one.
    pub fn fold(&mut self) {
        let variants: Vec<K> = self.violations.keys().filter(|key| key.variant().is_some()).cloned().collect();
        let mut rest = variants.as_slice();
        while let Some(first) = rest.first() {
            let (alike, others) = rest.split_at(rest.iter().take_while(|key| first.is_alike(key)).count().max(1));
            let counted = alike.iter().filter_map(|key| Some((key.variant()?, &self.violations.get(key)?.states)));
            let kept = told_apart(counted);
            let beyond = alike.iter().filter(|key| key.variant().is_some_and(|variant| !kept.contains(variant)));
            let beyond: Vec<K> = beyond.cloned().collect();
            beyond.into_iter().for_each(|key| self.put_to_others(key));
            rest = others;
        }
    }
}

/// Adds in each place.
fn add(sums: &mut ByLosses, more: ByLosses) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// Which variants are told apart, given in how many states each was found: those in the most. Does not depend on the
/// order.
fn told_apart<'a, N: Ord>(counted: impl IntoIterator<Item = (&'a str, N)>) -> BTreeSet<&'a str> {
    let mut counted: Vec<_> = counted.into_iter().map(|(variant, states)| (Reverse(states), variant)).collect();
    counted.sort();
    counted.into_iter().take(TOLD_APART).map(|(_, variant)| variant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is what is violated; of the variants, `None` are the others.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Kind(&'static str, Option<String>);

    impl Distinct for Kind {
        fn variant(&self) -> Option<&str> {
            self.1.as_deref()
        }

        fn is_alike(&self, other: &Self) -> bool {
            self.0 == other.0
        }

        fn others(&self) -> Self {
            Self(self.0, None)
        }
    }

    impl Ranked for usize {
        fn rank(&self) -> impl Ord {
            *self
        }

        fn unit(&self) -> &Key {
            &[0; 16]
        }
    }

    fn tally(variants: impl IntoIterator<Item = usize>) -> Tally<Kind, usize> {
        let mut tally = Tally::default();
        for number in variants {
            let violation = Violation { states: (number as u32 + 1).into(), example: number };
            tally.add_violation(Kind("check", Some("x".repeat(number))), violation);
        }
        tally
    }

    #[test]
    fn at_most_ten_variants_are_told_apart_whatever_the_order() {
        let mut some = tally(0..10);
        some.fold();
        assert_eq!(some, tally(0..10));
        let mut folded = tally(0..13);
        folded.fold();
        let others = &folded.violations[&Kind("check", None)];
        assert_eq!((folded.violations.len(), &others.states), (11, &6u32.into()));
        assert_eq!(others.example, 0, "the simplest of them");
        let mut backwards = tally((0..13).rev());
        backwards.merge(Tally::default());
        backwards.fold();
        assert_eq!(backwards, folded);
    }

    /// A check that prints something else each time must not fill the memory.
    #[test]
    fn variants_are_bounded_and_counted_all_the_same() {
        let many = KNOWN_APART + 200;
        let (forwards, mut backwards) = (tally(0..many), tally((many / 2..many).rev()));
        backwards.merge(tally(0..many / 2));
        assert_eq!(forwards, backwards);
        assert_eq!(forwards.violations.len(), KNOWN_APART + 1);
        let states = forwards.violations.values().map(|violation| &violation.states).sum::<BigUint>();
        assert_eq!(states, BigUint::from(many * (many + 1) / 2));
    }

    #[test]
    fn the_most_frequent_variants_are_told_apart() {
        let texts: Vec<String> = (0..12).map(|number| format!("{number:02}")).collect();
        let counted = || texts.iter().map(String::as_str).zip((0..12).map(|number: usize| number / 2));
        let kept = told_apart(counted());
        assert_eq!(kept, texts[2..].iter().map(String::as_str).collect());
        assert_eq!(told_apart(counted().collect::<Vec<_>>().into_iter().rev()), kept);
    }
}
