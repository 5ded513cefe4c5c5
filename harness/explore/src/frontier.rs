//! Which branches are entered next: pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{Branch, ExplorationUnit, Priority};

/// A branch that is to be visited.
#[derive(Debug)]
pub struct ToVisit<U> {
    /// The exploration unit that the branch is of.
    pub unit: Arc<U>,
    /// The states that the visit may find.
    pub branch: Branch,
    /// Its number within its unit's cell, in the order of rounds.
    number: u64,
    order: Order,
}

impl<U> Clone for ToVisit<U> {
    fn clone(&self) -> Self {
        let Self { unit, branch, number, order } = self;
        Self { unit: unit.clone(), branch: branch.clone(), number: *number, order: order.clone() }
    }
}

/// The order within a round. It depends on nothing but what was found in the rounds before.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    /// Drawn at random, for the branches of so low a priority that nothing better is known.
    drawn: u64,
    /// Whether the run that it branches off from shows a violation: what lies beside it most likely shows the same, and
    /// new kinds are elsewhere.
    beside: bool,
    parent: u64,
    /// Whether it is the root of a recovery crash, which comes after what is left of the first.
    recovery_crash: bool,
    turn: usize,
}

/// All pairs are entered before anything is left to chance.
pub const SYSTEMATIC: u32 = 2;

/// How many branches are given at once: enough that to ask costs little, few enough that no worker waits long.
const MOST: usize = 16;

/// The branches of a cell that nobody has entered.
#[derive(Debug)]
pub struct Frontier<U> {
    seed: u64,
    now: VecDeque<ToVisit<U>>,
    later: BTreeMap<Priority, Vec<ToVisit<U>>>,
    numbers: u64,
    /// Entries that were given and not answered.
    given: usize,
}

impl<U> Default for Frontier<U> {
    fn default() -> Self {
        Self { seed: 0, now: VecDeque::new(), later: BTreeMap::new(), numbers: 0, given: 0 }
    }
}

impl<U: ExplorationUnit> Frontier<U> {
    /// Nothing to enter. What is left to chance depends on `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Begins a unit: its root belongs to the round that is under way.
    pub fn begin(&mut self, unit: Arc<U>) {
        self.numbers += 1;
        let (branch, order) = (Branch::root(), Order::default());
        self.now.push_back(ToVisit { unit, branch, number: self.numbers, order });
    }

    /// Begins the units of recovery crashes, during recovery from what was found when `entry` was visited: in a round to
    /// come.
    pub fn begin_recovery_crashes(&mut self, entry: &ToVisit<U>, units: Vec<Arc<U>>, violates: bool) {
        for (turn, unit) in units.into_iter().enumerate() {
            let order = Order { drawn: 0, beside: violates, parent: entry.number, recovery_crash: true, turn };
            let branch = Branch::root();
            self.later.entry(branch.priority).or_default().push(ToVisit { unit, branch, number: 0, order });
        }
    }

    /// Whether there is nothing to enter, now or later.
    pub fn is_empty(&self) -> bool {
        self.now.is_empty() && self.later.is_empty()
    }

    /// Whether the round is not over.
    pub fn is_under_way(&self) -> bool {
        !self.now.is_empty() || self.given > 0
    }

    /// The next branches, all of one unit, at most `most`.
    pub fn take(&mut self, most: u64) -> Vec<ToVisit<U>> {
        let most = MOST.min(self.now.len().div_ceil(4)).min(usize::try_from(most).unwrap_or(usize::MAX));
        let mut taken: Vec<ToVisit<U>> = Vec::new();
        while taken.len() < most
            && let Some(entry) = self
                .now
                .pop_front_if(|entry| taken.first().is_none_or(|first| first.unit.index() == entry.unit.index()))
        {
            taken.push(entry);
        }
        self.given += taken.len();
        taken
    }

    /// `entry` was entered: this is the rest of its branch.
    pub fn add(&mut self, entry: &ToVisit<U>, rest: Vec<Branch>, violates: bool) {
        self.given -= 1;
        for (turn, branch) in rest.into_iter().enumerate() {
            let mut priority = branch.priority;
            let mut order = Order { drawn: 0, beside: violates, parent: entry.number, recovery_crash: false, turn };
            if priority.losses > SYSTEMATIC {
                priority = Priority { losses: SYSTEMATIC + 1, torn: false };
                order.drawn = draw(self.seed, &*entry.unit, &branch);
            }
            let entry = ToVisit { unit: entry.unit.clone(), branch, number: 0, order };
            self.later.entry(priority).or_default().push(entry);
        }
    }

    /// A branch that was given is not visited by anyone.
    pub fn leave(&mut self) {
        self.given -= 1;
    }

    /// Begins the next round; whether there is one.
    pub fn next_round(&mut self) -> bool {
        let Some((_, mut round)) = self.later.pop_first() else { return false };
        round.sort_unstable_by(|one, other| one.order.cmp(&other.order));
        for entry in &mut round {
            self.numbers += 1;
            entry.number = self.numbers;
        }
        self.now = round.into();
        true
    }
}

/// A number that looks random, and is the same in every run with this seed.
fn draw(seed: u64, unit: &impl ExplorationUnit, branch: &Branch) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(unit.key());
    hasher.update(branch.key);
    let digest = hasher.finalize();
    u64::from_le_bytes(std::array::from_fn(|index| digest[index]))
}
