//! The whole path on real kernels, real file systems and real programs.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod agreement;
mod determinism;
mod dying;
mod events;
mod failing;
mod figures;
mod machines;
mod names;
mod support;
mod tokens;
