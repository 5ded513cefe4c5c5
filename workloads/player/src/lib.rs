//! A music player's data: what the workloads beside this crate save, each in its own way.
//!
//! Not a workload itself. Everything is made up from fixed rules, with no clock and no random numbers, so two runs
//! of a workload write the same bytes.

mod library;
mod settings;

pub use library::{NAME, RECORD, library, rename};
pub use settings::{Settings, Track};
