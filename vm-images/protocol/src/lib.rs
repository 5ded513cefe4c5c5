//! What the harness and the guest agent say to each other.
//!
//! They talk over the mailbox, a small virtio disk whose other side is the harness: the agent reads its next command
//! at one place (the read is answered when there is one) and writes marks and results at another. Commands and
//! replies are postcard; [`frame`] says how bytes are laid out.

pub mod frame;
mod message;

pub use message::{Command, Conditions, Filesystem, Hello, Reply, Step};
