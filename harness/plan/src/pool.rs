//! All schedules: each choice of what can coincide with an execution, made or counted.

use program::{History, Trace};
use protocol::Conditions;

use crate::injections::injections;
use crate::schedule::{Ending, Injection, Schedule};

/// All schedules with up to `bound` coincidences: those with fewer come first, so the order is the same for any bound.
pub fn schedules(trace: &Trace, history: &History, bound: u32) -> Vec<Schedule> {
    let pool = Pool::new(trace, history);
    let mut schedules = base(trace, history);
    for count in 1..=bound.min(pool.len() as u32) {
        let chosen = choices(0..pool.len(), count as usize).into_iter();
        schedules.extend(chosen.filter_map(|chosen| pool.schedule(chosen)));
    }
    schedules
}

/// What can coincide with an execution: each injection, and that the kernel finishes in another order than the usual one.
pub(super) struct Pool {
    injections: Vec<Injection>,
    endings: Vec<Ending>,
}

impl Pool {
    pub(super) fn new(trace: &Trace, history: &History) -> Self {
        Self { injections: injections(trace, history), endings: endings(trace, history) }
    }

    /// How many coincidences there are to choose from. Those that are no injections come last.
    pub(super) fn len(&self) -> usize {
        self.injections.len() + self.endings.len() - 1
    }

    /// The schedule with these coincidences, which are given in order; `None` if it is in the base set.
    pub(super) fn schedule(&self, chosen: impl IntoIterator<Item = usize>) -> Option<Schedule> {
        let usual = *self.endings.first()?;
        let mut schedule = Schedule { injections: Vec::new(), ending: usual, conditions: Conditions::default() };
        for index in chosen {
            match self.injections.get(index) {
                Some(injection) => schedule.injections.push(injection.clone()),
                None => schedule.ending = *self.endings.get(1 + index - self.injections.len())?,
            }
        }
        (!schedule.injections.is_empty()).then_some(schedule)
    }
}

/// The schedules without injections: each order in which the kernel can finish, and the usual one under other conditions.
pub(super) fn base(trace: &Trace, history: &History) -> Vec<Schedule> {
    let usual = Conditions::default();
    let endings = endings(trace, history);
    let others = [Conditions { cold: true, ..usual }, Conditions { still: true, ..usual }];
    let with = |conditions| move |ending| Schedule { injections: Vec::new(), ending, conditions };
    let first = endings.first().copied();
    let others = others.into_iter().filter_map(|conditions| first.map(with(conditions)));
    endings.iter().copied().map(with(usual)).chain(others).collect()
}

/// How many [`schedules`] there are, without making them: they can be more than any memory holds. `u64::MAX` if more.
pub fn schedule_count(trace: &Trace, history: &History, bound: u32) -> u64 {
    let pool = Pool::new(trace, history);
    let size = pool.len() as u64;
    // Binomial coefficients, each from the one before: the product is a multiple of the divisor at each step.
    let mut choices = Some(1_u64);
    let mut all = base(trace, history).len() as u64;
    for count in 1..=u64::from(bound).min(size) {
        let next = |before: u64| Some((u128::from(before) * u128::from(size - count + 1) / u128::from(count)) as u64);
        choices =
            choices.filter(|before| u128::from(*before) * u128::from(size) <= u128::from(u64::MAX)).and_then(next);
        let Some(choices) = choices else { return u64::MAX };
        // One by itself that is no injection is in the base set.
        let known = if count == 1 { pool.endings.len() as u64 - 1 } else { 0 };
        all = all.saturating_add(choices - known);
    }
    all
}

/// Every choice of `count` of these numbers, in their order.
pub(super) fn choices(from: std::ops::Range<usize>, count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in from.clone() {
        for mut others in choices(first + 1..from.end, count - 1) {
            others.insert(0, first);
            all.push(others);
        }
    }
    all
}

/// Both orders, the usual one first: what is dirty is written back later than a transaction is committed (30 s and 5 s on
/// ext4). Only one if there is nothing to write back.
fn endings(trace: &Trace, history: &History) -> Vec<Ending> {
    let dirty = trace.ops.len().checked_sub(1).map_or(&[][..], |last| history.dirty_files_after(last));
    if dirty.is_empty() { vec![Ending::Commit] } else { vec![Ending::CommitFirst, Ending::WritebackFirst] }
}
