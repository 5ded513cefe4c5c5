//! The search on a toy: writes that reach the disk in an order, seen by whoever asks about some of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use num_bigint::BigUint;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::{
    Answer, Budget, ByLosses, Decision, Distinct, Evidence, Exploration, ExplorationUnit, Key, Ranked, StateSpace,
    Tally, key, walk,
};

/// Up to eight writes; each may have been made only once some others had reached the disk. A state is a set of writes,
/// one bit each, that is closed under that: the states are listed, and there is nothing clever about it.
#[derive(Clone, Debug)]
struct Toy {
    writes: u32,
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
        Self { writes: after.len() as u32, states, decisions: Vec::new() }
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

    fn count_by_losses(&self) -> ByLosses {
        let of = |losses: u32| self.states.iter().filter(|state| self.writes - state.count_ones() == losses).count();
        [0, 1, 2].map(|losses| of(losses).into())
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

/// One execution of a toy program: some state spaces, each named by its contents.
#[derive(Debug)]
struct ToyExecution {
    number: usize,
    spaces: Vec<Toy>,
}

#[derive(Debug)]
struct ToyUnit {
    index: usize,
    key: Key,
    execution: usize,
    space: Toy,
}

impl Evidence for ToyExecution {
    type Unit = ToyUnit;

    fn keys(&self) -> Vec<Key> {
        self.spaces.iter().map(|space| key(Sha256::new().chain_update(&space.states))).collect()
    }

    fn unit(execution: &Arc<Self>, place: usize, key: Key, index: usize) -> ToyUnit {
        let Self { number, spaces } = &**execution;
        ToyUnit { index, key, execution: *number, space: spaces[place].clone() }
    }
}

impl ExplorationUnit for ToyUnit {
    type Space = Toy;

    fn index(&self) -> usize {
        self.index
    }

    fn key(&self) -> &Key {
        &self.key
    }

    fn evidence(&self) -> usize {
        self.execution
    }

    fn space(&self) -> Toy {
        self.space.clone()
    }
}

/// What a reader saw is what is wrong; the last answer is told apart as a text of a program would be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ToyKind(usize, Option<String>);

impl Distinct for ToyKind {
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

/// The unit, and the lowest state of the class.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ToyExample(Key, u8);

impl Ranked for ToyExample {
    fn rank(&self) -> impl Ord {
        (self.1.count_zeros(), self.1, self.0)
    }

    fn unit(&self) -> &Key {
        &self.0
    }
}

type ToyTally = Tally<ToyKind, ToyExample>;

/// What an exploration came to: the tally, how many executions are explored to their end, and from which units something
/// is shown.
type Outcome = (ToyTally, u64, Vec<Key>);

/// Explores `executions` with so many workers, who hold what they were given until the dice say that one is done.
fn explored(executions: &[Vec<Toy>], turns: &[u32], budget: Option<u64>, workers: usize, mut dice: u64) -> Outcome {
    let mut exploration = Exploration::new(7, Budget { time: None, mounts: budget });
    for (number, spaces) in executions.iter().enumerate() {
        exploration.admit(&Arc::new(ToyExecution { number, spaces: spaces.clone() }));
    }
    let mut held = Vec::new();
    loop {
        while held.len() < workers && exploration.may_begin(false) {
            if !exploration.is_under_way() {
                exploration.next_round();
            }
            let taken = exploration.take();
            if taken.is_empty() {
                break;
            }
            held.push(taken);
        }
        if held.is_empty() {
            break;
        }
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let done = held.swap_remove((dice >> 33) as usize % held.len());
        let mut tally = ToyTally::default();
        let mut answers = Vec::new();
        for to_visit in done {
            let mut class = to_visit.unit.space();
            to_visit.branch.prefix().into_iter().for_each(|decision| class.settle(decision));
            let answer = |write| {
                class.forced(write, 0).unwrap_or_else(|| {
                    class.settle(Decision { write, unit: 0, survived: true });
                    true
                })
            };
            let seen = read(answer, to_visit.unit.space.writes, turns);
            let lost = seen.iter().filter(|survived| !**survived).count();
            let example = ToyExample(to_visit.unit.key, class.states.iter().copied().min().unwrap_or_default());
            let text = seen.iter().map(|survived| if *survived { 's' } else { 'l' }).collect();
            let shown = (lost > 0).then_some((ToyKind(lost, Some(text)), example));
            tally.add_equivalence_class(&class, shown);
            let (rest, states) = (to_visit.branch.rest(class.decisions(), 0), class.count());
            answers.push(Answer { to_visit, rest, violates: lost > 0, states });
        }
        exploration.tally.merge(tally);
        for answer in answers {
            exploration.visited(answer).expect("the classes are a partition");
        }
        exploration.forget();
    }
    exploration.tally.fold();
    exploration.forget();
    let explored = exploration.explored();
    (exploration.tally, explored, exploration.shown.into_keys().collect())
}

/// Some executions; each begins as the one before does.
fn executions() -> impl Strategy<Value = Vec<Vec<Toy>>> {
    let space = prop::collection::vec(any::<u8>(), 1..=6).prop_map(|after| {
        // A write waits for earlier ones only.
        let earlier = |(write, bits): (usize, &u8)| bits & ((1u16 << write) - 1) as u8;
        Toy::new(&after.iter().enumerate().map(earlier).collect::<Vec<_>>())
    });
    prop::collection::vec(space, 1..5)
        .prop_map(|spaces| (1..=spaces.len()).map(|until| spaces[until / 2..until].to_vec()).collect())
}

proptest! {
    /// Whatever is answered first, and however many workers there are.
    #[test]
    fn what_is_found_does_not_depend_on_the_order(
        executions in executions(),
        turns in prop::collection::vec(0..8u32, 0..6),
        budget in prop::option::of(1..40u64),
        workers in 1..7usize,
        dice: u64,
    ) {
        let alone = explored(&executions, &turns, budget, 1, 0);
        prop_assert_eq!(&explored(&executions, &turns, budget, workers, dice), &alone);
        let tally = alone.0;
        match budget {
            Some(budget) if tally.covered < tally.allowed => prop_assert_eq!(tally.visits, budget),
            _ => {
                // All of them, and each once.
                prop_assert_eq!(&tally.covered, &tally.allowed);
                prop_assert_eq!(&tally.covered_by_losses, &tally.allowed_by_losses);
                prop_assert_eq!(alone.1, executions.len() as u64);
            }
        }
    }

    /// What a budget has is the beginning of what there is: more of it finds no less.
    #[test]
    fn a_larger_budget_finds_what_a_smaller_one_does(
        executions in executions(),
        turns in prop::collection::vec(0..8u32, 0..6),
        budget in 1..40u64,
    ) {
        let few = explored(&executions, &turns, Some(budget), 3, 1).0;
        let more = explored(&executions, &turns, Some(budget + 1), 2, 2).0;
        prop_assert!(few.covered <= more.covered && more.visits <= few.visits + 1);
    }
}
