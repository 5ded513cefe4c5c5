//! Beside the recorder: drains what the program prints, and watches the clock.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::spec::{FILLED_LIMIT, RecordSpec};
use crate::spill::Spill;

/// How soon a cancellation is noticed.
const TICK: Duration = Duration::from_millis(50);
/// How long a call may keep others waiting before the bell asks for a look.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why the run must end, or comes to nothing though it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stop {
    TimeOut = 1,
    Cancelled,
    /// It wrote and printed too much.
    TooMuchData,
    /// There are too many ops.
    TooManyCalls,
    /// What it wrote or printed could not be kept.
    NotKept,
}

impl Stop {
    const ALL: [Self; 5] = [Self::TimeOut, Self::Cancelled, Self::TooMuchData, Self::TooManyCalls, Self::NotKept];
}

/// What the recorder's thread and the supervisor share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    stop: AtomicU8,
    /// How many threads wait for their turn.
    pub(crate) waiting: AtomicUsize,
    /// The process to signal; under a lock, so that no one else's process can get its number meanwhile.
    bell: Mutex<Option<i32>>,
}

impl Shared {
    /// Whether the run must end.
    pub(crate) fn stop(&self) -> Option<Stop> {
        let value = self.stop.load(Ordering::Acquire);
        Stop::ALL.into_iter().find(|stop| *stop as u8 == value)
    }

    /// Has the run end, soon: the supervisor sees to it that the recorder notices.
    pub(crate) fn set_stop(&self, stop: Stop) {
        // The first reason is the one to tell.
        let _ = self.stop.compare_exchange(0, stop as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Hands the bell over, or takes it away before it goes.
    pub(crate) fn set_bell(&self, bell: Option<i32>) {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = bell;
    }

    fn ring(&self) {
        if let Some(pid) = *self.bell.lock().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: kill takes numbers only.
            unsafe { libc::kill(pid, libc::SIGUSR1) };
        }
    }
}

/// What came out of the program's pipes: the acks are compared with it, and some are taken from it.
#[derive(Debug, Default)]
pub(crate) struct Printed {
    pub(crate) stdout: Spill,
    pub(crate) stderr: Spill,
}

struct Drain {
    pipe: Option<File>,
    seen: Spill,
}

impl Drain {
    fn new(pipe: OwnedFd) -> io::Result<Self> {
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { pipe: Some(pipe.into()), seen: Spill::default() })
    }

    /// Reads all that is there. Of more than `limit` bytes in all, the rest is not kept.
    fn read(&mut self, echo: bool, limit: u64) -> Result<(), Stop> {
        let mut buffer = [0; 1 << 16];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    // What no recorded call wrote counts, too.
                    if self.seen.length() > limit {
                        return Err(Stop::TooMuchData);
                    }
                    self.seen.append(&buffer[..n]);
                    if self.seen.has_failed() {
                        return Err(Stop::NotKept);
                    }
                    if echo {
                        // Nowhere to tell it if even that fails.
                        let _ = io::stderr().write_all(&buffer[..n]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => self.pipe = None,
            }
        }
        Ok(())
    }
}

/// As [`drain_and_watch`]; if that fails, the run is ended too, since nothing would watch it any more.
pub(crate) fn supervise(
    spec: &RecordSpec,
    shared: &Shared,
    stdout: OwnedFd,
    stderr: OwnedFd,
    done: &OwnedFd,
) -> io::Result<Printed> {
    let printed = drain_and_watch(spec, shared, stdout, stderr, done);
    if printed.is_err() {
        shared.set_stop(Stop::Cancelled);
        shared.ring();
    }
    printed
}

/// Drains both pipes until `done` is closed at its other end; rings the bell when the recorder must look up.
fn drain_and_watch(
    spec: &RecordSpec,
    shared: &Shared,
    stdout: OwnedFd,
    stderr: OwnedFd,
    done: &OwnedFd,
) -> io::Result<Printed> {
    let deadline = Instant::now().checked_add(spec.time_limit);
    let mut drains = [Drain::new(stdout)?, Drain::new(stderr)?];
    let mut waiting_since = None;
    loop {
        let mut fds = vec![PollFd::new(done.as_fd(), PollFlags::POLLIN)];
        for pipe in drains.iter().filter_map(|drain| drain.pipe.as_ref()) {
            fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
        }
        let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // All writers are gone by then, or are none of the program's: what is there is all there will be.
        let finished = fds[0].any().unwrap_or(true);
        for drain in &mut drains {
            if let Err(stop) = drain.read(spec.echo, spec.data_limit.min(FILLED_LIMIT)) {
                shared.set_stop(stop);
            }
        }
        if finished {
            let [stdout, stderr] = drains.map(|drain| drain.seen);
            return Ok(Printed { stdout, stderr });
        }
        if spec.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            shared.set_stop(Stop::Cancelled);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            shared.set_stop(Stop::TimeOut);
        }
        if shared.waiting.load(Ordering::Relaxed) == 0 {
            waiting_since = None;
        } else if waiting_since.is_none() {
            waiting_since = Some(Instant::now());
        }
        let stuck = waiting_since.is_some_and(|since| since.elapsed() >= PATIENCE);
        if stuck {
            waiting_since = None;
        }
        if stuck || shared.stop().is_some() {
            shared.ring();
        }
    }
}
