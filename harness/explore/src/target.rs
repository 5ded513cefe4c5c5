//! What can crash, as far as the search knows it: what it leaves to be explored, and that somebody looks at it.

use std::sync::Arc;

use crate::{Decision, Key, StateSpace, ToVisit};

/// What can crash.
///
/// One target is a machine whose power fails: its executions leave block logs, whose epochs are explored, and a visit is a
/// mount. Another is a program that is killed: its recording says at which points it can be, and a visit needs no guest.
pub trait Target {
    /// What an execution leaves.
    type Evidence: Evidence;
    /// What all states of an equivalence class look like.
    type Observation;
    /// Why nothing was seen: a fault of the host, or of the harness. What a crash state itself does to those who look at
    /// it is an observation.
    type Error;

    /// Looks at the states of a branch, as far as they look the same.
    fn visit(
        &mut self,
        to_visit: &ToVisit<UnitOf<Self>>,
    ) -> impl Future<Output = Result<Visit<SpaceOf<Self>, Self::Observation>, Self::Error>> + Send;
}

/// What is explored of a target.
pub type UnitOf<T> = <<T as Target>::Evidence as Evidence>::Unit;
/// The crash states of one exploration unit of a target.
pub type SpaceOf<T> = <UnitOf<T> as ExplorationUnit>::Space;

/// What a visit came to.
#[derive(Debug)]
pub struct Visit<S, O> {
    /// The equivalence class: of the states that it was to visit, those that look so.
    pub class: S,
    /// What all these states look like.
    pub observation: O,
}

/// What an execution leaves: all that its crash states follow from.
pub trait Evidence {
    /// A part of it that is explored on its own.
    type Unit: ExplorationUnit;

    /// The keys of its units, in order. What was admitted before it need not be explored again: two units of one key, of
    /// whatever evidence, have the same states.
    fn keys(&self) -> Vec<Key>;

    /// Whether the unit at this `place` among the keys is to be explored at all.
    fn is_explored(&self, place: usize) -> bool {
        let _ = place;
        true
    }

    /// The unit at this `place` among the keys, which has this `key`, and is to have this `index`
    /// ([`ExplorationUnit::index`]).
    fn unit(evidence: &Arc<Self>, place: usize, key: Key, index: usize) -> Self::Unit;
}

/// What is explored by itself: a state space that is walked to its end.
pub trait ExplorationUnit {
    /// Its states.
    type Space: StateSpace;

    /// The place of the unit among all of its exploration: no two have the same.
    fn index(&self) -> usize;

    /// The name of the unit, the same in every run.
    fn key(&self) -> &Key;

    /// Which evidence it is of: its number in the order in which evidence was admitted.
    fn evidence(&self) -> usize;

    /// All its states.
    fn space(&self) -> Self::Space;
}

/// A state space of one state, in which nothing is left to be decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OneState;

impl StateSpace for OneState {
    fn forced(&self, _write: u32, _unit: u32) -> Option<bool> {
        Some(true)
    }

    fn settle(&mut self, _decision: Decision) {}

    fn decisions(&self) -> &[Decision] {
        &[]
    }

    fn count(&self) -> num_bigint::BigUint {
        1u32.into()
    }

    fn count_by_losses(&self) -> crate::ByLosses {
        [1u32, 0, 0].map(Into::into)
    }
}
