//! The search on a toy: writes that reach the disk in an order, seen by whoever asks about some of them.

use std::collections::BTreeMap;

use num_bigint::BigUint;
use proptest::prelude::*;

use crate::{Decision, StateSpace, walk};

/// Up to eight writes; each may have been made only once some others had reached the disk. A state is a set of writes,
/// one bit each, that is closed under that: the states are listed, and there is nothing clever about it.
#[derive(Clone, Debug)]
struct Toy {
    states: Vec<u8>,
    decisions: Vec<Decision>,
}

impl Toy {
    /// `after[w]` has a bit for each write that must have reached the disk before write `w` can.
    fn new(after: &[u8]) -> Self {
        let allowed = |state: &u8| {
            let made = |write: &usize| state >> write & 1 == 1;
            (0..after.len()).filter(made).all(|write| after[write] & !state == 0)
        };
        let states = (0..=u8::MAX >> (8 - after.len())).filter(allowed).collect();
        Self { states, decisions: Vec::new() }
    }
}

impl StateSpace for Toy {
    fn forced(&self, write: u32, _unit: u32) -> Option<bool> {
        let first = self.states.first()? >> write & 1;
        self.states.iter().all(|state| state >> write & 1 == first).then_some(first == 1)
    }

    fn settle(&mut self, decision: Decision) {
        self.states.retain(|state| (state >> decision.write & 1 == 1) == decision.survived);
        self.decisions.push(decision);
    }

    fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    fn count(&self) -> BigUint {
        self.states.len().into()
    }
}

/// A reader that asks about one write after the other; what it asks next depends on the answers. It gives what it has
/// seen.
fn read(mut answer: impl FnMut(u32) -> bool, writes: u32, turns: &[u32]) -> Vec<bool> {
    let mut seen = Vec::new();
    let mut at = 0;
    for turn in turns {
        let survived = answer(at);
        seen.push(survived);
        at = (at + if survived { *turn } else { turn / 2 + 1 }) % writes;
    }
    seen
}

proptest! {
    /// The classes are a partition of the states; and what a visit saw is what it would see in each state of its class.
    #[test]
    fn every_state_is_in_one_class_and_looks_like_it(
        after in prop::collection::vec(any::<u8>(), 1..=8),
        turns in prop::collection::vec(0..8u32, 0..6),
        prefers: bool,
    ) {
        // A write waits for earlier ones only.
        let after: Vec<u8> = after.iter().enumerate().map(|(write, bits)| bits & ((1u16 << write) - 1) as u8).collect();
        let (toy, writes) = (Toy::new(&after), after.len() as u32);
        let mut seen = BTreeMap::new();
        let classes = walk(&toy, |class| {
            let answer = |write| match class.forced(write, 0) {
                Some(known) => known,
                None => {
                    class.settle(Decision { write, unit: 0, survived: prefers });
                    prefers
                }
            };
            let what = read(answer, writes, &turns);
            for &state in &class.states {
                assert!(seen.insert(state, what.clone()).is_none(), "{state:b} is in two classes");
            }
        });
        let sum: BigUint = classes.iter().map(Toy::count).sum();
        prop_assert_eq!(sum, toy.count());
        for &state in &toy.states {
            let alone = read(|write| state >> write & 1 == 1, writes, &turns);
            prop_assert_eq!(seen.get(&state), Some(&alone));
        }
    }
}
