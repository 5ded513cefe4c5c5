//! Sets of file sizes.

use std::fmt;

use program::thousands;
use serde::{Deserialize, Serialize};

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

impl fmt::Display for Sizes {
    /// `3 or 8`; many of them in short: `3 or 8 or one of 17 more up to 900`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// As many as a reader can take in.
        const SHOWN: usize = 4;
        let text = |&(first, last): &(u64, u64)| match last {
            _ if first == last => thousands(first),
            u64::MAX => format!("{} and more", thousands(first)),
            _ => format!("{} to {}", thousands(first), thousands(last)),
        };
        let shown: Vec<String> = self.0.iter().take(SHOWN).map(text).collect();
        f.write_str(&shown.join(" or "))?;
        match self.0.last() {
            Some((_, last)) if self.0.len() > SHOWN => {
                write!(f, " or one of {} more up to {}", self.0.len() - SHOWN, thousands(*last))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn in_words() {
        let texts = [
            Sizes::only(5),
            Sizes::from(1234),
            Sizes::between(3, 9),
            Sizes::only(9).union(&Sizes::only(2)),
            (0..20).map(|n| n * 10).collect(),
        ];
        insta::assert_snapshot!(
            texts.map(|sizes| sizes.to_string()).join("\n"),
            @r"
        5
        1,234 and more
        3 to 9
        2 or 9
        0 or 10 or 20 or 30 or one of 16 more up to 190
        "
        );
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
