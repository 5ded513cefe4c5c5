//! Which failures of a workload's own check are one and the same: pure.

use checker::{CheckFailure, Finding};

/// What stands for a number or a hash.
const NUMBER: char = '#';

/// Tells failures of a check apart. Whatever else is wrong has no cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It is no failure of a check, or it was found by an older version.
    #[default]
    None,
    /// How the check ended, and its message without numbers and hashes.
    Failure(String),
    /// All failures beyond those that are told apart.
    Others,
}

impl Cause {
    /// The cause of what was found.
    pub fn of(finding: &Finding) -> Self {
        finding.check.as_ref().map_or(Self::None, |CheckFailure { ended, message, .. }| {
            Self::Failure(format!("{ended}: {}", without_numbers(message)))
        })
    }

    /// As the report has it.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Failure(text) => Some(text.clone()),
            Self::Others => Some(report::OTHER_FAILURES.to_owned()),
        }
    }
}

/// The same for messages that differ only in numbers, and in hashes (words of 8 hexadecimal digits or more, UUIDs).
fn without_numbers(message: &str) -> String {
    let mut text = String::new();
    let mut rest = message;
    while let Some(c) = rest.chars().next() {
        let word = match uuid(rest) {
            Some(length) => length,
            None if c.is_ascii_alphanumeric() => rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len()),
            None => {
                text.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        let (word, after) = rest.split_at(word);
        if is_number(word) {
            text.push(NUMBER);
        } else {
            // Digits within a word: `file7`.
            let mut digits = false;
            for c in word.chars() {
                if !c.is_ascii_digit() {
                    text.push(c);
                } else if !digits {
                    text.push(NUMBER);
                }
                digits = c.is_ascii_digit();
            }
        }
        rest = after;
    }
    // `1,024` and `3.5` are one number each, as 7 is.
    let mut joined = text.clone();
    for separator in [",", "."] {
        while let Some(at) = joined.find(&format!("{NUMBER}{separator}{NUMBER}")) {
            joined.replace_range(at..at + 2, "");
        }
    }
    joined
}

/// The length of the UUID that a text begins with, if it does.
fn uuid(text: &str) -> Option<usize> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let length = GROUPS.iter().sum::<usize>() + GROUPS.len() - 1;
    let start = text.get(..length)?;
    let is_group = |(group, length): (&str, usize)| group.len() == length && is_hex(group);
    (start.split('-').count() == GROUPS.len() && start.split('-').zip(GROUPS).all(is_group)).then_some(length)
}

fn is_hex(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_number(word: &str) -> bool {
    let prefixed = word.strip_prefix("0x").is_some_and(|digits| !digits.is_empty() && is_hex(digits));
    word.bytes().all(|byte| byte.is_ascii_digit())
        || (word.len() >= 8 && is_hex(word))
        || prefixed
        || word.contains('-')
}

#[cfg(test)]
mod tests {
    use checker::{Invariant, Kind, Output};
    use program::RelPath;

    use super::*;

    #[test]
    fn messages_that_differ_in_numbers_only_are_one() {
        for (message, without) in [
            ("value is 7", "value is #"),
            ("1,024 of 3.5 and 12 bytes, at 0x7ffe", "# of # and # bytes, at #"),
            ("file12 in dir3b", "file# in dir#b"),
            ("commit da39a3ee5e6b4b0d3255bfef95601890afd80709 is lost", "commit # is lost"),
            ("session 550e8400-e29b-41d4-a716-446655440000", "session #"),
            ("session abcdabcd-abcd-abcd-abcd-abcdabcdabcd.", "session #."),
            ("the cafe is bad: [1, 22]", "the cafe is bad: [#, #]"),
            ("größer als ß9", "größer als ß#"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(message), without);
        }
    }

    #[test]
    fn a_failure_is_its_end_and_its_message() {
        let cause = |ended: &str, message: &str| {
            let check = CheckFailure { ended: ended.into(), message: message.into(), output: Output::default() };
            let (invariant, kind) = (Invariant::Check, Kind::CheckFailed);
            let finding = Finding {
                invariant,
                kind,
                path: RelPath::root(),
                fails: true,
                observed: checker::Observed::Leftover,
                check: Some(check),
            };
            Cause::of(&finding)
        };
        assert_eq!(cause("exit 1", "value is 7"), cause("exit 1", "value is 1234"));
        assert_ne!(cause("exit 1", "value is 7"), cause("exit 2", "value is 7"));
        assert_ne!(cause("exit 1", "value is 7"), cause("exit 1", "key is 7"));
    }
}
