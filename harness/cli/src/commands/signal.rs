//! Signals, and what must not be left behind when one of them ends the process.

use std::fs::{self, File, Permissions};
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::libc;
use report::ExitStatus;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use super::failure::say;
use super::stale;

/// The directories for everything temporary, for a thread that ends the process.
static SCRATCH: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// How its name begins.
const PREFIX: &str = "crash-harness-";

/// The bytes of a socket's path (unix(7): 107 and a zero), less those of the longest name that a guest's socket has in
/// our scratch directory.
const LONGEST: usize = 107 - "/guest-XXXXXX/mailbox.inner".len();

/// A directory for everything temporary that this process makes. It goes when this is dropped, or with [`leave`].
///
/// Nobody else can look into it: there are copies of what the user may read and others may not.
pub struct Scratch {
    _directory: Kept,
    /// For what is read many times over, in memory.
    _memory: Option<Kept>,
}

/// A directory, and a lock that is held as long as this process lives: what is left of one that was killed is told from
/// what is in use by it.
struct Kept {
    directory: TempDir,
    _lock: File,
}

impl Kept {
    /// A fresh one in `place`. What is left there of processes that were killed is removed.
    fn new(place: &Path) -> std::io::Result<Self> {
        stale::remove(place, PREFIX);
        let mut builder = tempfile::Builder::new();
        let directory = builder.prefix(PREFIX).permissions(Permissions::from_mode(0o700)).tempdir_in(place)?;
        let lock = stale::lock(directory.path())?;
        Ok(Self { directory, _lock: lock })
    }
}

impl Scratch {
    /// Made below `$TMPDIR`, or below `/tmp`. What is left there of processes that were killed is removed.
    pub fn new() -> Result<Self, Failure> {
        let place = std::env::temp_dir();
        let below = format!("below {}; TMPDIR can name another place", place.display());
        let kept = Kept::new(&place)
            .map_err(|error| Failure::io(&error, format!("failed to make a directory {below}: {error}")))?;
        let path = kept.directory.path().to_path_buf();
        check(&path).map_err(|problem| Failure::usage(format!("a guest's sockets cannot be {below}: {problem}")))?;
        // Where there is none, all goes to the one above.
        let memory = Kept::new(Path::new(views::MEMORY)).ok();
        let in_memory = memory.as_ref().map(|kept| kept.directory.path().to_path_buf());
        // Fails if it was called before, which a second command in one process would do: its files go elsewhere, and
        // are cleaned up one by one.
        let _ = tempfile::env::override_temp_dir(&path);
        views::keep_in(in_memory.clone().unwrap_or_else(|| path.clone()));
        let _ = SCRATCH.set(std::iter::once(path).chain(in_memory).collect());
        Ok(Self { _directory: kept, _memory: memory })
    }
}

/// Whether machines can be told of sockets in this directory.
fn check(directory: &Path) -> Result<(), String> {
    let path = directory.as_os_str().as_encoded_bytes();
    if path.len() > LONGEST {
        return Err(format!("the path would be longer than the {LONGEST} bytes that there is room for"));
    }
    // QEMU and User Mode Linux separate options by these.
    if let Some(byte) = path.iter().find(|byte| b" ,:\n\t\"".contains(byte)) {
        return Err(format!("the path must not hold {:?}", char::from(*byte)));
    }
    Ok(())
}

/// Ends the process at once, and leaves nothing behind: guests and recorded programs end with it.
fn leave(status: ExitStatus) -> ! {
    for scratch in SCRATCH.get().into_iter().flatten() {
        // Other threads and recorded programs may still be making files there: so more than once.
        for _ in 0..10 {
            if !scratch.exists() || fs::remove_dir_all(scratch).is_ok() {
                break;
            }
        }
    }
    std::process::exit(status as i32)
}

/// What to do when a signal asks us to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// End at once.
    AtOnce,
    /// Say this, set [`Signals::stop`], and end at once when a second signal comes, or after [`GRACE`].
    Say(&'static str),
}

/// How long it may take to end in good order. Something that never ends may be waited for: a reader of our output that
/// does not read, a file on a server that does not answer.
const GRACE: Duration = Duration::from_secs(20);

/// SIGINT, SIGTERM and SIGHUP.
pub struct Signals {
    /// Set when the first one has come.
    pub stop: Arc<AtomicBool>,
    first: Arc<AtomicU8>,
}

impl Signals {
    /// Handles them from now on.
    pub fn handle(manner: Manner) -> Result<Self, Failure> {
        let failed = |error| Failure::machine(format!("failed to prepare for signals: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let kinds = [
            (SignalKind::interrupt(), ExitStatus::Interrupted),
            (SignalKind::terminate(), ExitStatus::Terminated),
            (SignalKind::hangup(), ExitStatus::HungUp),
        ];
        let mut signals = Vec::new();
        let inside = runtime.enter();
        for (kind, status) in kinds {
            // `nohup` means what it says.
            if kind != SignalKind::hangup() || !is_ignored(kind) {
                signals.push((signal(kind).map_err(failed)?, status));
            }
        }
        drop(inside);
        let (stop, first) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(0)));
        let handled = Self { stop: stop.clone(), first: first.clone() };
        // A thread of its own: whatever the others wait for, this one listens.
        std::thread::spawn(move || {
            if let Manner::Say(text) = manner {
                let status = runtime.block_on(next(&mut signals));
                first.store(status as u8, Ordering::Relaxed);
                stop.store(true, Ordering::Release);
                say(text);
                let second = runtime.block_on(async { tokio::time::timeout(GRACE, next(&mut signals)).await });
                leave(second.unwrap_or_else(|_| {
                    say(&format!("stopped at once: it took more than {} s to stop in good order", GRACE.as_secs()));
                    status
                }))
            }
            leave(runtime.block_on(next(&mut signals)))
        });
        Ok(handled)
    }

    /// What to exit with after the first signal.
    pub fn status(&self) -> ExitStatus {
        let first = self.first.load(Ordering::Relaxed);
        [ExitStatus::HungUp, ExitStatus::Terminated]
            .into_iter()
            .find(|status| *status as u8 == first)
            .unwrap_or(ExitStatus::Interrupted)
    }
}

async fn next(signals: &mut [(Signal, ExitStatus)]) -> ExitStatus {
    std::future::poll_fn(|context| {
        let came =
            signals.iter_mut().find_map(|(signal, status)| signal.poll_recv(context).is_ready().then_some(*status));
        came.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}

/// Returns whether a signal is ignored, which a process inherits from the one that started it (signal(7)).
fn is_ignored(kind: SignalKind) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, sigaction(2) only writes the present one to where the third argument points.
    let result = unsafe { libc::sigaction(kind.as_raw_value(), std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all bytes being zero is a value of this structure, and sigaction(2) has written another at most.
    let action = unsafe { action.assume_init() };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_told_from_others() {
        // Rust's runtime ignores SIGPIPE when a program starts (library/std/src/sys/pal/unix/mod.rs, `reset_sigpipe`).
        assert!(is_ignored(SignalKind::pipe()));
        assert!(!is_ignored(SignalKind::from_raw(libc::SIGTSTP)));
    }

    #[test]
    fn places_for_sockets() {
        assert_eq!(check(Path::new("/tmp/crash-harness-abcdef")), Ok(()));
        assert_eq!(check(&Path::new("/").join("x".repeat(LONGEST - 1))), Ok(()));
        assert!(check(&Path::new("/").join("x".repeat(LONGEST))).is_err());
        for wrong in ["/a b", "/a,b", "/a:b"] {
            assert!(check(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
