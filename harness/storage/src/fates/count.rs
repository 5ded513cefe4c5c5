//! How many crash states agree with what is settled: exact numbers, without looking at any state.

use num_bigint::BigUint;

use super::{Crash, Fates};
use crate::TearKind;

impl Fates {
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
