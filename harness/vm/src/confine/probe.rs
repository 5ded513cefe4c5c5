//! Of what confines a guest, what a process has, and what this host allows.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc::{self, c_long};

use super::Confinement;
use crate::kernel::program;
use crate::qemu;

/// What confines a process, as the kernel tells it. Landlock is not among that: nothing tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confined {
    /// The effective user, as this process's namespace has it.
    pub user: u32,
    /// Capabilities that it has or could take: effective, permitted, inheritable and ambient.
    pub capabilities: u64,
    /// Those that a program could give it.
    pub bounding: u64,
    /// Whether no program can give it any (`no_new_privs`, prctl(2)).
    pub no_new_privs: bool,
    /// Of seccomp(2): 0 none, 1 strict, 2 filters.
    pub seccomp: u32,
    /// The namespaces that it does not share with this process, of those in [`NAMESPACES`].
    pub namespaces: BTreeSet<&'static str>,
    /// Whether its root directory is another than this process's.
    pub root: bool,
}

/// The namespaces that guests are to have of their own, by their names below /proc/PID/ns.
pub const NAMESPACES: [&str; 5] = ["ipc", "mnt", "net", "user", "uts"];

impl Confined {
    /// What confines a process.
    ///
    /// # Errors
    /// There is none of this number, or this process may not look at it.
    pub fn of(process: u32) -> io::Result<Self> {
        let directory = Path::new("/proc").join(process.to_string());
        let status = fs::read_to_string(directory.join("status"))?;
        let mut namespaces = BTreeSet::new();
        for name in NAMESPACES {
            let place = Path::new("ns").join(name);
            if fs::read_link(directory.join(&place))? != fs::read_link(Path::new("/proc/self").join(&place))? {
                namespaces.insert(name);
            }
        }
        let place = |root: &Path| fs::metadata(root).map(|metadata| (metadata.dev(), metadata.ino()));
        let root = place(&directory.join("root"))? != place(Path::new("/"))?;
        let shown =
            || io::Error::new(io::ErrorKind::InvalidData, format!("{}/status lacks a line", directory.display()));
        Self::shown(&status, namespaces, root).ok_or_else(shown)
    }

    fn shown(status: &str, namespaces: BTreeSet<&'static str>, root: bool) -> Option<Self> {
        let value =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let set = |name| u64::from_str_radix(value(name)?, 16).ok();
        Some(Self {
            user: value("Uid")?.split_whitespace().nth(1)?.parse().ok()?,
            capabilities: set("CapEff")? | set("CapPrm")? | set("CapInh")? | set("CapAmb")?,
            bounding: set("CapBnd")?,
            no_new_privs: value("NoNewPrivs")? == "1",
            seccomp: value("Seccomp")?.parse().ok()?,
            namespaces,
            root,
        })
    }
}

/// Whether the kernel has landlock(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landlock {
    /// This version of its interface.
    Enforced(i64),
    /// It was built with it and started without.
    Disabled,
    /// It was built without it.
    Missing,
}

/// What keeps a user from namespaces, if this process can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// `kernel.unprivileged_userns_clone` is 0.
    Sysctl,
    /// `user.max_user_namespaces` is 0.
    Limit,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    AppArmor,
    /// Something else: the seccomp filter of a container, most often.
    Unknown,
}

/// Which confinement of guests is to be had on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What a process has that was confined as guests are.
    pub confined: Confined,
    /// Whether it is confined to its directory.
    pub landlock: Landlock,
    /// Why it has not all namespaces of its own.
    pub obstacle: Option<Obstacle>,
    /// Whether QEMU has a sandbox; `None` without a QEMU.
    pub sandbox: Option<bool>,
}

/// Finds out what this host allows: confines a process as guests are, and looks at it.
///
/// # Errors
/// It could not be started; then nor can guests.
pub fn probe() -> io::Result<Probe> {
    let directory = tempfile::tempdir()?;
    let shell = program(&["sh"]).unwrap_or_else(|| "/bin/sh".into());
    let mut command = confined(directory.path(), &shell)?;
    // It waits until its input is closed.
    command.args(["-c", "read -r _"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let confined = Confined::of(child.id());
    let _ = child.kill();
    child.wait()?;
    let confined = confined?;
    let obstacle = (confined.namespaces.len() < NAMESPACES.len())
        .then(|| obstacle(|name| fs::read_to_string(Path::new("/proc/sys").join(name)).ok()));
    let sandbox = program(&["qemu-system-x86_64"]).map(|program| qemu::has_sandbox(&program));
    Ok(Probe { confined, landlock: landlock(), obstacle, sandbox })
}

/// A command that runs `program` as guests run, in a directory of its own.
///
/// # Errors
/// As for a guest: the directory cannot be handed over.
pub fn confined(directory: &Path, program: &Path) -> io::Result<Command> {
    Confinement::to(directory).command(program)
}

fn landlock() -> Landlock {
    /// `LANDLOCK_CREATE_RULESET_VERSION` of include/uapi/linux/landlock.h: asks for nothing but the version.
    const VERSION: c_long = 1;
    // SAFETY: asked for its version, landlock_create_ruleset(2) takes no pointer.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0 as c_long, 0 as c_long, VERSION) };
    match (version, Errno::last()) {
        (1.., _) => Landlock::Enforced(version),
        (_, Errno::EOPNOTSUPP) => Landlock::Disabled,
        _ => Landlock::Missing,
    }
}

/// What stands in the way of namespaces, of what proc(5) says of the kernel's settings.
fn obstacle(setting: impl Fn(&str) -> Option<String>) -> Obstacle {
    let is = |name, value: &str| setting(name).is_some_and(|found| found.trim() == value);
    if is("user/max_user_namespaces", "0") {
        Obstacle::Limit
    } else if is("kernel/unprivileged_userns_clone", "0") {
        Obstacle::Sysctl
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        Obstacle::AppArmor
    } else {
        Obstacle::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let status = "Name:\tsh\nUid:\t1\t65533\t1\t1\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000002\nCapEff:\t\
                      0000000000000001\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let confined = Confined::shown(status, BTreeSet::from(["net"]), true);
        let expected = Confined {
            user: 65533,
            capabilities: 3,
            bounding: 0x1ff_ffff_ffff,
            no_new_privs: true,
            seccomp: 2,
            namespaces: BTreeSet::from(["net"]),
            root: true,
        };
        assert_eq!(confined, Some(expected));
        assert_eq!(Confined::shown("Name:\tsh\n", BTreeSet::new(), true), None);
    }

    #[test]
    fn what_forbids_namespaces_is_found() {
        let with =
            |name: &'static str, value: &'static str| obstacle(move |asked| (asked == name).then(|| value.into()));
        assert_eq!(with("user/max_user_namespaces", "0\n"), Obstacle::Limit);
        assert_eq!(with("user/max_user_namespaces", "96365\n"), Obstacle::Unknown);
        assert_eq!(with("kernel/unprivileged_userns_clone", "0\n"), Obstacle::Sysctl);
        assert_eq!(with("kernel/apparmor_restrict_unprivileged_userns", "1\n"), Obstacle::AppArmor);
    }

    /// Whatever the host refuses, this it does not.
    #[test]
    fn a_confined_process_has_no_capabilities() {
        let Probe { confined, .. } = probe().expect("a process");
        assert!(confined.capabilities == 0 && confined.no_new_privs, "{confined:?}");
    }
}
