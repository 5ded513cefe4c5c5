//! How much an exploration may take, and what it has taken: pure but for the clock on the wall.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How much work an exploration may take. Without any limit, it goes on to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Wall time in which somebody works on it.
    pub time: Option<Duration>,
    /// Visits: mounts, where the power fails.
    pub mounts: Option<u64>,
}

/// How long somebody has been at work: a budget is not spent while workers are elsewhere.
#[derive(Debug, Default)]
struct Clock {
    /// Pieces of work that were given and not answered.
    running: usize,
    since: Option<Instant>,
    before: Duration,
}

impl Clock {
    fn elapsed(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// What is taken of a budget.
#[derive(Debug, Default)]
pub struct Spending {
    budget: Budget,
    clock: Clock,
    given: u64,
    closed: bool,
}

impl Spending {
    /// Nothing yet.
    pub fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// The budget.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// A piece of work was given.
    pub fn begin(&mut self) {
        self.clock.running += 1;
        self.clock.since.get_or_insert_with(Instant::now);
    }

    /// A piece of work was answered.
    pub fn end(&mut self) {
        let clock = &mut self.clock;
        clock.running = clock.running.saturating_sub(1);
        if clock.running == 0 {
            clock.before += clock.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        }
    }

    /// Whether a piece of work was given that nobody has answered.
    pub fn is_running(&self) -> bool {
        self.clock.running > 0
    }

    /// So many visits were given.
    pub fn give(&mut self, visits: u64) {
        self.given += visits;
    }

    /// How many visits may still be given.
    pub fn left(&self) -> u64 {
        self.budget.mounts.map_or(u64::MAX, |limit| limit.saturating_sub(self.given))
    }

    /// Whether anything may be begun. If there is `more` to do and nothing is left of the budget, then never again.
    pub fn may_begin(&mut self, more: bool) -> bool {
        if !self.closed && more && (self.is_late() || self.left() == 0) {
            self.closed = true;
        }
        !self.closed
    }

    /// Whether the time is over: what was given and is not begun need not be done, and nothing more is begun.
    pub fn is_late(&mut self) -> bool {
        let late = self.budget.time.is_some_and(|limit| self.clock.elapsed() >= limit);
        self.closed |= late;
        late
    }

    /// Whether it ran out before the end.
    pub fn ran_out(&self) -> bool {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_within_the_budget_did_not_run_out() {
        let mut spending = Spending::new(Budget { time: None, mounts: Some(2) });
        spending.give(2);
        assert!(spending.may_begin(false) && !spending.ran_out());
        assert!(!spending.may_begin(true) && spending.ran_out());
        assert!(!spending.may_begin(false), "what ran out stays so");
    }

    #[test]
    fn the_clock_stands_still_while_nobody_is_at_work() {
        let mut spending = Spending::new(Budget { time: Some(Duration::from_millis(1)), mounts: None });
        std::thread::sleep(Duration::from_millis(2));
        assert!(!spending.is_late());
        spending.begin();
        std::thread::sleep(Duration::from_millis(2));
        assert!(spending.is_late() && spending.is_running());
        spending.end();
        assert!(!spending.may_begin(true) && !spending.is_running());
    }
}
