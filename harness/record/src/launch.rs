//! Starting the program: fork, wait to be taken under trace, seccomp, exec.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::ptr;

use libc::{c_char, pid_t};
use mounts::Mounts;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::{RecordError, RecordSpec, Stdin, seccomp, stop};

/// What failed in the child before the program ran: the first byte of its report, before errno.
mod step {
    pub(super) const PREPARE: u8 = 1;
    pub(super) const CHDIR: u8 = 2;
    pub(super) const SECCOMP: u8 = 3;
    pub(super) const EXEC: u8 = 4;
    /// And the number of a step of [`mounts::Mounts::enter`].
    pub(super) const MOUNTS: u8 = 16;
}

/// The ends of the pipes that this process keeps, and those that the program gets.
pub(crate) struct Output {
    pub(crate) reader: OwnedFd,
    pub(crate) writer: OwnedFd,
}

impl Output {
    pub(crate) fn new() -> Result<Self, RecordError> {
        let (reader, writer) = pipe()?;
        Ok(Self { reader, writer })
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), RecordError> {
    pipe2(OFlag::O_CLOEXEC).map_err(|error| RecordError::system("make a pipe")(error.into()))
}

/// Everything that the child needs: made before the fork, since a forked child of a threaded process may not allocate.
struct Prepared {
    paths: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    directory: CString,
    mounts: Mounts,
    filter: Vec<libc::sock_filter>,
}

/// A program that was started, and what tells whether it really runs.
pub(crate) struct Launched {
    pub(crate) pid: pid_t,
    report: File,
    program: String,
}

impl Launched {
    /// Why the program never ran, if the child said so. To be asked once the child is gone.
    pub(crate) fn failure(mut self) -> Option<RecordError> {
        let mut report = [0; 5];
        self.report.read_exact(&mut report).ok()?;
        let [step, errno @ ..] = report;
        let errno = i32::from_ne_bytes(errno);
        let source = io::Error::from_raw_os_error(errno);
        Some(match step {
            step::CHDIR => RecordError::System { what: "enter the directory", source },
            step::SECCOMP => RecordError::Refused { what: "install a seccomp filter", source },
            at if at > step::MOUNTS
                && let Some(step) = mounts::Step::numbered(at - step::MOUNTS) =>
            {
                RecordError::At(mounts::MountError::Refused { step, source })
            }
            step::EXEC if errno == libc::ENOENT => RecordError::NotFound(self.program),
            step::EXEC => RecordError::Start { program: self.program, source },
            _ => RecordError::System { what: "prepare the program's process", source },
        })
    }
}

/// Starts the command of `spec` under trace by this thread.
pub(crate) fn launch(
    spec: &RecordSpec,
    directory: &Path,
    stdout: BorrowedFd<'_>,
    stderr: BorrowedFd<'_>,
) -> Result<Launched, RecordError> {
    let input = match &spec.stdin {
        Stdin::Null => Path::new("/dev/null"),
        Stdin::File(path) => path,
    };
    let stdin = File::open(input).map_err(|source| RecordError::Input { path: input.to_path_buf(), source })?;
    let prepared = prepare(spec, directory)?;
    let (report, report_writer) = pipe()?;
    let (gate, gate_writer) = pipe()?;
    let fds = [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()];
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(&prepared.arguments), pointers(&prepared.environment));
    // SAFETY: the child calls only async-signal-safe functions, on memory made before, and never returns.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(RecordError::system("fork")(io::Error::last_os_error()));
    }
    if pid == 0 {
        // SAFETY: as above; the pointers are those of `prepared`, NULL at the end.
        let (step, errno) = unsafe { child(&prepared, fds, gate.as_raw_fd(), &arguments, &environment) };
        let errno = errno.to_ne_bytes();
        let message = [step, errno[0], errno[1], errno[2], errno[3]];
        // SAFETY: a write of five bytes that are there, and an exit without cleaning up.
        unsafe {
            libc::write(report_writer.as_raw_fd(), message.as_ptr().cast(), message.len());
            libc::_exit(127);
        }
    }
    drop((report_writer, gate));
    if let Err(source) = stop::seize(pid) {
        stop::kill(pid);
        reap(pid);
        return Err(RecordError::Refused { what: "ptrace", source });
    }
    // If the child is gone already, the recorder will be told.
    let _ = File::from(gate_writer).write_all(b"g");
    let program = spec.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Launched { pid, report: report.into(), program })
}

fn prepare(spec: &RecordSpec, directory: &Path) -> Result<Prepared, RecordError> {
    let program = spec.command.first().filter(|name| !name.is_empty()).ok_or(RecordError::NoCommand)?;
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    for (name, value) in &spec.env {
        environment.retain(|(known, _)| known != name);
        environment.push((name.clone(), value.clone()));
    }
    let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    // What execvp(3) takes where there is no PATH.
    let path = path.unwrap_or_else(|| "/bin:/usr/bin".into());
    let candidates: Vec<OsString> = if program.as_bytes().contains(&b'/') {
        vec![program.clone()]
    } else {
        std::env::split_paths(&path).map(|folder| folder.join(program).into_os_string()).collect()
    };
    let texts = |list: Vec<OsString>| list.into_iter().map(text).collect::<Result<Vec<_>, _>>();
    let variable =
        |(name, value): (OsString, OsString)| OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat());
    Ok(Prepared {
        paths: texts(candidates)?,
        arguments: texts(spec.command.clone())?,
        environment: texts(environment.into_iter().map(variable).collect())?,
        directory: text(directory.as_os_str().to_owned())?,
        mounts: Mounts::new(&spec.at)?,
        filter: seccomp::program(),
    })
}

fn text(value: OsString) -> Result<CString, RecordError> {
    CString::new(value.as_bytes()).map_err(|_| RecordError::Nul(OsStr::to_owned(&value)))
}

/// The child's part: returns only if the program cannot be run, with the step that failed and errno.
///
/// # Safety
///
/// To be called in a child just forked; `arguments` and `environment` end with NULL and point to strings.
unsafe fn child(
    prepared: &Prepared,
    fds: [RawFd; 3],
    gate: RawFd,
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> (u8, i32) {
    // SAFETY: async-signal-safe calls on memory that is there (see above).
    unsafe {
        let mut go = 0u8;
        if libc::read(gate, (&raw mut go).cast(), 1) != 1 {
            libc::_exit(127);
        }
        // No terminal: the program must not behave differently where there is one.
        libc::setsid();
        for (target, fd) in fds.into_iter().enumerate() {
            // Onto itself dup2 would leave the close-on-exec mark.
            let failed = if fd == target as RawFd {
                libc::fcntl(fd, libc::F_SETFD, 0) < 0
            } else {
                libc::dup2(fd, target as RawFd) < 0
            };
            if failed {
                return (step::PREPARE, Errno::last_raw());
            }
        }
        // Before Linux 5.11 this fails; Rust opens all its descriptors with close-on-exec anyway.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if libc::chdir(prepared.directory.as_ptr()) < 0 {
            return (step::CHDIR, Errno::last_raw());
        }
        if let Err((step, errno)) = prepared.mounts.enter() {
            return (step::MOUNTS + step as u8, errno);
        }
        // The kernel would write a core file into the recorded directory.
        libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
        // Rust ignores SIGPIPE, and exec keeps that.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        if let Err(errno) = seccomp::install(&prepared.filter) {
            return (step::SECCOMP, errno);
        }
        let mut worst = libc::ENOENT;
        for path in &prepared.paths {
            libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            match Errno::last_raw() {
                libc::ENOENT | libc::ENOTDIR => {}
                // As execvp(3): go on searching, but tell of it if nothing else is found.
                libc::EACCES => worst = libc::EACCES,
                errno => return (step::EXEC, errno),
            }
        }
        (step::EXEC, worst)
    }
}

/// A child that only exists to be signalled: its signal stops wake this thread out of waitpid(2), which nothing else can
/// without a signal handler for the whole process.
pub(crate) fn bell() -> Result<pid_t, RecordError> {
    // SAFETY: the child calls only async-signal-safe functions and never returns.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(RecordError::system("fork")(io::Error::last_os_error()));
    }
    if pid == 0 {
        // SAFETY: numbers only.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // It must not keep a pipe of ours open.
            libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
            loop {
                libc::pause();
            }
        }
    }
    if let Err(source) = stop::seize(pid) {
        stop::kill(pid);
        reap(pid);
        return Err(RecordError::Refused { what: "ptrace", source });
    }
    Ok(pid)
}

/// Waits until a child that was killed is gone.
pub(crate) fn reap(pid: pid_t) {
    let mut status = 0;
    // SAFETY: waitpid writes one int.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == pid
        && !libc::WIFEXITED(status)
        && !libc::WIFSIGNALED(status)
    {}
}
