//! Running a program to its end, or to the end of our patience.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::Invocation;

/// How a program came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Killed at the time limit.
    TimedOut,
    /// Killed since the caller asked to stop.
    Stopped,
}

/// How often `stop` is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// How much of a program's output is kept (bytes, lines).
const TAIL: (u64, usize) = (4096, 20);

/// Runs a program without input until it ends, for at most `limit`, or until `stop` is set. Then it ends whatever the
/// program has left behind in its process group, so that nothing of it goes on beside the recording.
///
/// Gives the end of what it printed, too, on standard output and standard error together.
///
/// # Errors
///
/// The program could not be started.
pub(crate) fn run(
    invocation: &Invocation,
    limit: Option<Duration>,
    stop: &AtomicBool,
) -> Result<(End, String), io::Error> {
    // A file, not a pipe: a process that outlives the program and holds the pipe open would keep us waiting.
    let mut output = tempfile::tempfile()?;
    let mut child = Command::new(&invocation.program)
        .arg0(&invocation.argv[0])
        .args(&invocation.argv[1..])
        .envs(&invocation.env)
        .current_dir(&invocation.directory)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .process_group(0)
        .spawn()?;
    let end = wait(&mut child, limit, stop)?;
    Ok((end, tail(&mut output).unwrap_or_default()))
}

fn wait(child: &mut Child, limit: Option<Duration>, stop: &AtomicBool) -> io::Result<End> {
    let leader = Pid::from_raw(child.id().cast_signed());
    let (sender, ended) = mpsc::channel();
    // WNOWAIT leaves the dead program's number taken until its whole group is killed below: without it, the kill
    // could hit a stranger who got the number next.
    thread::spawn(move || {
        while waitid(Id::Pid(leader), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        // Nobody listens any more if the time was up.
        sender.send(()).ok();
    });
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let early = loop {
        let left = deadline.map_or(GLANCE, |deadline| deadline.saturating_duration_since(Instant::now()).min(GLANCE));
        match ended.recv_timeout(left) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => break Some(End::Stopped),
            Err(RecvTimeoutError::Timeout) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                break Some(End::TimedOut);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    // ESRCH: nothing was left to kill.
    killpg(leader, Signal::SIGKILL).ok();
    let status = child.wait()?;
    Ok(early.unwrap_or(End::Exited(status)))
}

/// The last lines of a file, without the control characters that could confuse a terminal.
fn tail(file: &mut File) -> io::Result<String> {
    let (most, lines) = TAIL;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect();
    let all: Vec<&str> = text.trim_end().lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}
