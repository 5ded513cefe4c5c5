//! Shows the current directory at other paths to one process, and to all that it starts: programs have fixed paths (`/etc/app`, a home
//! directory), and a run has a fresh directory.
//!
//! The process gets a mount namespace of its own, in which the directory is mounted there, too (mount(2), `MS_BIND`). Nobody
//! else sees that, and nothing is left behind. Without privileges that takes a user namespace (user_namespaces(7)), in which it
//! keeps its user and group.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr;

/// Why a directory cannot be shown somewhere.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The path is relative.
    #[error("the directory cannot appear at {}: the path must be absolute", .0.display())]
    Relative(PathBuf),
    /// Nothing is there that could be mounted over.
    #[error(
        "the directory cannot appear at {}: {source}: it is mounted over a directory that is there, so make an empty one",
        path.display()
    )]
    NoDirectory {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A NUL byte.
    #[error("no path holds a NUL byte")]
    Nul,
    /// The kernel, or who runs it, forbids it.
    #[error("{}", refused(*.step, .source))]
    Refused {
        /// What was tried.
        step: Step,
        /// Why it failed.
        source: io::Error,
    },
}

fn refused(step: Step, source: &io::Error) -> String {
    format!(
        "the directory cannot appear at another path ({step}: {source}): that takes a mount namespace, which root may make, and others \
         where unprivileged user namespaces are allowed (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone and \
         kernel.apparmor_restrict_unprivileged_userns; in a container, its seccomp profile)"
    )
}

/// A step on the way; its number is what a child can tell its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// unshare(2).
    Unshare = 1,
    /// Writing the maps of users and groups.
    Map = 2,
    /// Keeping mounts from coming to others.
    Private = 3,
    /// The mount itself.
    Bind = 4,
}

impl Step {
    /// The step with this number.
    pub fn numbered(number: u8) -> Option<Self> {
        [Self::Unshare, Self::Map, Self::Private, Self::Bind].into_iter().find(|step| *step as u8 == number)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unshare => "unshare",
            Self::Map => "the map of users",
            Self::Private => "making mounts private",
            Self::Bind => "mount",
        })
    }
}

/// What a child process needs to know, made before the fork: a child of a threaded process may not allocate.
#[derive(Clone, Debug)]
pub struct Mounts {
    at: Vec<CString>,
    /// `setgroups`, `uid_map` and `gid_map`, and what is written to them; empty where root does without.
    maps: Vec<(CString, Vec<u8>)>,
}

impl Mounts {
    /// To show the current directory of a process at each path of `at`, which must be there.
    ///
    /// # Errors
    /// One of the paths is no absolute path of a directory.
    pub fn new(at: &[PathBuf]) -> Result<Self, MountError> {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| MountError::Nul);
        let mut paths = Vec::new();
        for path in at {
            if !path.is_absolute() {
                return Err(MountError::Relative(path.clone()));
            }
            let failed = |source| MountError::NoDirectory { path: path.clone(), source };
            match std::fs::metadata(path).map_err(failed)? {
                metadata if metadata.is_dir() => paths.push(text(path)?),
                _ => return Err(failed(io::ErrorKind::NotADirectory.into())),
            }
        }
        // SAFETY: they take nothing and cannot fail.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        let map = |id: u32| format!("{id} {id} 1").into_bytes();
        let maps = match user {
            0 => Vec::new(),
            // "Writing "deny" to the /proc/pid/setgroups file before writing to /proc/pid/gid_map" (user_namespaces(7)).
            _ => vec![
                (c"/proc/self/setgroups".into(), b"deny".to_vec()),
                (c"/proc/self/uid_map".into(), map(user)),
                (c"/proc/self/gid_map".into(), map(group)),
            ],
        };
        Ok(Self { at: paths, maps })
    }

    /// Takes the calling process, which must have one thread, into a namespace where its current directory is shown. Only makes calls that
    /// are safe after a fork.
    ///
    /// # Errors
    /// The step that failed, and errno.
    pub fn enter(&self) -> Result<(), (Step, i32)> {
        if self.at.is_empty() {
            return Ok(());
        }
        let failed = |step| Err((step, errno()));
        let user = if self.maps.is_empty() { 0 } else { libc::CLONE_NEWUSER };
        // SAFETY: numbers only.
        if unsafe { libc::unshare(libc::CLONE_NEWNS | user) } < 0 {
            return failed(Step::Unshare);
        }
        for (file, text) in &self.maps {
            // SAFETY: a C string, and bytes that are there.
            let written = unsafe {
                let fd = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                let written = libc::write(fd, text.as_ptr().cast(), text.len());
                let errno = errno();
                libc::close(fd);
                if written < 0 { Err((Step::Map, errno)) } else { Ok(()) }
            };
            written?;
        }
        let mount = |from: *const libc::c_char, to: *const libc::c_char, flags| {
            // SAFETY: C strings, or null where mount(2) takes it.
            unsafe { libc::mount(from, to, ptr::null(), flags, ptr::null()) }
        };
        if mount(ptr::null(), c"/".as_ptr(), libc::MS_REC | libc::MS_PRIVATE) < 0 {
            return failed(Step::Private);
        }
        for path in &self.at {
            if mount(c".".as_ptr(), path.as_ptr(), libc::MS_BIND | libc::MS_REC) < 0 {
                return failed(Step::Bind);
            }
        }
        Ok(())
    }

    /// Has `command` run where the directory is shown. Why it could not be started is then told by the number of the error alone:
    /// [`Mounts::probe`] says more.
    pub fn add_to(self, command: &mut Command) {
        if self.at.is_empty() {
            return;
        }
        // SAFETY: the closure only makes calls that are safe after a fork, on memory that is there.
        unsafe { command.pre_exec(move || self.enter().map_err(|(_, errno)| io::Error::from_raw_os_error(errno))) };
    }

    /// Whether it can be done, tried by a process that does nothing else.
    ///
    /// # Errors
    /// What failed.
    pub fn probe(&self) -> Result<(), MountError> {
        if self.at.is_empty() {
            return Ok(());
        }
        let mut pipe = [0; 2];
        // SAFETY: `pipe` has room for two descriptors; the child makes calls that are safe after a fork and never returns.
        unsafe {
            if libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
                return Err(MountError::Refused { step: Step::Unshare, source: io::Error::last_os_error() });
            }
            let pid = libc::fork();
            if pid == 0 {
                let (step, errno) = self.enter().err().map_or((0, 0), |(step, errno)| (step as u8, errno));
                let [a, b, c, d] = errno.to_ne_bytes();
                let report = [step, a, b, c, d];
                libc::write(pipe[1], report.as_ptr().cast(), report.len());
                libc::_exit(0);
            }
            libc::close(pipe[1]);
            let mut report = [0_u8; 5];
            let read = libc::read(pipe[0], report.as_mut_ptr().cast(), report.len());
            libc::close(pipe[0]);
            if pid > 0 {
                libc::waitpid(pid, ptr::null_mut(), 0);
            }
            let [step, errno @ ..] = report;
            let source = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
            match Step::numbered(step) {
                Some(step) => Err(MountError::Refused { step, source }),
                None if read == report.len() as isize => Ok(()),
                None => Err(MountError::Refused { step: Step::Unshare, source: io::ErrorKind::Other.into() }),
            }
        }
    }
}

fn errno() -> i32 {
    // Without an allocation.
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_appears_at_another_path_to_one_command_alone() {
        let (shown, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // The first hides both.
        let mounts = Mounts::new(&[std::env::temp_dir(), at.path().to_path_buf()]).unwrap();
        let hidden = mounts.probe();
        let mounts = Mounts::new(&[at.path().to_path_buf()]).unwrap();
        if let Err(error) = mounts.probe() {
            assert!(error.to_string().contains("user namespaces"), "{error}");
            return;
        }
        assert!(matches!(hidden, Err(MountError::Refused { step: Step::Bind, .. })));
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("id -u > {}/user", at.path().display())).current_dir(shown.path());
        mounts.add_to(&mut command);
        assert!(command.status().unwrap().success());
        // SAFETY: it takes nothing and cannot fail.
        let user = unsafe { libc::geteuid() };
        assert_eq!(std::fs::read_to_string(shown.path().join("user")).unwrap(), format!("{user}\n"));
        assert!(!at.path().join("user").exists());
    }

    #[test]
    fn a_path_must_be_a_directory() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        let error = |path: &Path| Mounts::new(&[path.to_path_buf()]).unwrap_err().to_string();
        assert!(error(Path::new("etc")).ends_with("the path must be absolute"));
        assert!(error(&place.path().join("file")).contains("ot a directory"));
        assert!(error(&place.path().join("none")).ends_with("so make an empty one"));
    }
}
