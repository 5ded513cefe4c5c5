//! What differs between kinds of machines: how they are started.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use filesystems::FileSystem;

use crate::KernelError;

/// Memory of a guest, MiB. The host gives what the guest has touched, no more.
///
/// The agent holds the trace's data and the contents that it compares with, twice what a command carries while it
/// unpacks it, and the kernel the files themselves.
pub(crate) const MEMORY: u32 = 1024;

/// What a machine is started with.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// A directory of the guest's own, for whatever the machine puts there.
    pub directory: &'a Path,
    /// Name in it of the vhost-user socket of the data disk.
    pub data: &'a str,
    /// Name in it of the vhost-user socket of the mailbox disk.
    pub mailbox: &'a str,
    /// The initramfs.
    pub initramfs: &'a Path,
}

/// How QEMU executes guest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// In hardware.
    Kvm,
    /// By translation.
    Emulated,
}

/// A kind of machine that can boot the agent.
pub trait Machine: Send + Sync {
    /// As reports show it: `uml`, `qemu-kvm`, `qemu-emulated`.
    fn name(&self) -> &'static str;

    /// The initramfs that this machine's kernel needs for `filesystems`; built into `cache` unless it is there.
    ///
    /// # Errors
    /// The kernel has no driver for one of them, or the cache cannot be written.
    fn initramfs(&self, cache: &Path, filesystems: &[&FileSystem]) -> Result<PathBuf, KernelError>;

    /// The command that starts it. Its standard output is the guest's console. It must end when it is killed, with
    /// all that it started in its process group.
    ///
    /// # Errors
    /// What it needs cannot be handed to it.
    fn command(&self, launch: &Launch<'_>) -> io::Result<Command>;

    /// Whether a guest does nothing while it waits for its disk, so that both are best kept on one processor.
    fn takes_turns(&self) -> bool {
        false
    }

    /// How many times slower than on hardware it may be, in round numbers: scales time limits.
    fn patience(&self) -> u32;
}
