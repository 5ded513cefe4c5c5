//! One exploration: what was admitted, what is left to be visited, what it came to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use num_bigint::BigUint;

use crate::{
    Branch, Budget, Distinct, Evidence, ExplorationUnit, Frontier, Key, Ranked, Spending, StateSpace, TOLD_APART,
    Tally, ToVisit,
};

/// The bookkeeping of an exploration of units `U`, whose violations have keys `K` and examples `E`.
///
/// Whoever asks gets the next branches to visit; any number of workers can ask. What it comes to does not depend on how
/// many there are, nor on who is faster:
///
/// - evidence is admitted in order, and a unit belongs to the first that has its key;
/// - branches are visited in rounds. A round is put in order when it begins, and nothing of the next is begun before it
///   is over, so that a budget of visits always cuts at the same place;
/// - sums do not depend on the order of their terms.
#[derive(Debug)]
pub struct Exploration<U, K, E> {
    /// What is taken of the budget.
    pub spending: Spending,
    /// The sums over all visits so far.
    pub tally: Tally<K, E>,
    /// The units that violations are shown from.
    pub shown: BTreeMap<Key, Arc<U>>,
    frontier: Frontier<U>,
    /// Which units are explored, or were, and for which evidence.
    owners: HashMap<Key, usize>,
    /// For each evidence that was admitted, that which its units are explored for: itself, and some before it.
    shared: Vec<BTreeSet<usize>>,
    units: Vec<Coverage>,
    /// For each evidence that has units of its own: how many are not explored to their end.
    open: HashMap<usize, usize>,
    told: BTreeSet<K>,
}

/// How much of a unit is explored.
#[derive(Debug)]
struct Coverage {
    /// Branches that nobody has answered.
    branches: u64,
    allowed: BigUint,
    covered: BigUint,
}

/// What the visit of one branch came to.
#[derive(Debug)]
pub struct Answer<U> {
    /// The branch that was visited.
    pub to_visit: ToVisit<U>,
    /// What is left of the branch.
    pub rest: Vec<Branch>,
    /// Whether the equivalence class breaks an invariant.
    pub violates: bool,
    /// How many states it holds.
    pub states: BigUint,
}

/// The equivalence classes of a unit are not its states: their partition is broken, and no number is to be believed.
#[derive(Debug)]
pub struct BrokenPartition<U> {
    /// The exploration unit whose books do not add up.
    pub unit: Arc<U>,
    /// How many states the classes hold.
    pub covered: BigUint,
    /// How many states the unit has.
    pub allowed: BigUint,
}

impl<U: ExplorationUnit, K: Distinct, E: Ranked> Exploration<U, K, E> {
    /// Nothing admitted. What is left to chance depends on `seed`.
    pub fn new(seed: u64, budget: Budget) -> Self {
        Self {
            spending: Spending::new(budget),
            tally: Tally::default(),
            shown: BTreeMap::new(),
            frontier: Frontier::new(seed),
            owners: HashMap::new(),
            shared: Vec::new(),
            units: Vec::new(),
            open: HashMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Begins to explore what no evidence before has; whether there is anything.
    pub fn admit<V: Evidence<Unit = U>>(&mut self, evidence: &Arc<V>) -> bool {
        let number = self.shared.len();
        let (mut new, mut owners) = (false, BTreeSet::new());
        let keys = evidence.keys().into_iter().enumerate();
        for (place, key) in keys.filter(|(place, _)| evidence.is_explored(*place)) {
            let owner = *self.owners.entry(key).or_insert(number);
            owners.insert(owner);
            if owner == number {
                new = true;
                let unit = self.open(|index| V::unit(evidence, place, key, index));
                self.frontier.begin(unit);
            }
        }
        self.shared.push(owners);
        new
    }

    /// How much evidence was admitted.
    pub fn admitted(&self) -> usize {
        self.shared.len()
    }

    /// How many of the evidence that was admitted are explored to their end.
    pub fn explored(&self) -> u64 {
        let done = |evidence: &usize| self.open.get(evidence).is_none_or(|open| *open == 0);
        self.shared.iter().filter(|owners| owners.iter().all(done)).count() as u64
    }

    /// How many units there are.
    pub fn units(&self) -> usize {
        self.units.len()
    }

    /// Opens a unit: gives it its index, and counts its states.
    fn open(&mut self, unit: impl FnOnce(usize) -> U) -> Arc<U> {
        let unit = Arc::new(unit(self.units.len()));
        let space = unit.space();
        self.tally.add_allowed(&space);
        *self.open.entry(unit.evidence()).or_default() += 1;
        self.units.push(Coverage { branches: 1, allowed: space.count(), covered: BigUint::ZERO });
        unit
    }

    /// Whether anything may be begun. There is more to do if branches are left, or if there is `more` evidence.
    pub fn may_begin(&mut self, more: bool) -> bool {
        self.spending.may_begin(more || !self.frontier.is_empty())
    }

    /// Whether the round is not over.
    pub fn is_under_way(&self) -> bool {
        self.frontier.is_under_way()
    }

    /// Begins the next round; whether there is one.
    pub fn next_round(&mut self) -> bool {
        self.frontier.next_round()
    }

    /// The next branches to visit, all of one unit, within the budget. Each must be answered by [`Self::visited`] or
    /// [`Self::leave`].
    pub fn take(&mut self) -> Vec<ToVisit<U>> {
        let taken = self.frontier.take(self.spending.left());
        self.spending.give(taken.len() as u64);
        taken
    }

    /// Begins the units of recovery crashes, during the recovery that the visit `of` saw; `violates` says whether it
    /// breaks an invariant.
    pub fn begin_recovery_crashes<F>(&mut self, of: &ToVisit<U>, units: impl IntoIterator<Item = F>, violates: bool)
    where
        F: FnOnce(usize) -> U,
    {
        let units = units.into_iter().map(|unit| self.open(unit)).collect();
        self.frontier.begin_recovery_crashes(of, units, violates);
    }

    /// A branch was visited.
    ///
    /// # Errors
    /// Its unit is explored to the end, and its classes do not hold what it does.
    pub fn visited(&mut self, answer: Answer<U>) -> Result<(), BrokenPartition<U>> {
        let Answer { to_visit, rest, violates, states } = answer;
        let unit = &to_visit.unit;
        if let Some(coverage) = self.units.get_mut(unit.index()) {
            coverage.branches = coverage.branches + rest.len() as u64 - 1;
            coverage.covered += states;
            if coverage.branches == 0 {
                let Coverage { covered, allowed, .. } = coverage;
                if covered != allowed {
                    let (covered, allowed) = (covered.clone(), allowed.clone());
                    return Err(BrokenPartition { unit: unit.clone(), covered, allowed });
                }
                self.open.entry(unit.evidence()).and_modify(|open| *open -= 1);
            }
        }
        self.shown.entry(*unit.key()).or_insert_with(|| unit.clone());
        self.frontier.add(&to_visit, rest, violates);
        Ok(())
    }

    /// Nobody has visited a branch that was given, and nobody will: its states stay uncovered.
    pub fn leave(&mut self) {
        self.frontier.leave();
    }

    /// Forgets the units that no violation is shown from: an example that was surpassed is never shown again.
    pub fn forget(&mut self) {
        let shown: BTreeSet<&Key> = self.tally.violations.values().map(|found| found.example.unit()).collect();
        self.shown.retain(|key, _| shown.contains(key));
    }

    /// Whether nobody has asked this of this kind of violation before.
    pub fn is_news(&mut self, kind: &K) -> bool {
        let is_variant = |kind: &&K| kind.variant().is_some();
        // A check that prints something else each time is no news each time.
        let enough = is_variant(&kind) && self.told.iter().filter(is_variant).count() >= TOLD_APART;
        !enough && self.told.insert(kind.clone())
    }
}
