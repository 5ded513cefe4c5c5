//! What is run: `workload.toml`, its build, its setup and its command.
//!
//! A [`Workload`] is a directory with a `workload.toml`, or a bare command. Its life in one run of the harness:
//!
//! 1. [`Workload::load`] or [`Workload::bare`]: read and check; no other program runs yet.
//! 2. [`Workload::build`]: the build step, in the workload's own directory.
//! 3. [`Workload::prepare`]: the *old* state, in a fresh run directory: the content of `from`, then the setup.
//! 4. [`Workload::command_in`]: what the recorder is to run there, to make the *new* state.
//!
//! # workload.toml
//!
//! | key | meaning |
//! | --- | --- |
//! | `description` | one or two sentences for people |
//! | `build` | argument list; runs in the workload's directory, without a time limit |
//! | `from` | a directory inside the workload's directory; its content is the durable start state |
//! | `setup` | argument list; runs in the run directory after `from` was copied there |
//! | `command` | argument list, required; runs in the run directory and is what is recorded |
//! | `time-limit` | whole seconds that `setup` and `command` may each take; 60 if it is not given |
//! | `env` | table of environment variables that all steps but `build` get besides the harness's own |
//! | `recover` | argument list; runs in the unpacked copy of a recovered tree before a check or a view looks at it |
//! | `at` | an absolute path or a list of such: there the run directory appears to `setup`, `command` and `check`, too |
//! | `[server]` | `command`, `ready` and `stop`: a server that is started before the command, recorded with it, and stopped after it ([`Server`]) |
//! | `explore-from` | `{ ack = "TEXT" }` or `{ server = "ready" }`: no crash is explored that comes before this is printed, or the server is ready |
//! | `check` | argument list of a checker of the workload's own; runs in an unpacked copy of each recovered tree |
//! | `ignore` | list of patterns ([`IgnorePattern`]) of names that matter to nobody |
//! | `[[invariant]]` | what must hold after a crash ([`checker::Wanted`]); with none, the harness chooses |
//!
//! Any other key is an error. In argument lists and in the values of `env` these words are replaced:
//!
//! | word | by the absolute path of |
//! | --- | --- |
//! | `{workload}` | the workload's directory |
//! | `{target}` | the directory where `cargo build --release` leaves binaries: `release` below `CARGO_TARGET_DIR`, or else below `target` of the cargo workspace that the workload's directory is in |
//! | `{run}` | the run directory; for `check`, `recover` and views, that of the unpacked copy; not in `build` |
//!
//! The first word of a list is the program. Without a slash it is looked up in `PATH`; a relative path with a slash
//! starts in the directory in which the program runs.
#![forbid(unsafe_code)]

mod copy;
mod error;
mod ignore;
mod invocation;
mod load;
mod manifest;
mod near;
mod run;
mod server;
mod steps;
mod target;
mod workload;

pub use error::{Error, ErrorKind, Step};
pub use ignore::{IgnorePattern, Ignored, PatternError};
pub use invocation::Invocation;
pub use load::LARGEST_MANIFEST;
pub use run::{End, Heard, Limit, PATIENCE};
pub use server::{READY, Ready, Server, serve};
pub use workload::{DEFAULT_TIME_LIMIT, Workload};
