//! What can crash ([`explore::Target`]): a machine whose power fails, or a program that is killed.

pub mod power;
pub mod process;
