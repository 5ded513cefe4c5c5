//! A choice of schedules, where there are too many.

use std::collections::BTreeSet;

use program::{History, Trace};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::pool::{Pool, base, schedule_count, schedules};
use crate::schedule::Schedule;

/// `count` of the [`schedules`] with up to `bound` injections, in their order, none twice; all if there are no more.
///
/// The base set is always among them, even if `count` is smaller; then come as many schedules with a single injection
/// as fit, chosen at random if not all do; the rest is drawn from the others, each number of injections as likely as
/// another. The same arguments give the same choice: the generator is ChaCha8, seeded with `seed`.
pub fn sample(trace: &Trace, history: &History, bound: u32, seed: u64, count: usize) -> Vec<Schedule> {
    if schedule_count(trace, history, bound) <= count as u64 {
        return schedules(trace, history, bound);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = schedules(trace, history, bound.min(1));
    let base = base(trace, history).len();
    if count < chosen.len() {
        let drawn = draw(&mut random, chosen.len() - base, count.saturating_sub(base));
        let mut index = 0..;
        chosen.retain(|_| index.next().is_some_and(|index| index < base || drawn.contains(&(index - base))));
        return chosen;
    }
    // Few enough to make them all: drawing them one by one would take ever longer to find the last ones.
    let (rest, begun) = (count - chosen.len(), chosen.len());
    if schedule_count(trace, history, bound) <= 4 * count as u64 {
        let others = schedules(trace, history, bound).split_off(begun);
        let drawn = draw(&mut random, others.len(), rest);
        let others = others.into_iter().enumerate().filter(|(index, _)| drawn.contains(index));
        chosen.extend(others.map(|(_, schedule)| schedule));
        return chosen;
    }
    let pool = Pool::new(trace, history);
    let most = (bound as usize).min(pool.len());
    let mut others = BTreeSet::new();
    while others.len() < rest {
        let coincide = 2 + below(&mut random, most - 1);
        others.insert((coincide, draw(&mut random, pool.len(), coincide)));
    }
    chosen.extend(others.into_iter().filter_map(|(_, set)| pool.schedule(set)));
    chosen
}

/// `count` different numbers below `bound`, which must be as many.
fn draw(random: &mut ChaCha8Rng, bound: usize, count: usize) -> BTreeSet<usize> {
    let mut drawn = BTreeSet::new();
    // Floyd's way (Bentley and Floyd, A Sample of Brilliance, CACM 1987): no draw is in vain.
    for last in bound - count..bound {
        let number = below(random, last + 1);
        drawn.insert(if drawn.contains(&number) { last } else { number });
    }
    drawn
}

/// Returns a number below `bound`, which must not be 0.
///
/// This is not `rand::RngExt::random_range`, which may map the generator's numbers to a range in another way in its next
/// release. A seed that a report names must choose the same schedules for ever.
fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::three_saves;

    #[test]
    fn samples_are_parts_of_the_whole() {
        let (trace, history) = three_saves(5000);
        for bound in [0, 1, 2] {
            let all = schedules(&trace, &history, bound);
            let base = base(&trace, &history).len();
            let singles = schedules(&trace, &history, bound.min(1)).len();
            for count in [0, base, base + 3, singles, singles + 5, singles + 50, all.len() / 2, all.len()] {
                let some = sample(&trace, &history, bound, 7, count);
                assert_eq!(some.len(), count.clamp(base, all.len()), "{count} of bound {bound}");
                let mut rest = all.iter();
                assert!(some.iter().all(|schedule| rest.any(|other| other == schedule)), "in order, none twice");
                let kept = base.max(singles.min(if count < singles { base } else { count }));
                assert_eq!(some[..kept], all[..kept]);
                let at_least = count.min(singles);
                assert!(some.iter().take_while(|schedule| schedule.injections.len() <= 1).count() >= at_least);
                assert_eq!(some, sample(&trace, &history, bound, 7, count));
            }
        }
        let (one, other) = (sample(&trace, &history, 3, 1, 200), sample(&trace, &history, 3, 2, 200));
        assert_ne!(one, other);
    }

    /// Seeds that reports name would choose other schedules if one of these numbers changed.
    #[test]
    fn a_seed_draws_the_same_numbers_for_ever() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let numbers = [2910824217569608635, 3098856782162503994, 12991601491111613745, 13406010708265417443];
        assert_eq!(std::array::from_fn(|_| random.next_u64()), numbers);
        let drawn = draw(&mut ChaCha8Rng::seed_from_u64(7), 1000, 12);
        assert_eq!(drawn, BTreeSet::from([82, 156, 166, 200, 357, 363, 384, 597, 697, 720, 845, 987]));
        // More than the generator makes in one go.
        let mut random = ChaCha8Rng::seed_from_u64(u64::MAX);
        let sum = (0..1_000_000).fold(0u64, |sum, _| sum.rotate_left(5) ^ random.next_u64());
        assert_eq!(sum, 0x6df8_5a94_2ed0_8262);
    }

    #[test]
    fn few_of_countless_ones_take_no_time() {
        let (trace, history) = three_saves(5000);
        let some = sample(&trace, &history, u32::MAX, 1, 300);
        assert_eq!(some.len(), 300);
        assert!(some.iter().any(|schedule| schedule.injected() > 5));
    }
}
