//! The verdict of one cell: the one place where it is decided.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CrashStates, Schedules};

/// What a cell came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every allowed crash state of every schedule was covered, and every invariant holds in each.
    Pass,
    /// Some crash state breaks an invariant.
    Violation,
    /// No violation, but of some file that the command changed nobody can tell what is right: no rule was held against it.
    Unjudged,
    /// No violation so far, but not every state was covered: most often because the budget ran out.
    Incomplete,
    /// The harness could not judge: something of the run escaped the recorder, or the harness failed.
    Invalid,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Pass => "pass",
            Verdict::Violation => "violation",
            Verdict::Unjudged => "unjudged",
            Verdict::Incomplete => "incomplete",
            Verdict::Invalid => "invalid",
        })
    }
}

/// Whether every allowed state of every schedule was covered. Nothing to cover is not covered.
pub(crate) fn is_exhaustive(schedules: &Schedules, states: &CrashStates) -> bool {
    schedules.total > 0
        && schedules.explored == schedules.total
        && states.allowed != num_bigint::BigUint::ZERO
        && states.covered == states.allowed
}

/// The verdict. `judged` is whether the harness could judge at all: no trace limits, no failure of its own. `unruled` is how
/// many files were changed that no rule was held against.
///
/// A pass needs everything. A violation needs a trace that is whole: what the recorder missed may be the very call that
/// prevents it. It stands whatever was left uncovered. So does it that nobody can tell of a file what is right: to cover
/// more would not change that.
pub fn verdict(
    violations: usize,
    unruled: usize,
    judged: bool,
    schedules: &Schedules,
    states: &CrashStates,
) -> Verdict {
    let impossible = states.covered > states.allowed || schedules.explored > schedules.total;
    if !judged || impossible {
        Verdict::Invalid
    } else if violations > 0 {
        Verdict::Violation
    } else if unruled > 0 {
        Verdict::Unjudged
    } else if !is_exhaustive(schedules, states) {
        Verdict::Incomplete
    } else {
        Verdict::Pass
    }
}

/// Whether what the command wrote is durable once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durable {
    /// In every crash state.
    Yes,
    /// Not in some crash state.
    No,
    /// Not every state was covered, the harness could not judge, or the trace does not tell.
    Unknown,
}

impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Durable::Yes => "yes",
            Durable::No => "no",
            Durable::Unknown => "unknown",
        })
    }
}

/// `lost`: some state after the exit was not durable (or did not mount), and the harness could judge. `complete`: every
/// state was covered by a harness that could judge, and the trace holds the end of the command.
pub fn durable_after_exit(lost: bool, complete: bool) -> Durable {
    match (lost, complete) {
        (true, _) => Durable::No,
        (false, true) => Durable::Yes,
        (false, false) => Durable::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(violations: usize, judged: bool, schedules: (u64, u64), states: (u32, u32)) -> Verdict {
        let schedules = Schedules { explored: schedules.0, new: 0, total: schedules.1 };
        let states = CrashStates { covered: states.0.into(), allowed: states.1.into(), mounts: 1 };
        verdict(violations, 0, judged, &schedules, &states)
    }

    /// It is below a violation, and above what was not covered.
    #[test]
    fn a_file_without_a_rule_is_no_pass() {
        let states = |covered: u32| CrashStates { covered: covered.into(), allowed: 9u32.into(), mounts: 1 };
        let schedules = Schedules { explored: 3, new: 0, total: 3 };
        assert_eq!(verdict(0, 1, true, &schedules, &states(9)), Verdict::Unjudged);
        assert_eq!(verdict(0, 1, true, &schedules, &states(1)), Verdict::Unjudged);
        assert_eq!(verdict(1, 1, true, &schedules, &states(9)), Verdict::Violation);
        assert_eq!(verdict(0, 1, false, &schedules, &states(9)), Verdict::Invalid);
    }

    #[test]
    fn a_pass_needs_everything() {
        assert_eq!(judge(0, true, (3, 3), (9, 9)), Verdict::Pass);
        assert_eq!(judge(0, true, (2, 3), (9, 9)), Verdict::Incomplete);
        assert_eq!(judge(0, true, (3, 3), (8, 9)), Verdict::Incomplete);
        assert_eq!(judge(0, true, (0, 0), (9, 9)), Verdict::Incomplete);
        assert_eq!(judge(0, true, (3, 3), (0, 0)), Verdict::Incomplete);
        assert_eq!(judge(0, false, (3, 3), (9, 9)), Verdict::Invalid);
        assert_eq!(judge(0, false, (2, 3), (8, 9)), Verdict::Invalid);
    }

    #[test]
    fn a_violation_stands_if_the_trace_is_whole() {
        for covered in [1, 9] {
            assert_eq!(judge(1, true, (1, 3), (covered, 9)), Verdict::Violation);
            assert_eq!(judge(1, false, (1, 3), (covered, 9)), Verdict::Invalid);
        }
    }

    #[test]
    fn more_covered_than_allowed_is_a_defect_and_no_pass() {
        assert_eq!(judge(0, true, (3, 3), (10, 9)), Verdict::Invalid);
        assert_eq!(judge(0, true, (4, 3), (9, 9)), Verdict::Invalid);
    }

    #[test]
    fn durability_is_never_guessed() {
        assert_eq!(durable_after_exit(false, true), Durable::Yes);
        assert_eq!(durable_after_exit(false, false), Durable::Unknown);
        assert_eq!(durable_after_exit(true, false), Durable::No);
    }
}
