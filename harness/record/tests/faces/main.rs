//! The recorder on a program made for it: each family of calls, descriptors, processes, threads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod acks;
mod calls;
#[path = "../common/mod.rs"]
mod common;
mod limits;
mod mapped;
mod processes;
mod recording;
