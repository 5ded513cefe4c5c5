//! What can be decided of a crash state, and a walk of all that can.

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use crate::{Branch, ByLosses};

/// One settled question: did this unit of this volatile write reach the disk?
///
/// This is the finest grain a disk model knows. Where writes are atomic, the answer settles the whole write; where one of
/// them may be torn, it narrows the set of fates that the write may still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Decision {
    /// The write, by its index among those that are volatile when the crash comes.
    pub write: u32,
    /// The atomic unit within the write, from 0.
    pub unit: u32,
    /// Whether the unit is on the disk after the crash.
    pub survived: bool,
}

/// A set of crash states, narrowed by what is decided.
///
/// An implementation keeps three laws. A question that [`forced`](Self::forced) leaves open can be settled either way, and
/// the counts of the two results add up to the count before. One that it answers has that answer in all states of the
/// set. And neither depends on the order in which decisions were made.
pub trait StateSpace: Clone {
    /// Whether the unit's fate follows from what is settled already: `None` if both are still possible.
    fn forced(&self, write: u32, unit: u32) -> Option<bool>;

    /// Settles one unit.
    fn settle(&mut self, decision: Decision);

    /// What has been settled, in the order in which it was.
    fn decisions(&self) -> &[Decision];

    /// The exact number of states that agree with everything settled.
    fn count(&self) -> BigUint;

    /// Of these: in how many no write lost anything, in how many one did, and two.
    fn count_by_losses(&self) -> ByLosses;
}

/// Walks a whole space: `visit` is given the states of one branch after the other, and settles of them what it has to
/// know. What is left of the space after each visit is one equivalence class; the classes are disjoint, and together they
/// are the space.
pub fn walk<S: StateSpace>(space: &S, mut visit: impl FnMut(&mut S)) -> Vec<S> {
    let mut branches = vec![Branch::root()];
    let mut classes = Vec::new();
    while let Some(branch) = branches.pop() {
        let mut class = space.clone();
        for decision in branch.prefix() {
            class.settle(decision);
        }
        visit(&mut class);
        branches.extend(branch.rest(class.decisions(), 0));
        classes.push(class);
    }
    classes
}
