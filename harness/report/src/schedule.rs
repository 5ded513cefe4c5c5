//! The schedule that shows a violation: where the kernel did background work by itself.

use program::OpId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ScheduleReport {
    /// What is known of it.
    Known(KnownSchedule),
    /// In words: in reports of older versions.
    Text {
        /// The words.
        text: String,
    },
}

/// What happened beside the ops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KnownSchedule {
    /// What was injected, in order.
    pub injections: Vec<InjectionReport>,
    /// In which order the kernel finished after the last op.
    pub ending: EndingReport,
    /// Whether no inode was looked at before the first op.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cold: bool,
    /// Whether all happened within one tick of the clock.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub still: bool,
    /// Whether each commit that was not the program's own was a fast commit, where the file system has such.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fast_commits: bool,
    /// Whether the machine crashed again while it recovered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovery_crash: bool,
}

/// What the kernel did of its own accord at an op.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InjectionReport {
    /// The op.
    pub op: OpId,
    /// What happened.
    #[serde(flatten)]
    pub what: InjectedReport,
}

/// What the kernel does at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "injected", rename_all = "kebab-case")]
pub enum InjectedReport {
    /// The file system commits while the op waits for the disk.
    CommitDuring,
    /// The machine idles after the op.
    After {
        /// Such work, in this order.
        work: Vec<WorkReport>,
    },
}

/// A piece of background work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "work", rename_all = "kebab-case")]
pub enum WorkReport {
    /// The file system commits its transaction.
    Commit,
    /// Dirty data of a file go to the disk.
    Writeback {
        /// The file.
        file: WrittenBack,
        /// The byte before which the data lie that do; all if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        up_to: Option<u64>,
        /// The byte from which on the data lie that do; all if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Whether the data have not arrived when the work is over: they are under way until somebody waits for them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        under_way: bool,
    },
}

/// A file that is written back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WrittenBack {
    /// By its name.
    Path(String),
    /// One without a name, by the number of a handle that it was opened with.
    Nameless(u32),
}

/// In which order the kernel finishes after the last op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndingReport {
    /// The transaction: there are no dirty data.
    Commit,
    /// The transaction first, then all dirty data.
    CommitFirst,
    /// All dirty data first, then the transaction.
    WritebackFirst,
}

impl ScheduleReport {
    /// The ops that it names.
    pub(crate) fn ops(&self) -> impl Iterator<Item = OpId> {
        let injections = match self {
            Self::Known(known) => known.injections.as_slice(),
            Self::Text { .. } => &[],
        };
        injections.iter().map(|injection| injection.op)
    }
}
