//! The command line, `harness`: reads arguments and hands them to a command. What a command does is in the engine.

pub mod cli;
pub mod commands;
