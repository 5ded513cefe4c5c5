//! The whole path on real kernels, real file systems and real programs.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod agreement;
mod cases;
mod check;
mod determinism;
mod dying;
mod events;
mod failing;
mod figures;
mod harmed;
mod holes;
mod judged;
mod killed;
mod machines;
mod mapped;
mod mutants;
mod names;
mod ours;
mod reach;
mod replaced;
mod same;
mod spared;
mod support;
mod teeth;
mod tokens;
mod twice;
mod variants;
mod views;
