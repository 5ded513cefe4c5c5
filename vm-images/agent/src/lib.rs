//! The calls that guests make, for the agent, and for tests that hold the model of calls to the kernel.

pub mod aligned;
pub mod calls;
mod crossing;
pub mod mapped;
