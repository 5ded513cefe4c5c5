//! Everything that shows a run to people and programs, and every sentence.
//!
//! A [`Reporter`](report::Reporter) turns the events of a run into something: progress on stderr ([`Progress`]), text for
//! people ([`Human`]) or `report.json` ([`Json`]) on stdout. What was found is data ([`report`]); what is said of it is said
//! here, by one function for each kind of data ([`sentences`]).
#![forbid(unsafe_code)]

mod diff;
mod human;
mod json;
mod matrix;
mod progress;
pub mod sentences;
mod text;

pub use diff::diff_text;
pub use human::{Human, final_text};
pub use json::Json;
pub use matrix::{matrix, write_matrix};
pub use progress::Progress;
pub use text::{count, headline, tame};
