//! Runs a workload's own check on unpacked copies of recovered trees, on the host.
//!
//! A tree comes from a guest that recovered a crash state: names, links and modes in it are data, and nothing of them is
//! followed out of the directory that it is unpacked in.
#![forbid(unsafe_code)]

mod check;
mod message;
mod unpack;

pub use check::{CheckError, Checker, KeptCheck, LARGEST_FILE};
pub use unpack::{UnpackError, Unpacked, Workplace, can_be_made, make_empty, unpack};
