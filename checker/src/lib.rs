//! Invariants, observations and verdicts.
//!
//! Pure: no I/O, no `unsafe`. The guest agent uses [`ReadPlan`] to know how far it must read; the harness judges
//! what the agent reports with [`Rules`], made from the trace and from what the author of the workload [`Wanted`].
#![forbid(unsafe_code)]

mod acks;
mod defaults;
mod ends;
mod finding;
mod found;
mod hint;
mod observation;
mod observed;
mod ranges;
mod read_plan;
mod reason;
mod reread;
mod rules;
mod sizes;
#[cfg(test)]
mod testing;
mod timeline;
mod wanted;

pub use acks::ack_ops;
pub use defaults::{Defaults, Format, Unjudged, Why, scratch};
pub use finding::{CheckFailure, Finding, Invariant, Kind, Output};
pub use hint::{FileChange, Hint, InPlace, NameChange, NameOp, Pending};
pub use observation::{Entry, EntryKind, Mount, Observation};
pub use observed::{
    ByteRange, ByteSource, Changed, ChangedMetadata, ContentSummary, Contradiction, Description, MoreSizes, Nonsense,
    Observed, Owners, SizeRange, Unreadable, ViewLines, ViewedAt, describe,
};
pub use read_plan::{CHUNK, Candidate, ReadPlan, Reading, Seen};
pub use reason::{check_reason, first_ack, last_ack, reason};
pub use reread::reread;
pub use rules::{CrashWindow, RuleError, Rules};
pub use sizes::Sizes;
pub use wanted::{Ack, GarbageTail, Reader, Record, View, Wanted};
