//! Counts, forced answers and representatives compared with a flat enumeration.

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
