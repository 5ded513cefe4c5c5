//! One whole crash state: the fate of every volatile write.

use serde::{Deserialize, Serialize};

/// How the one torn write of a state is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tear {
    /// Units `0..boundary` survived.
    Head(u32),
    /// Units `boundary..` survived.
    Tail(u32),
}

impl Tear {
    /// Whether this unit survived the tear.
    pub fn keeps(self, unit: u32) -> bool {
        match self {
            Tear::Head(boundary) => unit < boundary,
            Tear::Tail(boundary) => unit >= boundary,
        }
    }
}

/// One whole crash state of one epoch: the fate of every volatile write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct State {
    /// Writes that did not reach the disk at all, ascending.
    pub lost: Vec<u32>,
    /// For [`TearKind::One`](crate::TearKind::One): the torn write, if there is one.
    pub torn: Vec<(u32, Tear)>,
    /// For [`TearKind::Any`](crate::TearKind::Any): single units that did not reach the disk, of writes that are not in `lost`.
    pub lost_units: Vec<(u32, u32)>,
}

impl State {
    /// Whether this unit of this write reached the disk.
    pub fn survived(&self, write: u32, unit: u32) -> bool {
        if self.lost.binary_search(&write).is_ok() {
            return false;
        }
        match self.torn.iter().find(|(torn, _)| *torn == write) {
            Some((_, tear)) => tear.keeps(unit),
            None => self.lost_units.binary_search(&(write, unit)).is_err(),
        }
    }
}
