//! What a machine may do to the host if it gets out of its own hands.
//!
//! A [`Confinement`] says what a machine needs; `child.rs` takes the rest from it, between fork and execve; `probe.rs`
//! finds out how much of that this host allows. docs/guests.md, "Confinement", tells of it all.
//!
//! Guest processes of User Mode Linux are processes of the host. What they ask for reaches the host only if it lets
//! them go, which it must not ([`vm_images::UML_PTRACE`]). QEMU has a device model between guest and host. Either may be
//! broken, and guests mount images that nobody has checked.

mod child;
mod handed;
mod identity;
mod probe;
mod root;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    make_bitflags,
};

use self::child::Steps;
use self::identity::Identity;
use self::root::Root;
use crate::machine::MEMORY;

pub use self::probe::{Confined, Landlock, NAMESPACES, Obstacle, Probe, confined, probe};

/// The newest of landlock's interfaces that this has been tried with. Of an older kernel's, what it has is used.
const LANDLOCK: ABI = ABI::V7;

/// The most that a file may grow to, bytes: to twice the memory of a guest, which is a file.
const FILE_SIZE: u64 = (MEMORY as u64) << 21;

/// Where programs and libraries are, and what they read to find each other. Whatever is not there is left out.
const READABLE: [&str; 9] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/localtime",
    // How many processors and how much memory there is, for QEMU and libnuma.
    "/sys/devices/system",
];

/// Files of proc(5) that machines read when they start. Nothing that is about a process: the environment of the user's
/// programs is among that.
const PROC: [&str; 3] = ["/proc/cpuinfo", "/proc/filesystems", "/proc/meminfo"];

/// Devices that everyone may use.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"];

/// What a machine needs; it is given nothing else.
pub(crate) struct Confinement<'a> {
    /// It starts here, and may write here and nowhere else.
    directory: &'a Path,
    environment: Vec<(&'static str, OsString)>,
    /// Descriptors that it inherits.
    handed: Vec<Arc<File>>,
    /// What it must be able to read, write and control beside its directory.
    devices: Vec<PathBuf>,
}

impl<'a> Confinement<'a> {
    /// To a directory of its own.
    pub(crate) fn to(directory: &'a Path) -> Self {
        Self { directory, environment: Vec::new(), handed: Vec::new(), devices: Vec::new() }
    }

    /// With a variable in its environment, which is else empty.
    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// With a device, to be used by ioctl(2), too.
    pub(crate) fn device(mut self, path: &str) -> Self {
        self.devices.push(path.into());
        self
    }

    /// With a copy of a file, wherever that is and whoever may read it: in the cache of another user, on whose behalf
    /// root runs this, perhaps. Its path, for the machine only.
    pub(crate) fn file(&mut self, path: &Path) -> io::Result<PathBuf> {
        let file = handed::copy_of(path)
            .map_err(|error| io::Error::new(error.kind(), format!("failed to copy {}: {error}", path.display())))?;
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.handed.push(file);
        Ok(name.into())
    }

    /// A command that runs `program` so confined. It starts it once.
    ///
    /// # Errors
    /// The directory cannot be given to the user that is to run it; the kernel has landlock, and refuses its use.
    pub(crate) fn command(self, program: &Path) -> io::Result<Command> {
        // Links may lead through directories that only this user may enter.
        let program = program.canonicalize().unwrap_or_else(|_| program.into());
        let identity = Identity::of(&self.devices, &program);
        if let Some(identity) = &identity {
            identity.take(self.directory)?;
        }
        let steps = Steps {
            identity,
            root: Root::prepare(self.directory, self.visible(&program))?,
            ruleset: self.ruleset(&program)?,
            inherited: self.handed.iter().map(|file| file.as_raw_fd()).collect(),
            file_size: FILE_SIZE,
        };
        // The guest's directory is in its name for who looks for it, in a list of processes, say: its arguments need no more than
        // names in it.
        let name = self.directory.join(program.file_name().unwrap_or(program.as_os_str()));
        let mut command = Command::new(&program);
        command.arg0(name).current_dir(self.directory).env_clear().envs(self.environment);
        let handed = self.handed;
        let confine = move || {
            // Open until the command is dropped.
            let _ = &handed;
            steps.take()
        };
        // SAFETY: between fork and execve only calls that are safe in a signal handler are allowed (signal-safety(7)); those
        // of `Steps::take` are bare system calls, and nothing is allocated.
        unsafe { command.pre_exec(confine) };
        Ok(command)
    }

    /// What there is of the host, where it can be made so. All of proc(5): what is handed over has its path there.
    fn visible(&self, program: &Path) -> impl Iterator<Item = PathBuf> {
        let readable = READABLE.into_iter().chain(["/proc"]).map(PathBuf::from).chain(beside(program));
        readable.chain(self.all_devices())
    }

    fn all_devices(&self) -> impl Iterator<Item = PathBuf> {
        DEVICES.into_iter().map(PathBuf::from).chain(self.devices.clone())
    }

    /// What landlock(7) is to allow; `None` if the kernel has none.
    fn ruleset(&self, program: &Path) -> io::Result<Option<OwnedFd>> {
        let failed = |error: landlock::RulesetError| io::Error::other(format!("landlock: {error}"));
        let read = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});
        let own = make_bitflags!(AccessFs::{
            ReadFile | ReadDir | WriteFile | Truncate | RemoveFile | RemoveDir | MakeReg | MakeDir | MakeSock
        });
        let device = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});
        let readable = READABLE.iter().chain(&PROC).map(PathBuf::from).chain(beside(program));
        let rules = std::iter::once((self.directory.to_path_buf(), own))
            .chain(readable.map(|path| (path, read)))
            .chain(self.all_devices().map(|path| (path, device)));
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(LANDLOCK))
            .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK)))
            .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
            .and_then(Ruleset::create)
            .map_err(failed)?;
        for (path, access) in rules {
            // What is not there, and what this user cannot reach, the machine cannot either.
            let Ok(beneath) = PathFd::new(&path) else { continue };
            let access = if path.is_dir() { access } else { access & of_files() };
            ruleset = ruleset.add_rule(PathBeneath::new(beneath, access)).map_err(failed)?;
        }
        Ok(ruleset.into())
    }
}

/// Those rights that there are to a file, and not only to a directory.
fn of_files() -> BitFlags<AccessFs> {
    AccessFs::from_file(LANDLOCK)
}

/// The program, and what may belong to it where it was installed elsewhere than the host's own programs.
fn beside(program: &Path) -> Vec<PathBuf> {
    let mut paths = vec![program.to_path_buf()];
    if let Some(bin) = program.parent()
        && bin.ends_with("bin")
        && let Some(prefix) = bin.parent()
    {
        paths.extend(["lib", "lib64", "libexec", "share"].map(|name| prefix.join(name)));
    }
    paths
}
