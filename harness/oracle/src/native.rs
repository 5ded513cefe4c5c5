//! Runs a program on a native mount, and looks at what a crash would have left.
//!
//! In this file: what that takes of the machine, and the place where it is done.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::device::private_mounts;

mod look;
mod performer;
mod run;

pub use look::{Effort, Found, Outcome, Witness, look, shows};
pub use run::{Run, run};

/// Why a program could not be run natively.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// Something here.
    #[error("failed to {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A step of the program, or what had to be done for it.
    #[error("{what} failed natively: {reason}")]
    Failed {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// Something did not end.
    #[error("{what} had not ended after {} s", LONGEST.as_secs())]
    Hangs {
        /// What.
        what: String,
    },
}

fn fail(what: impl Into<String>) -> impl FnOnce(io::Error) -> NativeError {
    let what = what.into();
    move |source| NativeError::Io { what, source }
}

/// How long anything may take.
const LONGEST: Duration = Duration::from_secs(20);

/// What this machine lacks for native runs; `None` if nothing.
pub fn lacking() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("native mounts need root".into());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return Some(format!("there is no {device} here"));
        }
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known: Vec<&str> = known.lines().filter_map(|line| line.split_whitespace().last()).collect();
    for kind in crate::fresh::KINDS.iter().chain(&["fuse"]) {
        if !known.contains(kind) {
            return Some(format!("the kernel here has no {kind} (modprobe {kind} may load it)"));
        }
    }
    // Containers often have root's number, and not what it is for.
    std::thread::spawn(private_mounts)
        .join()
        .map_or(None, |outcome| outcome.err().map(|error| format!("no mounts of our own can be had: {error}")))
}

/// A place to work in: memory, with mounts that nobody else sees and that go with us.
pub struct Workshop {
    directory: tempfile::TempDir,
    /// The program that performs (see [`crate::perform::serve`]) when it is called with `perform`.
    performer: PathBuf,
}

impl Workshop {
    /// For the calling thread: it gets mounts of its own.
    pub fn open(performer: &Path) -> Result<Self, NativeError> {
        private_mounts().map_err(fail("get mounts of our own"))?;
        let directory = tempfile::Builder::new().prefix("oracle-").tempdir().map_err(fail("make a directory"))?;
        let kind = Some("tmpfs");
        mount(kind, directory.path(), kind, MsFlags::empty(), Some("mode=700"))
            .map_err(|errno| errno.into())
            .map_err(fail("mount memory"))?;
        for name in ["fuse", "run", "look"] {
            std::fs::create_dir(directory.path().join(name)).map_err(fail("make a directory"))?;
        }
        Ok(Self { directory, performer: performer.into() })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.directory.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}
