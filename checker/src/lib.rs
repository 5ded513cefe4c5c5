//! Invariants, observations and verdicts.
//!
//! Pure: no I/O, no `unsafe`. The guest agent uses [`Guide`] to know how far it must read; the harness judges
//! what the agent reports.
#![forbid(unsafe_code)]

mod guide;
mod observation;

pub use guide::{CHUNK, Guide, Reading, Seen};
pub use observation::{Entry, EntryKind, Mount, Observation};
