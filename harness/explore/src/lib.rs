//! The search of crash states: what is decided, what is left to decide, and what comes next.
//!
//! Pure. It knows no guest, no file system and no disk: a [`StateSpace`] says what can be decided, whoever visits it
//! decides, and what a visit left undecided are [`Branch`]es, which a [`Frontier`] puts in order.
#![forbid(unsafe_code)]

mod branch;
mod frontier;
mod key;
mod space;
#[cfg(test)]
mod tests;

pub use branch::{Branch, Priority};
pub use frontier::{ExplorationUnit, Frontier, SYSTEMATIC, ToVisit};
pub use key::{Key, key};
pub use space::{Decision, StateSpace, walk};
