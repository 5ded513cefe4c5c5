//! The guest agent, what builds the initramfs it boots from, and what User Mode Linux needs besides.

mod cached;
mod compression;
mod initramfs;
mod module;

pub use cached::{BuildError, cached, write_whole};
pub use initramfs::initramfs;
pub use module::{Module, ModuleError, closure};

/// The guest agent: a static x86-64 program.
pub const AGENT: &[u8] = include_bytes!(env!("GUEST_AGENT"));

/// A shared object to be preloaded into User Mode Linux; its own documentation says why.
pub const UML_PTRACE: &[u8] = include_bytes!(env!("UML_PTRACE"));
