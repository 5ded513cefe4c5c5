//! What killing the program comes to. The kernel lives on, so that no file system and no disk matters.

use std::collections::BTreeSet;

use checker::{Description, Observed, Unjudged};
use program::{Limit, OpId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::violation::{acks, is_zero, observed_ops};
use crate::{AckRef, Note, Promised, Verdict};

/// One workload, killed at every point.
///
/// As with a cell, the verdict is no field, and a `report.json` in which it does not follow is damaged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct ProcessReport {
    /// The workload's name, or the bare command.
    pub workload: String,
    /// At how many points the program was killed: all that there are, unless `failure` says otherwise.
    pub states: u64,
    /// What breaks an invariant, each kind of it once.
    pub violations: Vec<ProcessViolation>,
    /// The files that were changed and that no rule is held against: with any of these there is no pass.
    pub unjudged: Vec<Unjudged>,
    /// What the recorder could not follow: with any of these there is no pass.
    pub unmodelled_calls: Vec<Limit>,
    /// Why the harness could not judge by its own fault, if so.
    pub failure: Option<String>,
    /// What else there is to know.
    pub notes: Vec<Note>,
}

impl ProcessReport {
    /// The ops that it refers to.
    pub fn ops(&self) -> BTreeSet<OpId> {
        let of = |violation: &ProcessViolation| {
            let points = violation.killed.op.into_iter().chain(observed_ops(&violation.observed));
            points.chain(acks(&violation.acks, violation.promised.as_ref())).collect::<Vec<_>>()
        };
        self.violations.iter().flat_map(of).chain(self.notes.iter().filter_map(Note::op)).collect()
    }

    /// What it came to; never [`Verdict::Incomplete`], since there is no budget.
    pub fn verdict(&self) -> Verdict {
        if !self.unmodelled_calls.is_empty() || self.failure.is_some() || self.states == 0 {
            Verdict::Invalid
        } else if !self.violations.is_empty() {
            Verdict::Violation
        } else if !self.unjudged.is_empty() {
            Verdict::Unjudged
        } else {
            Verdict::Pass
        }
    }
}

/// One way in which an invariant is broken: all points with the same invariant, kind and path.
///
/// `states` counts them all; the rest shows the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessViolation {
    /// As [`checker::Invariant`] shows it.
    pub invariant: String,
    /// How it is broken.
    #[schemars(with = "String")]
    pub kind: checker::Kind,
    /// The file, relative to the workload's directory.
    pub path: String,
    /// The number of points at which a kill shows it.
    pub states: u64,
    /// When the program was killed.
    pub killed: Killed,
    /// What was seen.
    pub observed: Observed,
    /// As in [`ViolationReport`](crate::ViolationReport), and so the next four.
    pub acks: Vec<AckRef>,
    /// How many promises in the middle are not in `acks`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub acks_left_out: usize,
    /// The promise that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<Promised>,
    /// Which failure of the workload's own check it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What the workload's own check printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::schema::Output>")]
    pub output: Option<checker::Output>,
    /// The file before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Description>,
    /// The file after the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Description>,
}

/// When a program was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Killed {
    /// The last op that had begun; none if that is before the first.
    pub op: Option<OpId>,
    /// If that op is a write that was cut short: how much it had written (bytes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<u64>,
}

/// As it stands in the file.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Stored {
    workload: String,
    verdict: Verdict,
    states: u64,
    violations: Vec<ProcessViolation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unjudged: Vec<Unjudged>,
    #[serde(default)]
    #[schemars(with = "Vec<crate::schema::UnmodelledCall>")]
    unmodelled_calls: Vec<Limit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Note>,
}

impl From<ProcessReport> for Stored {
    fn from(report: ProcessReport) -> Self {
        let verdict = report.verdict();
        let ProcessReport { workload, states, violations, unjudged, unmodelled_calls, failure, notes } = report;
        Self { workload, verdict, states, violations, unjudged, unmodelled_calls, failure, notes }
    }
}

impl TryFrom<Stored> for ProcessReport {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { workload, verdict, states, violations, unjudged, unmodelled_calls, failure, notes } = stored;
        let report = Self { workload, states, violations, unjudged, unmodelled_calls, failure, notes };
        if report.verdict() != verdict {
            let (name, right) = (&report.workload, report.verdict());
            return Err(format!(
                "the process crash of {name} claims verdict {verdict}, but what it holds makes {right}"
            ));
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_pass_needs_points_and_a_harness_that_could_judge() {
        let holds = testing::killed("a");
        assert_eq!(holds.verdict(), Verdict::Pass);
        let violated = testing::killed_and_violated("a");
        assert_eq!(violated.verdict(), Verdict::Violation);
        let calls = testing::invalid("ext4").unmodelled_calls;
        let failure = Some("op 3 cannot be followed".to_owned());
        for report in [holds, violated] {
            assert_eq!(ProcessReport { states: 0, ..report.clone() }.verdict(), Verdict::Invalid);
            assert_eq!(ProcessReport { unmodelled_calls: calls.clone(), ..report.clone() }.verdict(), Verdict::Invalid);
            assert_eq!(ProcessReport { failure: failure.clone(), ..report }.verdict(), Verdict::Invalid);
        }
    }

    #[test]
    fn a_verdict_that_does_not_follow_is_refused() {
        let text = serde_json::to_string(&testing::killed_and_violated("a")).unwrap();
        assert_eq!(serde_json::from_str::<ProcessReport>(&text).unwrap(), testing::killed_and_violated("a"));
        let error = serde_json::from_str::<ProcessReport>(&text.replace("\"violation\"", "\"pass\"")).unwrap_err();
        assert!(error.to_string().contains("the process crash of a claims verdict pass"), "{error}");
    }
}
