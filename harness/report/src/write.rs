//! Block writes that a crash state lost or kept.

use program::OpId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::WorkReport;

/// A block write, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WriteReport {
    /// What is known of it.
    Known(BlockWrite),
    /// In words: in reports of older versions.
    Text {
        /// The words.
        text: String,
        /// The op that caused it, where known.
        op: Option<OpId>,
    },
}

/// A block write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockWrite {
    /// The first sector, of 512 bytes.
    pub sector: u64,
    /// The length, bytes.
    pub bytes: u64,
    /// What it holds, where its bytes are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<BlockContent>,
    /// What caused it.
    pub cause: WriteCause,
    /// How it was torn, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn: Option<TornWrite>,
}

/// What a block write holds, as far as its bytes tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum BlockContent {
    /// Data of a file.
    Data {
        /// The file.
        path: String,
        /// The first byte, as it is counted in the file.
        byte: u64,
    },
    /// Zeros alone, which may be anybody's.
    Zeros,
    /// Metadata of the file system.
    Metadata {
        /// What the file system calls it, where that is known: `superblock`, `journal commit record` …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
}

/// What was under way when a block write was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WriteCause {
    /// An op.
    Op {
        /// Which.
        op: OpId,
    },
    /// Background work.
    Background {
        /// Which.
        #[serde(flatten)]
        work: WorkReport,
    },
    /// Nothing any more: all ops were over.
    AfterTheEnd,
    /// Recovery from a first crash.
    Recovery,
}

/// How a write was torn: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TornWrite {
    /// Only its beginning survived.
    Head {
        /// So much of it.
        kept: u64,
    },
    /// Its beginning was lost.
    Tail {
        /// So much of it.
        lost: u64,
    },
    /// Sectors of it were lost, each for itself.
    Sectors {
        /// So much of it in all.
        lost: u64,
    },
}

impl WriteReport {
    /// The op that caused it, where known.
    pub fn op(&self) -> Option<OpId> {
        match self {
            Self::Known(BlockWrite { cause: WriteCause::Op { op }, .. }) => Some(*op),
            Self::Known(_) => None,
            Self::Text { op, .. } => *op,
        }
    }
}
