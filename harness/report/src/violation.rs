//! One way in which an invariant is broken, as `report.json` holds it.

use std::collections::BTreeSet;

use checker::{Description, Hint, Observed};
use num_bigint::BigUint;
use program::OpId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ScheduleReport, WriteReport, decimal};

/// One way in which an invariant is broken: all crash states of a cell with the same invariant, kind, path and
/// cause.
///
/// `states` counts them all; the rest shows one of them, the one that the token rebuilds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ViolationReport {
    /// As [`checker::Invariant`] shows it.
    pub invariant: String,
    /// How it is broken.
    #[schemars(with = "String")]
    pub kind: checker::Kind,
    /// The file, relative to the workload's directory; `.` for the whole file system.
    pub path: String,
    /// How many crash states show this.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub states: BigUint,
    /// Rebuilds the state that is shown: `harness reproduce TOKEN`.
    pub token: String,
    /// The last op that had begun at the earliest point at which the state can occur and breaks the invariant: what was
    /// promised at the end is not broken before. None if that is before the first.
    pub after_op: Option<OpId>,
    /// The same at the latest point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_op_latest: Option<OpId>,
    /// Volatile writes that did not reach the disk, in order.
    pub lost: Vec<WriteReport>,
    /// Volatile writes that did, torn ones among them, in order.
    pub kept: Vec<WriteReport>,
    /// Where no write was lost: writes with data of the file that the disk was given only after this state, and never
    /// before, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwritten: Vec<WriteReport>,
    /// What was seen.
    pub observed: Observed,
    /// Where the kernel did background work by itself.
    pub schedule: ScheduleReport,
    /// Which call is probably missing: see [`checker::reason`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
    /// What the program had promised by then, in order: all of it, or the first three and the last three.
    #[serde(default)]
    pub acks: Vec<AckRef>,
    /// How many promises in the middle are not in `acks`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub acks_left_out: usize,
    /// The promise that matters; missing in reports of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<Promised>,
    /// Which failure of the workload's own check it is: how it ended and its message, without numbers and hashes, or
    /// [`crate::OTHER_FAILURES`].
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

/// The cause of all failures of a check that are not told apart.
pub const OTHER_FAILURES: &str = "other failures";

/// An op that promises something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AckRef {
    /// The op.
    Op(OpId),
    /// What it is, in words: in reports of older versions.
    Text(String),
}

impl AckRef {
    pub(crate) fn op(&self) -> Option<OpId> {
        match self {
            Self::Op(op) => Some(*op),
            Self::Text(_) => None,
        }
    }
}

/// The promise that a crash state is about: the one that an invariant waits for, or else the last before the crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Promised {
    /// The promise.
    pub ack: AckRef,
    /// How many the program had given before it.
    pub before: usize,
}

/// Whether there is nothing to tell.
pub(crate) fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl ViolationReport {
    /// The ops that it refers to.
    pub fn ops(&self) -> BTreeSet<OpId> {
        let writes = [&self.lost, &self.kept, &self.unwritten].into_iter().flatten().filter_map(WriteReport::op);
        let hint = self.hint.iter().flat_map(Hint::ops);
        let points = self.after_op.into_iter().chain(self.after_op_latest);
        let seen = observed_ops(&self.observed);
        points
            .chain(writes)
            .chain(seen)
            .chain(self.schedule.ops())
            .chain(hint)
            .chain(acks(&self.acks, self.promised.as_ref()))
            .collect()
    }
}

/// The ops that an observation names.
pub(crate) fn observed_ops(observed: &Observed) -> Vec<OpId> {
    match observed {
        Observed::Stale { promise, .. } => vec![*promise],
        Observed::View { shows, right, killed, .. } => {
            let right = right.as_ref().and_then(|right| right.at);
            shows.at.iter().chain(&right).chain(killed).filter_map(|at| at.op).collect()
        }
        _ => Vec::new(),
    }
}

/// The ops that promise.
pub(crate) fn acks<'a>(acks: &'a [AckRef], promised: Option<&'a Promised>) -> impl Iterator<Item = OpId> + 'a {
    acks.iter().chain(promised.map(|promised| &promised.ack)).filter_map(AckRef::op)
}
