//! The ops that a report refers to.

use program::{Call, OpId, Trace};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An op that a report refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpShown {
    /// What names it everywhere else.
    pub id: OpId,
    /// The call with its arguments, as `harness show` prints it.
    pub call: String,
    /// The name of the system call; none of the end of the command, and in reports of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall: Option<String>,
    /// The thread that made it, numbered as they appear, 0 the program's first; none in reports of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<u32>,
}

/// Ops of one workload, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Vec<OpShown>", into = "Vec<OpShown>")]
pub struct Ops(Vec<OpShown>);

impl From<Vec<OpShown>> for Ops {
    fn from(mut ops: Vec<OpShown>) -> Self {
        ops.sort_by_key(|op| op.id);
        ops.dedup_by_key(|op| op.id);
        Self(ops)
    }
}

impl From<Ops> for Vec<OpShown> {
    fn from(ops: Ops) -> Self {
        ops.0
    }
}

impl Ops {
    /// No ops.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// These ops of a trace, as far as it has them.
    pub fn of(trace: &Trace, ids: impl IntoIterator<Item = OpId>) -> Self {
        let shown = |id: OpId| {
            let op = trace.ops.get(id.0)?;
            let syscall = (!matches!(op.call, Call::Exit { .. })).then(|| op.syscall.clone());
            Some(OpShown { id, call: op.to_string(), syscall, thread: Some(op.thread) })
        };
        Self::from(ids.into_iter().filter_map(shown).collect::<Vec<_>>())
    }

    /// All ops of a trace.
    pub fn all(trace: &Trace) -> Self {
        Self::of(trace, (0..trace.ops.len()).map(OpId))
    }

    /// The op of this id.
    pub fn get(&self, id: OpId) -> Option<&OpShown> {
        let index = self.0.binary_search_by_key(&id, |op| op.id).ok()?;
        self.0.get(index)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The ops of one workload that a report refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadOps {
    /// The workload's name, or the bare command.
    pub workload: String,
    /// See [`Ops`].
    pub ops: Ops,
}
