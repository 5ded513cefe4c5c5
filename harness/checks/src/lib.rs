//! Judges recovered trees by programs, on the host: the workload's own check, and views, on unpacked copies or by built-in
//! readers.
//!
//! A tree comes from a guest that recovered a crash state: names, links and modes in it are data, and nothing of them is
//! followed out of the directory that it is unpacked in.
#![forbid(unsafe_code)]

mod check;
mod checker;
mod error;
mod kept;
mod message;
mod place;
#[cfg(test)]
mod testing;
mod trees;
mod unpack;
mod views;

/// The largest file that a check or a view can be given, bytes: as large as any that a workload may leave. The guest reads it
/// whole, in each state anew, but for its holes.
pub const LARGEST_FILE: u64 = 192 << 20;

pub use self::checker::Checker;
pub use error::CheckError;
pub use kept::KeptCheck;
pub use unpack::{UnpackError, Unpacked, Workplace, can_be_made, make_empty, unpack};
