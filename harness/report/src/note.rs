//! What else there is to know of a cell.

use checker::ChangedMetadata;
use num_bigint::BigUint;
use program::{OpId, RefusedCall};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decimal;

/// What a reader should know of a cell beside what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum Note {
    /// The budget ran out: the states of schedules that were not begun are not counted.
    BudgetSpent,
    /// Not all schedules were chosen; those with more than one injection by chance.
    SchedulesChosen {
        /// How many were chosen.
        chosen: u64,
        /// How many there are.
        of: u64,
    },
    /// Nothing within so many bytes was torn, more than was asked for: the file system has nothing to tell it by.
    AssumedAtomic {
        /// How many.
        bytes: u32,
    },
    /// A flush is taken to cover what the same call had sent before it: the file system does not always wait for that.
    AssumedFlush,
    /// A mount option has fsync send no flush: what a program can do for its data does not suffice on a disk with a volatile
    /// cache.
    WithoutFlush {
        /// The option.
        option: String,
    },
    /// It has no journal: after a crash it is in need of a check by its own tool, and was mounted without.
    Unchecked,
    /// An op moves extents one by one: a commit between two of them is not explored.
    MovesExtents {
        /// The op.
        op: OpId,
    },
    /// Crashes before the end of this op are not explored, since the workload says so.
    ExploredFrom {
        /// The op.
        op: OpId,
    },
    /// What was stored through shared mappings between two calls counts as stored at once: a crash that catches a part of what
    /// was stored to a page is not explored.
    StoresAsOne {
        /// The first of such ops.
        op: OpId,
        /// How many more there are.
        more: usize,
    },
    /// The command itself leaves a file with another mode, owner or group, no crash needed.
    ChangedMetadata {
        /// How.
        #[serde(flatten)]
        changed: ChangedMetadata,
    },
    /// Names that programs drew by chance, numbered by the recorder.
    NumberedNames {
        /// As they stand in the trace.
        names: Vec<String>,
    },
    /// The recorder refused a call, as a kernel without it would: what the program did instead is tested.
    Refused {
        /// Which call, and how often.
        #[serde(flatten)]
        refused: RefusedCall,
    },
    /// Something was written outside the workload's directory: that is not tested.
    WrittenOutside {
        /// Where, as the recorder saw it.
        path: String,
    },
    /// Nobody asked for anything, and a file was only appended to: it was held to `append-only`.
    OnlyAppended {
        /// The file.
        path: String,
        /// Whether its records are lines; else a crash may cut it anywhere.
        lines: bool,
    },
    /// The rules held even when none of the program's syncs was made, in base schedules: they say little of it.
    HeldWithoutSyncs {
        /// In how many crash states: all of these schedules.
        #[serde(with = "decimal")]
        #[schemars(with = "String")]
        states: BigUint,
    },
    /// The run was cut short.
    CutShort {
        /// By what, in the words of the error.
        error: String,
    },
    /// What the cell shows was not looked at a second time, state by state.
    NotConfirmed,
    /// The cell was judged by what was seen before, and not every state that is shown was looked at by itself.
    JudgedUnconfirmed,
    /// In words: in reports of older versions.
    Text {
        /// The words.
        text: String,
    },
}

impl Note {
    /// The op that it is about.
    pub(crate) fn op(&self) -> Option<OpId> {
        match self {
            Self::MovesExtents { op } | Self::ExploredFrom { op } | Self::StoresAsOne { op, .. } => Some(*op),
            _ => None,
        }
    }
}
