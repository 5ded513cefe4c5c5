//! Running a program to its end, or to the end of our patience.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use load::Meter;
use mounts::Mounts;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
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
    /// Killed since it had not ended after so long by the clock, within its limit: the host gave it next to nothing. See
    /// [`Limit::Own`].
    Starved(Duration),
    /// Killed since the caller asked to stop.
    Stopped,
}

/// For how long a program may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// By the clock.
    Clock(Duration),
    /// Not counting what it waits for a processor or a disk while others on the host have them ([`load::Meter`]): on an idle
    /// host the same as by the clock, and on a busy one no less. By the clock it may take [`PATIENCE`] times as long.
    Own(Duration),
}

/// How many times longer than [`Limit::Own`] a program may take by the clock.
pub const PATIENCE: u32 = 30;

/// How often `stop` is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// How often its processes are looked at: all that the host has are listed for that.
const LOOK: Duration = Duration::from_millis(200);

/// How much of a program's output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The last lines.
    End,
    /// All of it, but for the middle of more than [`WHOLE`] bytes.
    Whole,
}

/// How much the last lines of an output are, at most (bytes, lines).
const TAIL: (u64, usize) = (4096, 20);

/// The longest output that is kept as a whole, bytes.
const WHOLE: u64 = 1 << 20;

/// Runs a program without input until it ends, within `limit`, or until `stop` is set. Then it ends whatever the
/// program has left behind in its process group, so that nothing of it goes on beside the recording.
///
/// Gives what it printed, too, on standard output and standard error together, as far as it is to be kept.
///
/// # Errors
///
/// The program could not be started.
pub(crate) fn run(
    invocation: &Invocation,
    limit: Option<Limit>,
    stop: &AtomicBool,
    keep: Keep,
) -> Result<(End, String), io::Error> {
    // A file, not a pipe: a process that outlives the program and holds the pipe open would keep us waiting.
    let mut output = tempfile::tempfile()?;
    let mut child = spawn(invocation, Stdio::null(), output.try_clone()?, output.try_clone()?)?;
    let end = wait(&mut child, limit, stop)?;
    Ok((end, keep.read(&mut output).unwrap_or_default()))
}

fn spawn(invocation: &Invocation, input: Stdio, output: File, errors: File) -> io::Result<Child> {
    let mounts = Mounts::new(&invocation.at).map_err(io::Error::other)?;
    let mut command = Command::new(&invocation.program);
    mounts.add_to(&mut command);
    command
        .arg0(&invocation.argv[0])
        .args(&invocation.argv[1..])
        .envs(&invocation.env)
        .current_dir(&invocation.directory)
        .stdin(input)
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
}

/// How a program ended, and what it printed where.
#[derive(Debug)]
pub struct Heard {
    /// How it ended.
    pub end: End,
    /// All of its standard output; `None` if that is longer than it may be.
    pub output: Option<Vec<u8>>,
    /// What it printed on standard error: all of it, but for the middle of more than 1 MiB.
    pub errors: String,
}

/// The same with an input, and with standard output as it is.
///
/// # Errors
///
/// The program could not be started.
pub(crate) fn read(
    invocation: &Invocation,
    input: &[u8],
    longest: u64,
    limit: Option<Limit>,
    stop: &AtomicBool,
) -> io::Result<Heard> {
    let (mut output, mut errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let input = if input.is_empty() {
        Stdio::null()
    } else {
        let mut file = tempfile::tempfile()?;
        file.write_all(input)?;
        file.rewind()?;
        file.into()
    };
    let mut child = spawn(invocation, input, output.try_clone()?, errors.try_clone()?)?;
    let end = wait(&mut child, limit, stop)?;
    let length = output.seek(SeekFrom::End(0))?;
    let mut bytes = Vec::new();
    if length <= longest {
        output.rewind()?;
        // What it left running is killed, but may have written since the end was looked for.
        output.take(longest).read_to_end(&mut bytes)?;
    }
    let errors = Keep::Whole.read(&mut errors).unwrap_or_default();
    Ok(Heard { end, output: (length <= longest).then_some(bytes), errors })
}

fn wait(child: &mut Child, limit: Option<Limit>, stop: &AtomicBool) -> io::Result<End> {
    let begun = Instant::now();
    let leader = Pid::from_raw(child.id().cast_signed());
    let (sender, ended) = mpsc::channel();
    // WNOWAIT leaves the dead program's number taken until its whole group is killed below: without it, the kill
    // could hit a stranger who got the number next.
    thread::spawn(move || {
        while waitid(Id::Pid(leader), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        // Nobody listens any more if the time was up.
        sender.send(()).ok();
    });
    let mut meter = Meter::default();
    let mut looked = Duration::ZERO;
    let mut is_over = |passed: Duration| match limit? {
        Limit::Clock(limit) => (passed >= limit).then_some(End::TimedOut),
        Limit::Own(_) if passed < looked + LOOK => None,
        Limit::Own(limit) if meter.look(passed, load::of_tree(leader.as_raw().cast_unsigned())) >= limit => {
            Some(End::TimedOut)
        }
        Limit::Own(limit) => {
            looked = passed;
            (passed >= limit * PATIENCE).then_some(End::Starved(passed))
        }
    };
    let early = loop {
        let left = match limit {
            Some(Limit::Clock(limit)) => limit.saturating_sub(begun.elapsed()).min(GLANCE),
            Some(Limit::Own(_)) | None => GLANCE,
        };
        match ended.recv_timeout(left) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => break Some(End::Stopped),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(end) = is_over(begun.elapsed()) {
                    break Some(end);
                }
            }
        }
    };
    if early.is_some() {
        kill_tree(leader);
    }
    // ESRCH: nothing was left to kill.
    killpg(leader, Signal::SIGKILL).ok();
    let status = child.wait()?;
    Ok(early.unwrap_or(End::Exited(status)))
}

/// Kills a process and all that descends from it, also what has left its process group, as timeout(1) and setsid(1) do.
///
/// All of them are stopped first: a child whose parent is gone is nobody's any more, and one that runs can start another.
fn kill_tree(root: Pid) {
    let mut stopped = HashSet::new();
    loop {
        let more: Vec<u32> = load::tree(root.as_raw().cast_unsigned()).difference(&stopped).copied().collect();
        if more.is_empty() {
            break;
        }
        for id in more {
            // ESRCH: it has ended meanwhile.
            kill(Pid::from_raw(id.cast_signed()), Signal::SIGSTOP).ok();
            stopped.insert(id);
        }
    }
    for id in stopped {
        kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL).ok();
    }
}

impl Keep {
    /// Reads that from a file, without the control characters that could confuse a terminal.
    fn read(self, file: &mut File) -> io::Result<String> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut part = |from: u64, bytes: u64| {
            file.seek(SeekFrom::Start(from))?;
            let mut read = Vec::new();
            file.take(bytes).read_to_end(&mut read)?;
            let text = String::from_utf8_lossy(&read).into_owned();
            Ok::<String, io::Error>(text.chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect())
        };
        match self {
            Self::End => {
                let (most, lines) = TAIL;
                let text = part(length.saturating_sub(most), most)?;
                let all: Vec<&str> = text.trim_end().lines().collect();
                Ok(all[all.len().saturating_sub(lines)..].join("\n"))
            }
            Self::Whole if length <= WHOLE => Ok(part(0, length)?.trim_end().to_owned()),
            Self::Whole => {
                let (first, last) = (part(0, WHOLE / 2)?, part(length - WHOLE / 2, WHOLE / 2)?);
                let between = length - WHOLE / 2 * 2;
                Ok(format!("{first}\n({between} bytes are left out here)\n{}", last.trim_end()))
            }
        }
    }
}
