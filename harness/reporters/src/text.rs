//! Numbers and foreign text, for people.

use std::fmt;

use num_bigint::BigUint;
use program::thousands;
use report::{CellReport, Losses, Reach};

/// Up to this many digits a number is written out.
const WRITTEN_OUT: usize = 15;

/// A count: exact up to 15 digits, else its first digits and its power of ten, marked as rounded down.
pub fn count(number: &BigUint) -> String {
    let digits = number.to_string();
    if digits.len() > WRITTEN_OUT {
        return format!("about {}.{} × 10^{}", &digits[..1], &digits[1..3], digits.len() - 1);
    }
    u64::try_from(number).map_or(digits, thousands)
}

/// How much of `all` is done: rounded down, so that `100 %` means all.
pub(crate) fn percent(done: &BigUint, all: &BigUint) -> String {
    if *all == BigUint::ZERO {
        return "0 %".to_owned();
    }
    let percent: BigUint = done * 100u32 / all;
    if percent == BigUint::ZERO && *done != BigUint::ZERO { "<1 %".to_owned() } else { format!("{percent} %") }
}

/// `1 cell`, `2,000 cells`.
pub(crate) fn many(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{} {what}s", thousands(number as u64)) }
}

/// How many states of a cell were covered, of how many.
pub(crate) fn covered(cell: &CellReport) -> String {
    let states = &cell.crash_states;
    match &cell.failure {
        None if cell.untouched() => "not begun".to_owned(),
        Some(_) if cell.untouched() => "no states".to_owned(),
        _ => format!("{} of {} states", count(&states.covered), count(&states.allowed)),
    }
}

/// What of a cell is whole, if not all is, by how many writes lost something.
pub(crate) fn reached(reach: &Reach) -> String {
    let shown = |losses: &Losses| {
        let Losses { writes, allowed, covered } = losses;
        let which = match writes {
            0 => "with no loss".to_owned(),
            1 => "with one loss or tear".to_owned(),
            2 => "with two".to_owned(),
            more => format!("with {more}"),
        };
        if covered == allowed {
            format!("all {} {which}", count(allowed))
        } else {
            format!("{} of {} {which}", percent(covered, allowed), count(allowed))
        }
    };
    // What is not there says nothing.
    let there = reach.by_losses.iter().filter(|losses| losses.allowed != BigUint::ZERO);
    let shown: Vec<String> = there.map(shown).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// `config.json is empty (atomic-replace)`. The path `.` stands for all that is there. With what the workload's own check
/// says, `the check fails: exit 11: one is empty`.
pub fn headline(path: &str, kind: impl fmt::Display, invariant: impl fmt::Display, check: Option<&str>) -> String {
    if let Some(said) = check {
        return format!("the check fails: {said}");
    }
    let what = if path == "." { "the whole tree" } else { path };
    format!("{what} is {kind} ({invariant})")
}

/// Text from file names, programs and guest kernels on one line, with nothing that a terminal would obey.
pub fn tame(text: &str) -> String {
    let mut tame = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' => tame.push_str(" ⏎ "),
            c if c.is_control() => tame.extend(c.escape_default()),
            c => tame.push(c),
        }
    }
    tame
}

#[cfg(test)]
mod tests {
    use report::testing;

    use super::*;

    #[test]
    fn counts() {
        let shown = |text: &str| count(&text.parse().unwrap());
        assert_eq!(shown("0"), "0");
        assert_eq!(shown("999"), "999");
        assert_eq!(shown("1000"), "1,000");
        assert_eq!(shown("123456789012345"), "123,456,789,012,345");
        assert_eq!(shown("1299999999999999"), "about 1.29 × 10^15");
        assert_eq!(count(&(BigUint::from(1u32) << 16384)), "about 1.18 × 10^4932");
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 5000].map(|number| many(number, "mount")), ["0 mounts", "1 mount", "5,000 mounts"]);
    }

    #[test]
    fn what_was_never_begun_is_not_counted() {
        let fresh = CellReport { crash_states: Default::default(), ..testing::incomplete("xfs") };
        assert_eq!(covered(&fresh), "not begun");
        assert_eq!(covered(&testing::failed("xfs")), "no states");
        assert_eq!(covered(&testing::violated("xfs")), "1,204 of 1,204 states");
    }

    #[test]
    fn what_is_whole_is_told_by_losses() {
        let reach = |by_losses: &[(u32, u32)]| {
            let losses = |(writes, &(covered, allowed)): (u32, &(u32, u32))| Losses {
                writes,
                allowed: allowed.into(),
                covered: covered.into(),
            };
            reached(&Reach { executed: 9, by_losses: (0..).zip(by_losses).map(losses).collect() })
        };
        assert_eq!(
            reach(&[(9, 9), (1234, 1234), (1100, 9000)]),
            "all 9 with no loss, all 1,234 with one loss or tear, 12 % of 9,000 with two"
        );
        assert_eq!(reach(&[(3, 9), (0, 36), (0, 0)]), "33 % of 9 with no loss, 0 % of 36 with one loss or tear");
        assert_eq!(reach(&[(9, 9), (8999, 9000)]), "all 9 with no loss, 99 % of 9,000 with one loss or tear");
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        let shown = |done: u32, all: u32| percent(&done.into(), &all.into());
        assert_eq!(shown(0, 0), "0 %");
        assert_eq!(shown(0, 5), "0 %");
        assert_eq!(shown(1, 1000), "<1 %");
        assert_eq!(shown(999, 1000), "99 %");
        assert_eq!(shown(1000, 1000), "100 %");
    }

    #[test]
    fn a_terminal_is_not_given_orders() {
        assert_eq!(tame("a\x1b[31mb\nc\r\n"), "a\\u{1b}[31mb ⏎ c");
    }
}
