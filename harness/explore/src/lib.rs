//! The search of crash states: what is decided, what is left to decide, what comes next, and what it all comes to.
//!
//! Pure. It knows no guest, no file system and no disk. A [`Target`] can crash; what an execution of it leaves is
//! [`Evidence`], which is made of [`ExplorationUnit`]s; of each, a [`StateSpace`] says what can be decided. Whoever visits a
//! unit decides, and what a visit left undecided are [`Branch`]es, which a [`Frontier`] puts in order, in rounds. An
//! [`Exploration`] keeps the books: what was admitted, what a [`Budget`] allows, and the [`Tally`] of the equivalence
//! classes.
#![forbid(unsafe_code)]

mod branch;
mod budget;
mod exploration;
mod frontier;
mod key;
mod space;
mod tally;
mod target;
#[cfg(test)]
mod tests;

pub use branch::{Branch, Priority};
pub use budget::{Budget, Spending};
pub use exploration::{Answer, BrokenPartition, Exploration};
pub use frontier::{Frontier, SYSTEMATIC, ToVisit};
pub use key::{Key, key};
pub use space::{Decision, StateSpace, walk};
pub use tally::{ByLosses, Distinct, KNOWN_APART, Ranked, TOLD_APART, Tally, Violation};
pub use target::{Evidence, ExplorationUnit, OneState, SpaceOf, Target, UnitOf, Visit};
