//! Which call is probably missing: data, of which reporters make sentences.

use program::{Call, OpId, RelPath};
use serde::{Deserialize, Serialize};

use crate::observed::shown;

/// Why a crash state can be as it is: what the ops lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(tag = "hint", rename_all = "kebab-case")]
pub enum Hint {
    /// An op takes the old file away before the new one is in place.
    RemovedBeforeReplaced {
        /// The op.
        op: OpId,
        /// What it does to the name.
        change: NameChange,
        /// The file.
        path: String,
    },
    /// No fsync of a file between its last write and the op that gives it its final name.
    DataNotSynced {
        /// The file, by the name that it had.
        path: String,
        /// The last write.
        written: OpId,
        /// The op that gives the name.
        named: OpId,
        /// What that does.
        change: NameChange,
        /// A sync_file_range in between, which is no durability call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sync_range: Option<OpId>,
    },
    /// A file is changed where it lies.
    InPlace {
        /// The op that does.
        op: OpId,
        /// The file.
        path: String,
        /// What becomes of it.
        how: InPlace,
    },
    /// A file is made under its final name, and filled afterwards.
    MadeUnderFinalName {
        /// The file.
        path: String,
        /// The op that makes it.
        made: OpId,
        /// The op that fills it.
        filled: OpId,
        /// Whether the crash comes before that op.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        still_empty: bool,
    },
    /// No fsync of all this before a promise.
    NotSyncedBeforePromise {
        /// Of what.
        pending: Vec<Pending>,
        /// The op that promises.
        promise: OpId,
        /// A sync_file_range, which is no durability call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sync_range: Option<OpId>,
    },
    /// No fsync of all this before a later op.
    NotSyncedBeforeChange {
        /// Of what.
        pending: Vec<Pending>,
        /// The later change, or promise.
        change: OpId,
    },
    /// An append to a log, of which a crash can keep any part, or zeros in its place.
    TornAppend {
        /// The op that appends.
        op: OpId,
        /// The log.
        path: String,
        /// The change before it, if there is no fsync in between either.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unsynced: Option<OpId>,
    },
    /// No fsync of a file between two changes of it.
    Unordered {
        /// The file.
        path: String,
        /// The earlier change.
        earlier: OpId,
        /// The later change.
        later: OpId,
    },
    /// Files that belong together change with an op each.
    NotInOneStep {
        /// The last change of each, in order.
        changes: Vec<FileChange>,
    },
    /// Mode or owner of a file are changed where it lies.
    MetadataChangedInPlace {
        /// The op that does.
        op: OpId,
        /// The file.
        path: String,
    },
    /// The new file is made with another mode or owner than the old one had.
    MadeWithOtherMetadata {
        /// The op that makes it.
        op: OpId,
        /// Under which name; none if it has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// With which mode.
        mode: u32,
        /// The op that puts it in place, if that is another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        placed: Option<NameOp>,
    },
    /// A file that is in the way of nobody is left.
    Leftover {
        /// The op that makes it.
        op: OpId,
        /// The file.
        path: String,
        /// The op that takes it away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        removed: Option<OpId>,
    },
    /// In words: in reports of older versions.
    Text {
        /// The words.
        text: String,
    },
}

/// What becomes of a file that is changed where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum InPlace {
    /// It is emptied.
    Emptied,
    /// It is made shorter.
    Shortened,
    /// Something is appended to it.
    Appended,
    /// Something is written over.
    Overwritten,
}

/// What an op does to a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum NameChange {
    /// It renames a file.
    Rename {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// It links a file to it.
    Link {
        /// The name.
        to: String,
    },
    /// It gives it to a file that was outside the recorded directory.
    Arrive {
        /// The name.
        to: String,
    },
    /// It renames it to a name outside.
    Leave {
        /// The name.
        path: String,
    },
    /// It unlinks it.
    Unlink {
        /// The name.
        path: String,
    },
    /// It removes the directory.
    Rmdir {
        /// The name.
        path: String,
    },
    /// It makes it.
    Create {
        /// The name.
        path: String,
    },
}

impl NameChange {
    /// What a call does to the name `path`.
    pub(crate) fn of(call: &Call, path: &RelPath) -> Self {
        match call {
            Call::Rename { from, to, .. } => Self::Rename { from: shown(from), to: shown(to) },
            Call::Link { to, .. } => Self::Link { to: shown(to) },
            Call::Arrive { to, .. } => Self::Arrive { to: shown(to) },
            Call::Leave { path } => Self::Leave { path: shown(path) },
            Call::Unlink { path } => Self::Unlink { path: shown(path) },
            Call::Rmdir { path } => Self::Rmdir { path: shown(path) },
            _ => Self::Create { path: shown(path) },
        }
    }
}

/// An op and what it does to a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct NameOp {
    /// The op.
    pub op: OpId,
    /// What it does.
    #[serde(flatten)]
    pub change: NameChange,
}

/// An op and the file that it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct FileChange {
    /// The op.
    pub op: OpId,
    /// The file.
    pub path: String,
}

/// What no sync has made durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Pending {
    /// The data of a file.
    Data {
        /// The file.
        path: String,
        /// Its last write.
        written: OpId,
    },
    /// Names in a directory.
    Names {
        /// The directory.
        directory: String,
        /// The change since which there was no sync.
        since: NameOp,
        /// The last change, if there are more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<NameOp>,
    },
}

impl Hint {
    /// The ops that it speaks about, ascending.
    pub fn ops(&self) -> Vec<OpId> {
        let mut ops: Vec<OpId> = match self {
            Self::RemovedBeforeReplaced { op, .. }
            | Self::InPlace { op, .. }
            | Self::MetadataChangedInPlace { op, .. } => vec![*op],
            Self::DataNotSynced { written, named, sync_range, .. } => {
                [*written, *named].into_iter().chain(*sync_range).collect()
            }
            Self::MadeUnderFinalName { made, filled, .. } => vec![*made, *filled],
            Self::NotSyncedBeforePromise { pending, promise, sync_range } => {
                pending.iter().flat_map(Pending::ops).chain([*promise]).chain(*sync_range).collect()
            }
            Self::NotSyncedBeforeChange { pending, change } => {
                pending.iter().flat_map(Pending::ops).chain([*change]).collect()
            }
            Self::TornAppend { op, unsynced, .. } => unsynced.iter().copied().chain([*op]).collect(),
            Self::Unordered { earlier, later, .. } => vec![*earlier, *later],
            Self::NotInOneStep { changes } => changes.iter().map(|change| change.op).collect(),
            Self::MadeWithOtherMetadata { op, placed, .. } => {
                std::iter::once(*op).chain(placed.as_ref().map(|placed| placed.op)).collect()
            }
            Self::Leftover { op, removed, .. } => std::iter::once(*op).chain(*removed).collect(),
            Self::Text { .. } => Vec::new(),
        };
        ops.sort_unstable();
        ops.dedup();
        ops
    }
}

impl Pending {
    fn ops(&self) -> Vec<OpId> {
        match self {
            Self::Data { written, .. } => vec![*written],
            Self::Names { since, until, .. } => {
                std::iter::once(since.op).chain(until.as_ref().map(|until| until.op)).collect()
            }
        }
    }

    /// The op since which there was no sync.
    pub(crate) fn since(&self) -> OpId {
        match self {
            Self::Data { written, .. } => *written,
            Self::Names { since, .. } => since.op,
        }
    }
}
