//! Programs that are run within bounds of time, and of which it is told how much memory they took.

use std::fs::File;
use std::io::{Read, Seek};
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// No more of an output is looked at, bytes.
const SHOWN: u64 = 64 << 20;

/// No file is larger that it makes, bytes: the largest disk there can be, which has holes. So that none fills this host's.
const LARGEST_FILE: u64 = 13 << 30;

/// What became of a program.
pub struct Bounded {
    /// As a shell shows it; `None` if it was killed, since it took too long and did not end when it was asked to.
    pub status: Option<i32>,
    /// Whether it took too long, and was asked to end (SIGTERM).
    pub was_stopped: bool,
    pub stdout: String,
    pub stderr: String,
    /// The most memory that it, or a child that it waited for, had at a time, bytes.
    pub largest: u64,
    pub took: Duration,
}

/// Runs a program for at most so long. Then it is asked to end, and after the same time its process group is killed.
pub fn run(mut command: Command, limit: Duration) -> Bounded {
    let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    let [stdout, stderr] = files.each_ref().map(|file| Stdio::from(file.try_clone().unwrap()));
    let start = Instant::now();
    let bound_files = || {
        let limit = libc::rlimit { rlim_cur: LARGEST_FILE, rlim_max: LARGEST_FILE };
        // SAFETY: setrlimit(2) reads one structure, which is ours.
        match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork(2) and execve(2) it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(bound_files) };
    #[expect(clippy::zombie_processes, reason = "wait4(2) below waits for it, and says how much memory it took")]
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let (mut was_stopped, mut is_late) = (false, false);
    let (status, largest) = loop {
        match wait(pid) {
            Some(ended) => break ended,
            None if !was_stopped && start.elapsed() > limit => {
                was_stopped = true;
                kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
            }
            None if !is_late && start.elapsed() > limit * 2 => {
                is_late = true;
                killpg(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let took = start.elapsed();
    let [stdout, stderr] = files.map(text);
    Bounded { status: (!is_late).then_some(status), was_stopped, stdout, stderr, largest, took }
}

/// How a child ended, and how much memory it had at most; `None` if it has not ended.
fn wait(pid: i32) -> Option<(i32, u64)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: wait4(2) writes to the two places that it is given, both of which are ours and of the right types.
    let waited = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    assert!(waited >= 0, "wait4: {}", std::io::Error::last_os_error());
    if waited == 0 {
        return None;
    }
    // SAFETY: all bytes being zero is a value of this structure, and wait4(2) has written another at most.
    let usage = unsafe { usage.assume_init() };
    let shown = crate::support::shown(std::os::unix::process::ExitStatusExt::from_raw(status));
    // In KiB: getrusage(2).
    Some((shown, u64::try_from(usage.ru_maxrss).unwrap() << 10))
}

fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.take(SHOWN).read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
