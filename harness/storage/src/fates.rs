//! The fates of an epoch's volatile writes: which are settled, which are open, and how many states that leaves.

use std::collections::BTreeMap;
use std::ops::Range;

use explore::{Decision, StateSpace};
use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use crate::{DiskModel, TearKind, WriteEntry};

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
    /// For [`TearKind::One`]: the torn write, if there is one.
    pub torn: Vec<(u32, Tear)>,
    /// For [`TearKind::Any`]: single units that did not reach the disk, of writes that are not in `lost`.
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

/// What is settled about one write: the outermost units known to have survived and to have been lost. Under `one`
/// the surviving units of a torn write are a head or a tail, so the extremes say all.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    survived: Option<(u32, u32)>,
    lost: Option<(u32, u32)>,
}

impl Known {
    fn with(mut self, unit: u32, survived: bool) -> Self {
        let range = if survived { &mut self.survived } else { &mut self.lost };
        *range = Some(range.map_or((unit, unit), |(low, high)| (low.min(unit), high.max(unit))));
        self
    }

    /// How many untorn fates remain: kept whole, lost whole.
    fn whole(&self) -> u64 {
        u64::from(self.lost.is_none()) + u64::from(self.survived.is_none())
    }

    /// How many torn fates (head or tail kept, at one of `units - 1` boundaries) remain.
    fn torn(&self, units: u32) -> u64 {
        let span = |above: Option<u32>, upto: Option<u32>| {
            let lowest = above.map_or(1, |unit| (unit + 1).max(1));
            let highest = upto.map_or(units - 1, |unit| unit.min(units - 1));
            u64::from((highest + 1).saturating_sub(lowest))
        };
        // A head kept up to boundary b: every surviving unit is below b, every lost one at or above it.
        let head = span(self.survived.map(|(_, high)| high), self.lost.map(|(low, _)| low));
        // A tail kept from b on: every lost unit is below b, every surviving one at or above it.
        let tail = span(self.lost.map(|(_, high)| high), self.survived.map(|(low, _)| low));
        head + tail
    }
}

/// The writes that one crash caught.
#[derive(Clone, Debug)]
struct Crash {
    writes: Range<u32>,
    /// The first of them that is known to be torn: a unit of it survived, another was lost.
    torn: Option<u32>,
    /// How many torn fates those have together of which nothing is known.
    open: u64,
}

/// The fates of the volatile writes of one epoch, as far as they are settled: a set of crash states, counted exactly.
///
/// After a crash during recovery these are the writes that the first crash caught, and then those that the second did.
/// Only the first crash tears writes: see [`Fates::crashed`].
#[derive(Clone, Debug)]
pub struct Fates {
    tear: TearKind,
    /// Atomic units of each write.
    units: Vec<u32>,
    /// What is settled, for the writes of which anything is.
    known: BTreeMap<u32, Known>,
    /// For `any`: the single settled units.
    settled: BTreeMap<(u32, u32), bool>,
    crashes: Vec<Crash>,
    decisions: Vec<Decision>,
}

impl StateSpace for Fates {
    fn forced(&self, write: u32, unit: u32) -> Option<bool> {
        Self::forced(self, write, unit)
    }

    fn settle(&mut self, decision: Decision) {
        Self::settle(self, decision);
    }

    fn decisions(&self) -> &[Decision] {
        Self::decisions(self)
    }

    fn count(&self) -> BigUint {
        Self::count(self)
    }

    fn count_by_losses(&self) -> explore::ByLosses {
        Self::count_by_losses(self)
    }
}

impl Fates {
    /// All states of the volatile `writes` under `model`.
    pub fn open<'a>(model: &DiskModel, writes: impl IntoIterator<Item = &'a WriteEntry>) -> Self {
        let nothing = Self {
            tear: model.tear,
            units: Vec::new(),
            known: BTreeMap::new(),
            settled: BTreeMap::new(),
            crashes: Vec::new(),
            decisions: Vec::new(),
        };
        nothing.caught(writes.into_iter().map(|write| units_of(write, model.unit)))
    }

    /// What another crash makes of this: all that is settled, as a fact and not as a decision that a walk could turn
    /// round, and all subsets of the volatile `writes` that it caught. These are atomic whatever the model says of tears:
    /// to bound tears to one crash keeps the two from multiplying.
    pub fn crashed<'a>(self, writes: impl IntoIterator<Item = &'a WriteEntry>) -> Self {
        self.caught(writes.into_iter().map(|_| 1))
    }

    /// Another crash, which caught writes of so many units.
    fn caught(mut self, units: impl Iterator<Item = u32>) -> Self {
        let first = self.units.len();
        self.units.extend(units);
        let open = self.units[first..].iter().map(|&units| Known::default().torn(units)).sum();
        self.crashes.push(Crash { writes: first as u32..self.units.len() as u32, torn: None, open });
        self.decisions.clear();
        self
    }

    /// What has been settled, in the order in which it was.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Whether the unit's fate follows from what is settled already: `None` if both are still possible.
    pub fn forced(&self, write: u32, unit: u32) -> Option<bool> {
        let known = self.known.get(&write).copied().unwrap_or_default();
        match self.tear {
            TearKind::Any => self.settled.get(&(write, unit)).copied(),
            TearKind::None => match (known.survived, known.lost) {
                (Some(_), _) => Some(true),
                (_, Some(_)) => Some(false),
                _ => None,
            },
            TearKind::One => {
                let possible = |survived| self.possible(write, known.with(unit, survived));
                match (possible(true), possible(false)) {
                    (true, true) => None,
                    (survived, _) => Some(survived),
                }
            }
        }
    }

    /// Which way an open question about `write` is taken first: nothing is lost without need, and a write that has lost
    /// something is lost as a whole before it is torn.
    pub fn rather_survived(&self, write: u32) -> bool {
        self.known.get(&write).is_none_or(|known| known.lost.is_none() || known.survived.is_some())
    }

    /// Whether any state is left if `write` is known to be `known`: at most one write of a crash may have lost both its
    /// whole fates, and that one must still have a torn one.
    fn possible(&self, write: u32, known: Known) -> bool {
        let another = self.crashes[self.crash(write)].torn.is_some_and(|torn| torn != write);
        known.whole() > 0 || !another && known.torn(self.units[write as usize]) > 0
    }

    /// Index of the crash that caught a write.
    fn crash(&self, write: u32) -> usize {
        self.crashes.partition_point(|crash| crash.writes.end <= write)
    }

    /// Whether there is such a unit, and it may still have this fate.
    fn fits(&self, decision: Decision) -> bool {
        let Decision { write, unit, survived } = decision;
        self.units.get(write as usize).is_some_and(|&units| unit < units) && self.forced(write, unit) != Some(!survived)
    }

    /// Settles one unit. Settling what is forced already, the same way, is harmless but is recorded.
    pub fn settle(&mut self, decision: Decision) {
        let Decision { write, unit, survived } = decision;
        let crash = self.crash(write);
        let crash = &mut self.crashes[crash];
        let known = self.known.entry(write).or_insert_with(|| {
            crash.open -= Known::default().torn(self.units[write as usize]);
            Known::default()
        });
        *known = known.with(unit, survived);
        if known.whole() == 0 {
            crash.torn.get_or_insert(write);
        }
        if self.tear == TearKind::Any {
            self.settled.insert((write, unit), survived);
        }
        self.decisions.push(decision);
    }

    /// The exact number of states that agree with everything settled.
    pub fn count(&self) -> BigUint {
        let one = BigUint::from(1u32);
        match self.tear {
            TearKind::Any => {
                let open: u64 =
                    self.units.iter().map(|&units| u64::from(units)).sum::<u64>() - self.settled.len() as u64;
                one << open
            }
            TearKind::None => one << (self.units.len() - self.known.len()),
            TearKind::One => self.crashes.iter().map(|crash| self.count_one(crash)).product(),
        }
    }

    /// How many states that agree with everything settled have so many writes that lost something, as a whole or in part:
    /// of index 0 none, of index 1 one, and so on up to `N - 1`. Each is exact, and where `N` is large enough they add up
    /// to [`Fates::count`].
    pub fn count_by_losses<const N: usize>(&self) -> [BigUint; N] {
        let mut states = [const { BigUint::ZERO }; N];
        if let Some(none) = states.first_mut() {
            *none = BigUint::from(1u32);
        }
        match self.tear {
            TearKind::Any => {
                let mut lost = vec![(0u32, false); self.units.len()];
                for (&(write, _), &survived) in &self.settled {
                    let (settled, known) = &mut lost[write as usize];
                    (*settled, *known) = (*settled + 1, *known || !survived);
                }
                for (&units, (settled, known)) in self.units.iter().zip(lost) {
                    let all = BigUint::from(1u32) << (units - settled);
                    let whole = u32::from(!known);
                    states = product(&states, &[BigUint::from(whole), all - whole]);
                }
            }
            TearKind::None => {
                let lost = self.known.values().filter(|known| known.lost.is_some()).count();
                let free = self.units.len() - self.known.len();
                states = shifted(&subsets(free as u64), lost);
            }
            TearKind::One => {
                for crash in &self.crashes {
                    states = product(&states, &self.losses_of_one::<N>(crash));
                }
            }
        }
        states
    }

    /// The same of one crash's writes, of which at most one is torn.
    fn losses_of_one<const N: usize>(&self, crash: &Crash) -> [BigUint; N] {
        let mut states = [const { BigUint::ZERO }; N];
        // Of the writes of which something is known: how many are lost if none is torn; the torn fates of those that are
        // then lost, and of those that are not; and of those that must be torn.
        let (mut lost, mut torn, mut instead) = (0, 0u64, 0u64);
        let (mut must, mut fates) = (0, 0u64);
        for (&write, known) in self.known.range(crash.writes.clone()) {
            let ways = known.torn(self.units[write as usize]);
            match (known.survived, known.lost) {
                (Some(_), Some(_)) => (must, fates) = (must + 1, fates + ways),
                (_, Some(_)) => (lost, torn) = (lost + 1, torn + ways),
                (_, None) => instead += ways,
            }
        }
        let known = self.known.range(crash.writes.clone()).count();
        let free = (crash.writes.len() - known) as u64;
        let mut add = |subsets: [BigUint; N], lost: usize, ways: u64| {
            for (sum, more) in states.iter_mut().zip(shifted(&subsets, lost)) {
                *sum += more * ways;
            }
        };
        match must {
            0 => {
                add(subsets(free), lost, 1 + torn);
                add(subsets(free), lost + 1, instead);
                if free > 0 {
                    add(subsets(free - 1), lost + 1, crash.open);
                }
            }
            1 => add(subsets(free), lost + 1, fates),
            _ => {}
        }
        states
    }

    /// Fates of one crash's writes: those with no torn write, plus, for each write, those in which it is the torn one.
    fn count_one(&self, crash: &Crash) -> BigUint {
        // Writes of which something is known have one whole fate or none: their number, and their torn fates.
        let (mut writes, mut torn) = ([0u64; 2], [0u64; 2]);
        for (&write, known) in self.known.range(crash.writes.clone()) {
            let whole = known.whole() as usize;
            writes[whole] += 1;
            torn[whole] += known.torn(self.units[write as usize]);
        }
        let free = crash.writes.len() as u64 - writes[0] - writes[1];
        let all = BigUint::from(1u32) << free;
        match writes[0] {
            0 => {
                let half = if free > 0 { BigUint::from(crash.open) << (free - 1) } else { BigUint::ZERO };
                &all + &all * torn[1] + half
            }
            1 => all * torn[0],
            _ => BigUint::ZERO,
        }
    }

    /// One state among those that agree with everything settled: what is open survived, and a write of which only
    /// losses are known is lost whole.
    pub fn fewest_lost(&self) -> State {
        let mut state = State::default();
        for (&write, known) in &self.known {
            match (known.survived, known.lost) {
                (_, None) => {}
                (None, Some(_)) => state.lost.push(write),
                (Some(_), Some(_)) if self.tear == TearKind::Any => {
                    let units = self.settled.range((write, 0)..=(write, u32::MAX));
                    state.lost_units.extend(units.filter(|&(_, &survived)| !survived).map(|(&at, _)| at));
                }
                (Some(survived), Some(lost)) if survived.1 < lost.0 => state.torn.push((write, Tear::Head(lost.0))),
                (Some(_), Some(lost)) => state.torn.push((write, Tear::Tail(lost.1 + 1))),
            }
        }
        state
    }

    /// Whether some write is torn in every state that agrees with what is settled: a unit of it survived, another was
    /// lost.
    pub fn torn(&self) -> bool {
        self.crashes.iter().any(|crash| crash.torn.is_some())
    }

    /// Settles what a file says. False if that does not fit: the file must be damaged, and these fates are of no use.
    pub fn settle_these(&mut self, decisions: &[Decision]) -> bool {
        decisions.iter().all(|&decision| {
            let fits = self.fits(decision);
            if fits {
                self.settle(decision);
            }
            fits
        })
    }

    /// The fates of one whole state.
    pub fn settle_all(&mut self, state: &State) {
        for write in 0..self.units.len() as u32 {
            for unit in 0..self.units[write as usize] {
                self.settle(Decision { write, unit, survived: state.survived(write, unit) });
            }
        }
    }

    /// Whether `state` is one of the states that the model allows, whatever is settled.
    pub fn allows(&self, state: &State) -> bool {
        let units = |write: u32| self.units.get(write as usize).copied();
        let torn = state.torn.iter().all(|&(write, Tear::Head(boundary) | Tear::Tail(boundary))| {
            self.tear == TearKind::One && units(write).is_some_and(|units| (1..units).contains(&boundary))
        });
        let of = |crash: &Crash| state.torn.iter().filter(|(write, _)| crash.writes.contains(write)).count();
        let torn = torn && self.crashes.iter().all(|crash| of(crash) <= 1);
        let single =
            |&(write, unit): &(u32, u32)| self.tear == TearKind::Any && units(write).is_some_and(|units| unit < units);
        torn && state.lost.iter().all(|&write| units(write).is_some()) && state.lost_units.iter().all(single)
    }

    /// Every state of an epoch, one by one: for the brute-force comparison, and only for small epochs.
    pub fn enumerate(&self) -> Vec<State> {
        let writes = self.units.len();
        assert!(writes <= 20, "a flat enumeration of {writes} writes is out of reach");
        let subsets = (0u64..1 << writes).map(|kept| State {
            lost: (0..writes as u32).filter(|&write| kept >> write & 1 == 0).collect(),
            ..State::default()
        });
        match self.tear {
            TearKind::None => subsets.collect(),
            TearKind::One => self.crashes.iter().fold(subsets.collect(), |states: Vec<State>, crash| {
                states.into_iter().flat_map(|state| self.with_tears(state, crash)).collect()
            }),
            TearKind::Any => self.all_units(),
        }
    }

    /// A state itself, and the state with each of the writes that it lost in this crash torn in every way instead.
    fn with_tears(&self, state: State, crash: &Crash) -> Vec<State> {
        let mut states = vec![state.clone()];
        for &write in state.lost.iter().filter(|write| crash.writes.contains(write)) {
            let lost: Vec<u32> = state.lost.iter().copied().filter(|&other| other != write).collect();
            for boundary in 1..self.units[write as usize] {
                for tear in [Tear::Head(boundary), Tear::Tail(boundary)] {
                    let torn = state.torn.iter().copied().chain([(write, tear)]).collect();
                    states.push(State { lost: lost.clone(), torn, lost_units: Vec::new() });
                }
            }
        }
        states
    }

    fn all_units(&self) -> Vec<State> {
        let all: Vec<(u32, u32)> = self
            .units
            .iter()
            .enumerate()
            .flat_map(|(write, &units)| (0..units).map(move |unit| (write as u32, unit)))
            .collect();
        assert!(all.len() <= 20, "a flat enumeration of {} units is out of reach", all.len());
        let lost = |kept: u64| (0..all.len()).filter(|&unit| kept >> unit & 1 == 0).map(|unit| all[unit]).collect();
        (0u64..1 << all.len()).map(|kept| State { lost_units: lost(kept), ..State::default() }).collect()
    }
}

/// The number of atomic units that a write touches.
pub(crate) fn units_of(write: &WriteEntry, unit: u32) -> u32 {
    let unit = u64::from(unit);
    ((write.sector + write.sectors()).div_ceil(unit) - write.sector / unit) as u32
}

/// How many subsets of so many things have 0, 1, 2 … of them.
fn subsets<const N: usize>(things: u64) -> [BigUint; N] {
    let mut next = BigUint::from(1u32);
    std::array::from_fn(|chosen| {
        let left = things.saturating_sub(chosen as u64);
        let more = &next * left / (chosen as u64 + 1);
        std::mem::replace(&mut next, more)
    })
}

/// So many more in each.
fn shifted<const N: usize>(counts: &[BigUint; N], by: usize) -> [BigUint; N] {
    std::array::from_fn(|index| index.checked_sub(by).map_or(BigUint::ZERO, |index| counts[index].clone()))
}

/// What two choices that do not depend on each other come to together.
fn product<const N: usize>(one: &[BigUint; N], other: &[BigUint]) -> [BigUint; N] {
    std::array::from_fn(|sum| (0..=sum).filter_map(|index| Some(other.get(index)? * &one[sum - index])).sum())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::SECTOR;

    fn writes(lengths: &[u32]) -> Vec<WriteEntry> {
        let write = |(index, &length): (usize, &u32)| WriteEntry {
            sector: index as u64 * 100,
            data: Arc::new(vec![0; length as usize * SECTOR]),
            step: 0,
        };
        lengths.iter().enumerate().map(write).collect()
    }

    fn agrees(state: &State, decision: &Decision) -> bool {
        state.survived(decision.write, decision.unit) == decision.survived
    }

    fn tear_kind() -> impl Strategy<Value = TearKind> {
        prop_oneof![Just(TearKind::None), Just(TearKind::One), Just(TearKind::Any)]
    }

    proptest! {
        /// The count, the forced answers and the representative are those of the flat enumeration.
        #[test]
        fn counts_what_can_be_enumerated(
            tear in tear_kind(),
            lengths in prop::collection::vec(1u32..5, 0..4),
            first in 0usize..4,
            questions in prop::collection::vec((any::<u32>(), any::<u32>(), any::<bool>()), 0..10),
        ) {
            let model = DiskModel { tear, ..DiskModel::default() };
            let writes = writes(&lengths);
            // The rest were caught by a crash during recovery.
            let (first, second) = writes.split_at(writes.len().min(first));
            let mut fates = Fates::open(&model, first).crashed(second);
            let (fresh, whole) = (fates.clone(), first.len());
            let mut states = fates.enumerate();
            prop_assert!(states.iter().all(|state| fates.allows(state)));
            let distinct: std::collections::BTreeSet<_> = states.iter().cloned().collect();
            prop_assert_eq!(distinct.len(), states.len());
            prop_assert_eq!(fates.count(), BigUint::from(states.len()));
            for (write, unit, survived) in questions {
                if lengths.is_empty() {
                    break;
                }
                let write = write % lengths.len() as u32;
                let unit = if (write as usize) < whole { unit % lengths[write as usize] } else { 0 };
                let alive = states.iter().filter(|state| state.survived(write, unit)).count();
                let expected = match (alive, states.len() - alive) {
                    (_, 0) => Some(true),
                    (0, _) => Some(false),
                    _ => None,
                };
                prop_assert_eq!(fates.forced(write, unit), expected);
                let decision = Decision { write, unit, survived };
                if expected.is_none() {
                    fates.settle(decision);
                    states.retain(|state| agrees(state, &decision));
                }
                prop_assert_eq!(fates.count(), BigUint::from(states.len()));
                prop_assert_eq!(fates.count_by_losses::<3>(), by_losses(&states));
                let representative = fates.fewest_lost();
                prop_assert!(fates.decisions().iter().all(|decision| agrees(&representative, decision)), "{:?}", representative);
                if tear != TearKind::Any {
                    prop_assert!(states.contains(&representative), "{:?}", representative);
                }
                // It is told as torn exactly where all of its class are.
                let mut one = fresh.clone();
                prop_assert!(one.allows(&representative));
                one.settle_all(&representative);
                prop_assert_eq!(one.torn(), fates.torn(), "{:?}", representative);
            }
        }
    }

    /// How many of these states have no write that lost anything, one, two.
    fn by_losses(states: &[State]) -> [BigUint; 3] {
        let losses = |State { lost, torn, lost_units }: &State| {
            let mut writes: Vec<u32> = lost_units.iter().map(|(write, _)| *write).collect();
            writes.dedup();
            lost.len() + torn.len() + writes.len()
        };
        std::array::from_fn(|wanted| states.iter().filter(|state| losses(state) == wanted).count().into())
    }

    #[test]
    fn torn_is_what_both_survived_and_was_lost() {
        let writes = writes(&[4, 1, 2]);
        for tear in [TearKind::One, TearKind::Any] {
            let mut fates = Fates::open(&DiskModel { tear, ..DiskModel::default() }, &writes);
            fates.settle(Decision { write: 0, unit: 1, survived: false });
            fates.settle(Decision { write: 1, unit: 0, survived: true });
            assert!(!fates.torn());
            fates.settle(Decision { write: 0, unit: 3, survived: true });
            assert!(fates.torn());
        }
    }

    #[test]
    fn sixteen_thousand_writes_are_counted_exactly() {
        let writes = writes(&vec![1; 16_384]);
        let fates = Fates::open(&DiskModel::default(), &writes);
        assert_eq!(fates.count(), BigUint::from(1u32) << 16_384);
    }
}
