//! The tree of decisions that recovery and the checker really make, and the parts of it that no visit has entered yet:
//! pure.
//!
//! A visit starts with a prefix of decisions and answers with all that it settled, prefix first. At each decision of its
//! own it could have gone the other way: the states in which it does are a [`Branch`], to be entered by another visit.
//! So each question is settled both ways, once each, and the equivalence classes of all visits are a partition of the
//! states, whatever the order in which branches are taken. [`Priority`] says which branch is entered before which.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{Decision, Key, key};

/// What is tried first: the fewer losses, the more a state looks like what happens in the field, and the easier it is to
/// understand. The first visit of an epoch loses nothing; then come all single losses, all single tears, all pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority {
    /// Writes of which something is known to be lost.
    pub losses: u32,
    /// Whether one of them is known to be torn.
    pub torn: bool,
}

/// A part of the tree that no visit has entered: the states that agree with its prefix.
#[derive(Clone, Debug)]
pub struct Branch {
    /// What the visit settled that this one branches off from.
    visit: Arc<[Decision]>,
    /// How many of these decisions it shares; the next one is turned round. The root shares none, and has no visit.
    shared: usize,
    /// How soon it should be entered.
    pub priority: Priority,
    /// Names it within its epoch, in every run: a hash of its prefix.
    pub key: Key,
    /// Whether a visit that enters it mounts differently from the visit that it branches off from; if not, only what is
    /// seen after the mount differs.
    pub mounts_anew: bool,
}

impl Branch {
    /// All states of an epoch.
    pub fn root() -> Self {
        Self { visit: Arc::new([]), shared: 0, priority: Priority::default(), key: [0; 16], mounts_anew: true }
    }

    /// How many decisions a visit that enters starts with.
    pub fn depth(&self) -> usize {
        (self.shared + 1).min(self.visit.len())
    }

    /// What a visit that enters starts with.
    pub fn prefix(&self) -> Vec<Decision> {
        let mut prefix = self.visit[..self.depth()].to_vec();
        if let Some(last) = prefix.last_mut() {
            last.survived = !last.survived;
        }
        prefix
    }

    /// What is left of this branch when a visit entered it and made these `decisions`, prefix first; so many of them,
    /// `mounted`, had been made when the mount was over.
    pub fn rest(&self, decisions: &[Decision], mounted: usize) -> Vec<Branch> {
        let mut rest = Vec::new();
        if decisions.len() == self.depth() {
            return rest;
        }
        let visit: Arc<[Decision]> = decisions.into();
        let mut known = Losses::default();
        let mut hasher = Sha256::new();
        for (shared, &decision) in visit.iter().enumerate() {
            if shared >= self.depth() {
                let turned = Decision { survived: !decision.survived, ..decision };
                let key = key(hasher.clone().chain_update(bytes(turned)));
                let (priority, mounts_anew) = (known.with(turned), shared < mounted);
                rest.push(Branch { visit: visit.clone(), shared, priority, key, mounts_anew });
            }
            known.add(decision);
            hasher.update(bytes(decision));
        }
        rest
    }
}

fn bytes(decision: Decision) -> [u8; 9] {
    let [a, b, c, d] = decision.write.to_le_bytes();
    let [e, f, g, h] = decision.unit.to_le_bytes();
    [a, b, c, d, e, f, g, h, u8::from(decision.survived)]
}

/// What is known about writes, as far as it matters for [`Priority`].
#[derive(Default)]
struct Losses {
    /// For each write: whether something survived, and whether something was lost.
    writes: HashMap<u32, (bool, bool)>,
    priority: Priority,
}

impl Losses {
    fn with(&self, decision: Decision) -> Priority {
        let (mut kept, mut lost) = self.writes.get(&decision.write).copied().unwrap_or_default();
        let new = !lost && !decision.survived;
        kept |= decision.survived;
        lost |= !decision.survived;
        Priority { losses: self.priority.losses + u32::from(new), torn: self.priority.torn || (kept && lost) }
    }

    fn add(&mut self, decision: Decision) {
        self.priority = self.with(decision);
        let (kept, lost) = self.writes.entry(decision.write).or_default();
        *kept |= decision.survived;
        *lost |= !decision.survived;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn decision(write: u32, unit: u32, survived: bool) -> Decision {
        Decision { write, unit, survived }
    }

    /// A guest that asks about one write after the other, where to go next depending on the answers: every second write
    /// is asked about only if the one before was lost.
    fn run(prefix: &[Decision], writes: u32, first: bool) -> Vec<Decision> {
        let mut decisions = prefix.to_vec();
        let mut before = false;
        for write in 0..writes {
            if write % 2 == 1 && before {
                continue;
            }
            let known = decisions.iter().find(|decision| decision.write == write).map(|decision| decision.survived);
            before = known.unwrap_or(first);
            if known.is_none() {
                decisions.push(decision(write, 0, first));
            }
        }
        decisions
    }

    fn classes(writes: u32, first: bool, take: impl Fn(usize) -> usize) -> BTreeSet<Vec<Decision>> {
        let mut branches = vec![Branch::root()];
        let mut classes = BTreeSet::new();
        while !branches.is_empty() {
            let branch = branches.swap_remove(take(branches.len()) % branches.len());
            let decisions = run(&branch.prefix(), writes, first);
            branches.extend(branch.rest(&decisions, 0));
            let mut class = decisions;
            class.sort();
            assert!(classes.insert(class), "a class was found twice");
        }
        classes
    }

    proptest! {
        /// Whatever is taken first, and whichever way a run goes where it may choose, the classes are the same.
        #[test]
        fn the_order_does_not_matter(writes in 0u32..8, first: bool, seed in 0usize..1000) {
            let expected = classes(writes, true, |_| 0);
            prop_assert_eq!(classes(writes, first, |left| seed.wrapping_mul(left) >> 2), expected);
        }
    }

    #[test]
    fn single_losses_come_before_single_tears_and_these_before_pairs() {
        let decisions = [decision(0, 0, false), decision(1, 0, true), decision(1, 1, true)];
        let root = Branch::root().rest(&decisions, 1);
        let priority =
            |branches: &[Branch]| branches.iter().map(|b| (b.priority.losses, b.priority.torn)).collect::<Vec<_>>();
        assert_eq!(priority(&root), [(0, false), (2, false), (2, true)]);
        assert!(Priority { losses: 1, torn: false } < Priority { losses: 1, torn: true });
        assert!(Priority { losses: 1, torn: true } < Priority { losses: 2, torn: false });
    }

    #[test]
    fn a_branch_shares_what_was_settled_before_it() {
        let decisions = [decision(0, 0, true), decision(1, 0, true)];
        let rest = Branch::root().rest(&decisions, 1);
        assert_eq!(rest[0].prefix(), [decision(0, 0, false)]);
        assert_eq!(rest[1].prefix(), [decision(0, 0, true), decision(1, 0, false)]);
        assert_eq!([rest[0].mounts_anew, rest[1].mounts_anew], [true, false]);
        assert!(rest[1].rest(&rest[1].prefix(), 0).is_empty());
    }
}
