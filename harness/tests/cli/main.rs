//! The command line as its users meet it, with the real binary: messages, exit statuses, and what is left behind.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod commands;
mod elsewhere;
mod guests;
mod hostile;
mod interrupted;
mod killed;
mod reach;
mod resumed;
mod run;
mod scripts;
mod support;
mod tidy;
mod traces;
mod usage;
mod views;
