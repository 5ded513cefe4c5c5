//! Tokens: short texts that rebuild one crash state exactly.
//!
//! `4f2a91.c1.s4.e2.l0,3-5.t7h2`: of the run `4f2a91`, cell 1, schedule 4, epoch 2, the state in which the volatile
//! writes 0 and 3 to 5 were lost, and write 7 was torn, with its first 2 units kept. All numbers count from 0 and in
//! the order of the log.

use std::fmt;
use std::str::FromStr;

use storage::{State, Tear};

use crate::unit::SHORT;

/// Where a crash state is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Which run: the hash at the end of its directory's name.
    pub run: String,
    /// Index of the cell in the report.
    pub cell: usize,
    /// Index into the workload's schedules.
    pub schedule: usize,
    /// Index into the epochs of the execution.
    pub epoch: usize,
    /// For a recovery crash: which, by the short name of its exploration unit.
    pub recovery_crash: Option<String>,
    /// The fate of every volatile write.
    pub state: State,
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a token of this harness ({problem}): copy one whole from a report")]
pub struct TokenError {
    text: String,
    problem: String,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.c{}.s{}.e{}", self.run, self.cell, self.schedule, self.epoch)?;
        if let Some(name) = &self.recovery_crash {
            write!(f, ".r{name}")?;
        }
        if !self.state.lost.is_empty() {
            write!(f, ".l{}", ranges(&self.state.lost))?;
        }
        for (write, tear) in &self.state.torn {
            match tear {
                Tear::Head(boundary) => write!(f, ".t{write}h{boundary}")?,
                Tear::Tail(boundary) => write!(f, ".t{write}t{boundary}")?,
            }
        }
        let mut units = self.state.lost_units.as_slice();
        while let Some(&(write, _)) = units.first() {
            let (here, rest) = units.split_at(units.partition_point(|&(other, _)| other == write));
            write!(f, ".u{write}:{}", ranges(&here.iter().map(|&(_, unit)| unit).collect::<Vec<_>>()))?;
            units = rest;
        }
        Ok(())
    }
}

/// `0,3-5` for 0, 3, 4, 5.
fn ranges(numbers: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => parts.push((number, number)),
        }
    }
    let text = |&(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

/// More writes than an epoch can have, and more numbers than a token of ours names: one that names more must not make us
/// count them.
const MOST: u32 = 1 << 24;

/// The numbers of a part; `left` is how many the rest of the token may name.
fn numbers(text: &str, left: &mut u32) -> Option<Vec<u32>> {
    let mut numbers: Vec<u32> = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        let ascending = numbers.last().is_none_or(|&before| before < first);
        if !ascending || last < first || last > MOST {
            return None;
        }
        *left = left.checked_sub(last - first + 1)?;
        numbers.extend(first..=last);
    }
    Some(numbers)
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let fail = |problem: &str| TokenError { text: text.into(), problem: problem.into() };
        let mut parts = text.trim().split('.');
        let run = parts.next().unwrap_or_default();
        if run.is_empty() || !run.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(fail("it does not begin with the hash of a run"));
        }
        let mut index = |letter: char| {
            let part = parts.next().and_then(|part| part.strip_prefix(letter));
            part.and_then(|number| number.parse().ok())
                .ok_or_else(|| fail(&format!("a part {letter}NUMBER is missing")))
        };
        let (cell, schedule, epoch) = (index('c')?, index('s')?, index('e')?);
        let (mut state, mut recovery_crash) = (State::default(), None);
        let mut left = MOST;
        for part in parts {
            let unknown = || fail(&format!("the part {part:?} means nothing"));
            let (letter, rest) = part.split_at_checked(1).ok_or_else(unknown)?;
            match letter {
                "r" if rest.len() == 2 * SHORT && rest.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                    recovery_crash = Some(rest.into())
                }
                "l" => state.lost = numbers(rest, &mut left).ok_or_else(unknown)?,
                "t" => {
                    let at = rest.find(['h', 't']).ok_or_else(unknown)?;
                    let write = rest[..at].parse().map_err(|_| unknown())?;
                    let boundary = rest[at + 1..].parse().map_err(|_| unknown())?;
                    let tear = if rest[at..].starts_with('h') { Tear::Head(boundary) } else { Tear::Tail(boundary) };
                    state.torn.push((write, tear));
                }
                "u" => {
                    let (write, units) = rest.split_once(':').ok_or_else(unknown)?;
                    let write = write.parse().map_err(|_| unknown())?;
                    let units = numbers(units, &mut left).ok_or_else(unknown)?;
                    state.lost_units.extend(units.into_iter().map(|unit| (write, unit)));
                }
                _ => return Err(unknown()),
            }
        }
        state.torn.sort_unstable();
        state.lost_units.sort_unstable();
        Ok(Self { run: run.into(), cell, schedule, epoch, recovery_crash, state })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_comes_back_as_it_was(
            lost in prop::collection::btree_set(0u32..40, 0..20),
            torn in prop::collection::btree_map(0u32..40, (any::<bool>(), 1u32..8), 0..3),
            units in prop::collection::btree_set((0u32..5, 0u32..8), 0..10),
            recovery_crash in prop::option::of("[0-9a-f]{16}"),
        ) {
            let tear = |(head, at)| if head { Tear::Head(at) } else { Tear::Tail(at) };
            let torn = torn.into_iter().map(|(write, cut)| (write, tear(cut))).collect();
            let state = State { lost: lost.into_iter().collect(), torn, lost_units: units.into_iter().collect() };
            let token = Token { run: "4f2a91".into(), cell: 1, schedule: 40, epoch: 2, recovery_crash, state };
            prop_assert_eq!(token.to_string().parse::<Token>(), Ok(token));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Token>();
        }
    }

    #[test]
    fn texts() {
        let parse =
            |text: &str| text.parse::<Token>().map(|token| token.to_string()).map_err(|error| error.to_string());
        assert_eq!(parse("4f2a91.c1.s4.e2.l0,3-5.t7h2").unwrap(), "4f2a91.c1.s4.e2.l0,3-5.t7h2");
        for wrong in [
            "",
            "hello",
            "4f2a91",
            "4f2a91.c1.s4",
            "4f2a91.c1.s4.e2.x1",
            "4f2a91.c1.s4.e2.l5-3",
            "4f2a91.c1.s4.e2.l0-99999999999",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// Each part is within bounds, and all of them are not: 40 parts of this size would take gigabytes.
    #[test]
    fn all_parts_together_are_bounded() {
        let parts = |count: u32| (0..count).map(|write| format!(".u{write}:0-{}", MOST / 4)).collect::<String>();
        assert!(format!("4f2a91.c1.s4.e2{}", parts(3)).parse::<Token>().is_ok());
        let error = format!("4f2a91.c1.s4.e2{}", parts(40)).parse::<Token>().unwrap_err().to_string();
        assert!(error.contains("means nothing"), "{error}");
    }
}
