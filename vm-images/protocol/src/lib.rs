//! What the harness and the guest agent say to each other.
//!
//! They talk over the mailbox, a small virtio disk whose other side is the harness: the agent reads its next command
//! at one place (the read is answered when there is one) and writes marks and results at another. Commands and
//! replies are postcard; [`frame`] says how bytes are laid out.

pub mod frame;
mod message;

pub use filesystems::{AfterUnmount, BeforeSync, CommitBy, FlushCovers, Handling, Recipe, WarmUp};
pub use message::{Command, Conditions, Hello, Reply, Step};

/// How the agent's last line on the console begins if it panics: process 1 takes its kernel with it, which is then no doing
/// of the kernel's.
pub const AGENT_PANICKED: &str = "guest agent: panicked";
