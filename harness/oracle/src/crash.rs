//! Which states a crash may leave of what a disk has logged.

use crate::image::Image;
use crate::log::{Event, Log};

/// A span of a log during which the same writes are durable.
///
/// A write is durable once a flush has been answered that arrived after the write had been answered. Of all others that
/// have arrived, answered or not, a crash may leave any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Indices of the durable writes, ascending.
    pub durable: Vec<usize>,
    /// Indices of those that may be lost at its end, ascending. Earlier, it is those of them that had arrived.
    pub volatile: Vec<usize>,
    /// From after this many events …
    pub from: usize,
    /// … up to after this many.
    pub to: usize,
}

impl Window {
    /// After how many events the state with just these of the volatile writes can first occur.
    pub fn earliest(&self, log: &Log, kept: &[usize]) -> usize {
        let arrived = |event: &Event| matches!(event, Event::Begun(write) if Some(write) == kept.last());
        let arrived = log.events.iter().position(arrived).map_or(0, |index| index + 1);
        self.from.max(arrived)
    }

    /// The disk with these of the volatile writes, `kept` ascending. Writes to one place take effect in the order of
    /// arrival.
    pub fn image(&self, start: &Image, log: &Log, kept: &[usize]) -> Image {
        let mut image = start.clone();
        let mut all: Vec<usize> = self.durable.iter().chain(kept).copied().collect();
        all.sort_unstable();
        for write in all {
            image.write(log.writes[write].offset, &log.writes[write].data);
        }
        image
    }
}

/// The windows of a log, in order: at least one.
pub fn windows(log: &Log) -> Vec<Window> {
    let mut windows = Vec::new();
    let count = log.writes.len();
    let (mut arrived, mut answered, mut durable) = (0, vec![false; count], vec![false; count]);
    // What each flush covers.
    let mut flushes: Vec<Vec<bool>> = Vec::new();
    let mut from = 0;
    let close = |arrived: usize, durable: &[bool], from: usize, to: usize| {
        let (kept, open) = (0..arrived).partition(|write| durable[*write]);
        Window { durable: kept, volatile: open, from, to }
    };
    for (index, event) in log.events.iter().enumerate() {
        match *event {
            Event::Begun(write) => arrived = write + 1,
            Event::Done(write) => answered[write] = true,
            Event::FlushBegun(_) => flushes.push(answered.clone()),
            Event::FlushDone(flush) => {
                let covers = &flushes[flush];
                if (0..count).any(|write| covers[write] && !durable[write]) {
                    windows.push(close(arrived, &durable, from, index));
                    durable.iter_mut().zip(covers).for_each(|(durable, covered)| *durable |= covered);
                    from = index + 1;
                }
            }
            Event::StepBegun(_) | Event::StepDone(_) => {}
        }
    }
    windows.push(close(arrived, &durable, from, log.events.len()));
    windows
}

/// Up to how many volatile writes all subsets are taken.
pub const ALL_UP_TO: usize = 10;

/// Subsets of `count` things: all if they are few, else none, all, each alone lost, each alone kept, each beginning,
/// and `random` ones. None twice.
pub fn subsets(count: usize, all_up_to: usize, random: usize, seed: u64) -> Vec<Vec<bool>> {
    if count <= all_up_to.min(20) {
        return (0..1u32 << count).map(|bits| (0..count).map(|index| bits >> index & 1 == 1).collect()).collect();
    }
    let mut subsets = vec![vec![false; count], vec![true; count]];
    for chosen in 0..count {
        subsets.push((0..count).map(|index| index != chosen).collect());
        subsets.push((0..count).map(|index| index == chosen).collect());
        subsets.push((0..count).map(|index| index < chosen).collect());
    }
    let mut state = seed;
    for _ in 0..random {
        subsets.push((0..count).map(|_| next(&mut state) >> 63 == 1).collect());
    }
    let mut seen = std::collections::BTreeSet::new();
    subsets.retain(|subset| seen.insert(subset.clone()));
    subsets
}

/// The next number of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::log::Write;

    /// `0`…`9` a write arrives, then `a`…`j` it is answered; `[` and `]` a flush arrives and is answered; `.` a step ends.
    fn log(text: &str) -> Log {
        let mut log = Log::default();
        let (mut begun, mut done, mut steps) = (0.., 0.., 0..);
        let number = |of: &mut std::ops::RangeFrom<usize>| of.next().unwrap();
        for letter in text.chars() {
            let event = match letter {
                '0'..='9' => {
                    log.writes.push(Write { offset: 512 * log.writes.len() as u64, data: [letter as u8; 512].into() });
                    Event::Begun(log.writes.len() - 1)
                }
                'a'..='j' => Event::Done(letter as usize - 'a' as usize),
                '[' => Event::FlushBegun(number(&mut begun)),
                ']' => Event::FlushDone(number(&mut done)),
                _ => Event::StepDone(number(&mut steps)),
            };
            log.events.push(event);
        }
        log
    }

    fn sets(text: &str) -> Vec<(Vec<usize>, Vec<usize>)> {
        windows(&log(text)).into_iter().map(|window| (window.durable, window.volatile)).collect()
    }

    #[test]
    fn only_what_was_answered_before_a_flush_arrived_is_durable() {
        assert_eq!(sets(""), [(vec![], vec![])]);
        assert_eq!(sets("0a[]"), [(vec![], vec![0]), (vec![0], vec![])]);
        assert_eq!(sets("0[a]"), [(vec![], vec![0])]);
        // A write that is held stays volatile past the flush of others.
        assert_eq!(sets("01b[]2ca"), [(vec![], vec![0, 1]), (vec![1], vec![0, 2])]);
        // What arrives during a flush is not covered.
        assert_eq!(sets("0a[1b]"), [(vec![], vec![0, 1]), (vec![0], vec![1])]);
    }

    #[test]
    fn a_state_cannot_occur_before_its_writes_have_arrived() {
        let log = log("0.1.a[]");
        let windows = windows(&log);
        assert_eq!((windows[0].from, windows[0].to), (0, 6));
        assert_eq!([&[][..], &[0], &[1], &[0, 1]].map(|kept| windows[0].earliest(&log, kept)), [0, 1, 3, 3]);
        assert_eq!(windows[1].earliest(&log, &[]), 7);
    }

    /// The rule, said once more, event by event.
    fn states_at(log: &Log, point: usize) -> BTreeSet<Vec<usize>> {
        let events = &log.events[..point];
        let place = |wanted: Event| events.iter().position(|event| *event == wanted);
        let arrived: Vec<usize> = (0..log.writes.len()).filter(|write| place(Event::Begun(*write)).is_some()).collect();
        let durable = |write: &usize| {
            let answered = place(Event::Done(*write));
            (0..events.len())
                .filter_map(|flush| Some((place(Event::FlushBegun(flush))?, place(Event::FlushDone(flush))?)))
                .any(|(begun, _)| answered.is_some_and(|answered| answered < begun))
        };
        let (durable, open): (Vec<usize>, Vec<usize>) = arrived.into_iter().partition(durable);
        let with = |bits: Vec<bool>| {
            let kept = open.iter().zip(bits).filter(|(_, kept)| *kept).map(|(write, _)| *write);
            let mut all: Vec<usize> = durable.iter().copied().chain(kept).collect();
            all.sort_unstable();
            all
        };
        subsets(open.len(), 20, 0, 0).into_iter().map(with).collect()
    }

    proptest! {
        #[test]
        fn windows_have_the_states_of_all_points(choices in prop::collection::vec(0u8..5, 0..24)) {
            let mut log = Log::default();
            let (mut begun, mut done) = (0, 0);
            let mut open = Vec::new();
            for choice in choices {
                match choice {
                    0 if log.writes.len() < 7 => {
                        open.push(log.writes.len());
                        log.events.push(Event::Begun(log.writes.len()));
                        log.writes.push(Write { offset: 0, data: [1; 512].into() });
                    }
                    1 if !open.is_empty() => log.events.push(Event::Done(open.remove(0))),
                    2 if !open.is_empty() => log.events.extend(open.pop().map(Event::Done)),
                    3 => {
                        log.events.push(Event::FlushBegun(begun));
                        begun += 1;
                    }
                    4 if done < begun => {
                        log.events.push(Event::FlushDone(done));
                        done += 1;
                    }
                    _ => {}
                }
            }
            let windows = windows(&log);
            for point in 0..=log.events.len() {
                let of_point = states_at(&log, point);
                let mut of_windows = BTreeSet::new();
                for window in windows.iter().filter(|window| window.from <= point && point <= window.to) {
                    for bits in subsets(window.volatile.len(), 20, 0, 0) {
                        let kept: Vec<usize> =
                            window.volatile.iter().zip(bits).filter(|(_, kept)| *kept).map(|(write, _)| *write).collect();
                        if window.earliest(&log, &kept) <= point {
                            let mut all: Vec<usize> = window.durable.iter().copied().chain(kept).collect();
                            all.sort_unstable();
                            of_windows.insert(all);
                        }
                    }
                }
                prop_assert_eq!(of_point, of_windows, "after {} events", point);
            }
        }

        #[test]
        fn subsets_are_of_that_many_and_none_comes_twice(count in 0usize..40, seed: u64) {
            let subsets = subsets(count, ALL_UP_TO, 30, seed);
            prop_assert!(subsets.iter().all(|subset| subset.len() == count));
            prop_assert!(subsets.contains(&vec![false; count]) && subsets.contains(&vec![true; count]));
            let different: BTreeSet<_> = subsets.iter().collect();
            prop_assert_eq!(different.len(), subsets.len());
            prop_assert!(count > ALL_UP_TO || subsets.len() == 1 << count);
        }
    }
}
