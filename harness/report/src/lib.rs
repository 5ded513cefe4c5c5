//! The event stream of a run, and everything that shows it to people and programs.
//!
//! The engine sends [`Event`]s and never prints. A [`Reporter`] turns them into something: progress on stderr
//! ([`Progress`]), text for people ([`Human`]) or `report.json` ([`Json`]) on stdout; [`All`] joins several. At the end stands a [`Report`],
//! which [`write_results`] puts into a directory, [`read_report`] reads back and [`diff`] compares with an earlier one.
#![forbid(unsafe_code)]

mod asked;
mod cell;
mod decimal;
mod diff;
mod event;
mod exit;
mod explored;
mod files;
mod human;
mod json;
mod matrix;
mod process;
mod progress;
mod schema;
#[cfg(test)]
mod testing;
mod text;
mod verdict;

pub use self::files::{FileError, FileErrorKind, read_report, write_results};
pub use asked::Asked;
pub use cell::{CellId, CellReport, CrashStates, Losses, Reach, Report, SCHEMA, Schedules};
pub use cell::{OpRef, Promised, ViolationReport, WriteRef};
pub use diff::{Diff, Key, Unseen, diff};
pub use event::{All, Event, ProgressReport, Reporter};
pub use exit::{ExitStatus, exit_status};
pub use explored::{Explored, Tear};
pub use human::{Human, after, final_text};
pub use json::Json;
pub use matrix::matrix;
pub use process::{Killed, ProcessReport, ProcessViolation};
pub use progress::Progress;
pub use schema::schema;
pub use text::{OTHER_FAILURES, count, headline, tame, word};
pub use verdict::{Durable, Verdict, durable_after_exit, verdict};
