//! What a run comes to, as data, and the event stream of a run.
//!
//! The engine sends [`Event`]s and never prints. A [`Reporter`] turns them into something; all that show a run to people
//! are in the crate `reporters`, with every sentence. At the end stands a [`Report`], which [`write_report`] puts into a
//! directory, [`read_report`] reads back and [`diff`] compares with an earlier one.
#![forbid(unsafe_code)]

mod asked;
mod cell;
mod decimal;
mod diff;
mod event;
mod exit;
mod explored;
mod files;
mod json;
mod note;
mod ops;
mod process;
mod schedule;
mod schema;
mod shell;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod v1;
mod verdict;
mod violation;
mod write;

pub use self::files::{FileError, FileErrorKind, read_report, write_file, write_report};
pub use asked::Asked;
pub use cell::{CellId, CellReport, CrashStates, Losses, Reach, Report, SCHEMA, Schedules};
pub use diff::{Diff, Key, Subject, Unseen, diff};
pub use event::{All, Event, ProgressReport, Reporter};
pub use exit::{ExitStatus, exit_status};
pub use explored::{Explored, Tear};
pub use json::to_json;
pub use note::Note;
pub use ops::{OpShown, Ops, WorkloadOps};
pub use process::{Killed, ProcessReport, ProcessViolation};
pub use schedule::{
    EndingReport, InjectedReport, InjectionReport, KnownSchedule, ScheduleReport, WorkReport, WrittenBack,
};
pub use schema::schema;
pub use shell::word;
pub use verdict::{Durable, Verdict, durable_after_exit, verdict};
pub use violation::{AckRef, OTHER_FAILURES, Promised, ViolationReport};
pub use write::{BlockContent, BlockWrite, TornWrite, WriteCause, WriteReport};
