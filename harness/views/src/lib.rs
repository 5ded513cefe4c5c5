//! Built-in readers: what a program would find in a recovered directory, as text that can be compared.
//!
//! What is read comes from a guest that recovered a crash state, or from a results directory: it is data, and may be
//! anyone's. Readers run in the harness's own process, since a look must cost next to nothing; what that takes is said
//! where it is done. No guest links this crate.
#![forbid(unsafe_code)]

mod place;
pub mod sqlite;

pub use place::{MEMORY, keep_in};

/// What a reader made of what it was given: the same for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it found.
    pub text: String,
    /// Why it cannot be read, or not to its end.
    pub fault: Option<String>,
}

/// Why nothing is known of what a reader was given: a fault of this machine.
#[derive(Debug, thiserror::Error)]
#[error("cannot put files where a reader finds them: {0}")]
pub struct PlaceError(#[from] std::io::Error);
