//! Where the paths of the program lead.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use libc::pid_t;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::remote::{fd_link, foretells_failure};

/// How the last component of a path is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// A symbolic link is followed.
    Follow,
    /// A symbolic link is meant itself.
    Keep,
    /// It is a name in its directory: to be made, removed or replaced.
    Name,
}

/// What a path of the thread stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// A canonical absolute path; with [`Last::Name`] only its parent need exist.
    At(PathBuf),
    /// `/proc/self/fd/N` and its kin, followed.
    Fd(i32),
    /// No such thing: the call will fail.
    Nowhere,
}

/// A path as this process must spell it to reach what thread `tid` of `process` means by `text`. `other_mounts`: the program was
/// started with mounts of its own.
pub(crate) fn spell(tid: pid_t, process: pid_t, dirfd: i32, text: &[u8], other_mounts: bool) -> PathBuf {
    const PROCESS: [&[u8]; 2] = [b"/proc/self", b"/proc/thread-self"];
    const STANDARD: [(&[u8], i32); 3] = [(b"/dev/stdin", 0), (b"/dev/stdout", 1), (b"/dev/stderr", 2)];
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    if !text.starts_with(b"/") {
        let base = if dirfd == libc::AT_FDCWD { format!("/proc/{tid}/cwd") } else { format!("/proc/{tid}/fd/{dirfd}") };
        return Path::new(&base).join(path(text));
    }
    let below = |prefix: &[u8]| text.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
    let with = |base: String, rest: &[u8]| path(&[base.as_bytes(), rest].concat());
    for prefix in PROCESS {
        if let Some(rest) = below(prefix) {
            return with(format!("/proc/{tid}"), rest);
        }
    }
    if let Some(rest) = below(format!("/proc/{process}").as_bytes()) {
        return with(format!("/proc/{tid}"), rest);
    }
    if let Some(rest) = below(b"/dev/fd") {
        return with(format!("/proc/{tid}/fd"), rest);
    }
    for (name, fd) in STANDARD {
        if text == name {
            return fd_link(tid, fd);
        }
    }
    if other_mounts { with(format!("/proc/{tid}/root"), text) } else { path(text) }
}

/// Resolves a path the way the kernel is about to; `spell` spells it, or what it begins with. Errors: this process may or can not
/// look there.
pub(crate) fn resolve(spell: impl Fn(&[u8]) -> PathBuf, tid: pid_t, text: &[u8], last: Last) -> io::Result<Resolved> {
    if text.is_empty() {
        return Ok(Resolved::Nowhere);
    }
    let bare = &text[..text.iter().rposition(|&byte| byte != b'/').map_or(0, |at| at + 1)];
    let name = &bare[bare.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1)..];
    // "A pathname with a trailing slash … is resolved as if followed by ." (path_resolution(7)).
    let follow = match last {
        Last::Follow => true,
        Last::Keep => bare.len() < text.len(),
        Last::Name => false,
    };
    if follow || name.is_empty() || name == b"." || name == b".." {
        let path = spell(text);
        if let Some(fd) = proc_fd(tid, &path) {
            return Ok(Resolved::Fd(fd));
        }
        return resolved(canonical(&path));
    }
    let parent = &bare[..bare.len() - name.len()];
    let parent = if parent.is_empty() { b".".as_slice() } else { parent };
    resolved(canonical(&spell(parent)).map(|parent| parent.join(OsStr::from_bytes(name))))
}

fn resolved(path: io::Result<PathBuf>) -> io::Result<Resolved> {
    match path {
        Ok(path) => Ok(Resolved::At(path)),
        Err(error) if foretells_failure(&error) => Ok(Resolved::Nowhere),
        Err(error) => Err(error),
    }
}

/// `N` of `/proc/TID/fd/N`.
fn proc_fd(tid: pid_t, path: &Path) -> Option<i32> {
    path.strip_prefix(format!("/proc/{tid}/fd")).ok()?.to_str()?.parse().ok()
}

/// The kernel resolves it in one go, however deep it is.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let open = |path: &Path| fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    let file = match beneath_root(path) {
        None => open(path)?.into(),
        // Links that are absolute begin at the program's root, with the mounts that it has.
        Some((root, rest)) => {
            let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
            match openat2(open(&root)?, rest, how) {
                Ok(file) => file,
                // A kernel before 5.6; a link of /proc, which is taken from here.
                Err(Errno::ENOSYS | Errno::EPERM | Errno::ELOOP | Errno::EXDEV) => open(path)?.into(),
                Err(errno) => return Err(errno.into()),
            }
        }
    };
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// `/proc/TID/root` and what comes behind it.
fn beneath_root(path: &Path) -> Option<(PathBuf, &Path)> {
    let mut parts = path.components();
    let root: PathBuf = parts.by_ref().take(4).collect();
    let is_root = root.starts_with("/proc") && root.ends_with("root") && root.components().count() == 4;
    is_root.then_some((root, parts.as_path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_another_process_are_spelled_for_this_one() {
        let spelled = |text: &str| spell(7, 5, 3, text.as_bytes(), false).to_string_lossy().into_owned();
        assert_eq!(spelled("a/b"), "/proc/7/fd/3/a/b");
        assert_eq!(spelled("/proc/self/fd/4"), "/proc/7/fd/4");
        assert_eq!(spelled("/proc/5/fd/4"), "/proc/7/fd/4");
        assert_eq!(spelled("/proc/55/fd/4"), "/proc/55/fd/4");
        assert_eq!(spelled("/proc/selfish"), "/proc/selfish");
        assert_eq!(spelled("/dev/fd/4"), "/proc/7/fd/4");
        assert_eq!(spelled("/dev/stderr"), "/proc/7/fd/2");
        assert_eq!(spelled("/etc/x"), "/etc/x");
        assert_eq!(spell(7, 5, libc::AT_FDCWD, b"x", false), Path::new("/proc/7/cwd/x"));
        assert_eq!(spell(7, 5, 3, b"/etc/x", true), Path::new("/proc/7/root/etc/x"));
        assert_eq!(spell(7, 5, 3, b"/proc/self/fd/4", true), Path::new("/proc/7/fd/4"));
    }

    #[test]
    fn paths_resolve_as_the_kernel_would() {
        let scratch = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(scratch.path()).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let me = std::process::id() as pid_t;
        let at = |text: &str, last| {
            let text = format!("{}/{text}", root.display());
            match resolve(|text| spell(me, me, libc::AT_FDCWD, text, true), me, text.as_bytes(), last).unwrap() {
                Resolved::At(path) => path.strip_prefix(&root).unwrap().display().to_string(),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(at("link/new", Last::Name), "real/new");
        assert_eq!(at("link/new/", Last::Name), "real/new");
        assert_eq!(at("real/../link", Last::Name), "link");
        assert_eq!(at("link", Last::Keep), "link");
        assert_eq!(at("link/", Last::Keep), "real");
        assert_eq!(at("link", Last::Follow), "real");
        assert_eq!(at("link/..", Last::Name), "");
        assert_eq!(at("none/new", Last::Name), "Nowhere");
        assert_eq!(at("real/none", Last::Follow), "Nowhere");
        let spelled = |text: &[u8]| spell(me, me, libc::AT_FDCWD, text, false);
        let magic = resolve(spelled, me, b"/proc/self/fd/9", Last::Follow).unwrap();
        assert_eq!(magic, Resolved::Fd(9));
    }
}
