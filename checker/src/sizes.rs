//! Sets of file sizes.

use serde::{Deserialize, Serialize};

use crate::{MoreSizes, SizeRange};

/// A set of file sizes, bytes: ranges with both ends in the set, ascending, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sizes(Vec<(u64, u64)>);

impl Sizes {
    /// This size alone.
    pub fn only(size: u64) -> Self {
        Self(vec![(size, size)])
    }

    /// This size and every larger one.
    pub fn from(size: u64) -> Self {
        Self(vec![(size, u64::MAX)])
    }

    /// All from the first to the last of these two.
    pub fn between(first: u64, last: u64) -> Self {
        Self(vec![(first, last)])
    }

    /// Whether it is in the set.
    pub fn contains(&self, size: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= size);
        after.checked_sub(1).is_some_and(|index| size <= self.0[index].1)
    }

    /// This set and another.
    pub fn union(mut self, other: &Self) -> Self {
        self.0.extend(&other.0);
        self.into_set()
    }

    fn into_set(mut self) -> Self {
        self.0.sort_unstable();
        self.0.dedup_by(|later, earlier| {
            let touching = later.0 <= earlier.1.saturating_add(1);
            if touching {
                earlier.1 = earlier.1.max(later.1);
            }
            touching
        });
        self
    }

    /// The largest size in the set that is no larger than `size`, and the smallest that is no smaller.
    pub(crate) fn around(&self, size: u64) -> (Option<u64>, Option<u64>) {
        let below = self.0.iter().rev().find(|(first, _)| *first <= size).map(|(_, last)| (*last).min(size));
        let above = self.0.iter().find(|(_, last)| *last >= size).map(|(first, _)| (*first).max(size));
        (below, above)
    }
}

impl FromIterator<u64> for Sizes {
    fn from_iter<T: IntoIterator<Item = u64>>(sizes: T) -> Self {
        Self(sizes.into_iter().map(|size| (size, size)).collect()).into_set()
    }
}

impl Sizes {
    /// The first of them, as many as a reader can take in, and what else there is.
    pub(crate) fn listed(&self) -> (Vec<SizeRange>, Option<MoreSizes>) {
        const SHOWN: usize = 4;
        let range = |&(first, last): &(u64, u64)| SizeRange { first, last: (last != u64::MAX).then_some(last) };
        let more = self.0.last().filter(|_| self.0.len() > SHOWN);
        let more = more.map(|(_, last)| MoreSizes { ranges: self.0.len() - SHOWN, up_to: *last });
        (self.0.iter().take(SHOWN).map(range).collect(), more)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_are_listed() {
        let listed = |sizes: Sizes| {
            let (right, more) = sizes.listed();
            let right: Vec<_> = right.into_iter().map(|range| (range.first, range.last)).collect();
            (right, more.map(|more| (more.ranges, more.up_to)))
        };
        assert_eq!(listed(Sizes::from(1234)), (vec![(1234, None)], None));
        assert_eq!(listed(Sizes::between(3, 9)), (vec![(3, Some(9))], None));
        assert_eq!(listed(Sizes::only(9).union(&Sizes::only(2))), (vec![(2, Some(2)), (9, Some(9))], None));
        let (right, more) = listed((0..20).map(|n| n * 10).collect());
        assert_eq!((right.len(), right[3], more), (4, (30, Some(30)), Some((16, 190))));
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_put_in(
            ranges in proptest::collection::vec((0u64..40, 0u64..6), 0..8),
            endless in proptest::option::of(0u64..60),
        ) {
            let mut set = Sizes::default();
            for (first, length) in &ranges {
                set = set.union(&Sizes::between(*first, first + length));
            }
            if let Some(first) = endless {
                set = set.union(&Sizes::from(first));
            }
            let holds = |size: u64| {
                ranges.iter().any(|(first, length)| (*first..=first + length).contains(&size))
                    || endless.is_some_and(|first| size >= first)
            };
            for size in 0..70 {
                prop_assert_eq!(set.contains(size), holds(size), "{} in {:?}", size, set);
                let below = (0..=size).rev().find(|size| holds(*size));
                let above = (size..70).find(|size| holds(*size));
                prop_assert_eq!(set.around(size), (below, above));
            }
        }
    }
}
