//! What the command line offers, one file each.

pub mod diff;
pub mod doctor;
mod failure;
pub mod gc;
pub mod judge;
pub mod record;
pub mod reproduce;
pub mod run;
pub mod show;
mod signal;
mod stale;

pub use failure::Failure;
