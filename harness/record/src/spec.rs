//! What is to be recorded, and why it may fail.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::SnapshotError;

/// What the program reads from its standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    #[default]
    Null,
    /// The content of a file, opened before the program starts.
    File(PathBuf),
}

/// What becomes of `io_uring_setup` and `io_setup`, with which asynchronous I/O begins: it cannot be followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoUring {
    /// They fail with ENOSYS, as under a kernel without them or in a container that refuses them: programs fall back to calls
    /// that are recorded. [`program::Trace::refused`] says so.
    #[default]
    Refuse,
    /// They are made; what is done to files through them is an unmodelled call.
    Allow,
}

/// One run to record.
#[derive(Clone, Debug)]
pub struct RecordSpec {
    /// The program and its arguments. A name without a slash is searched in the program's `PATH`; one with a slash
    /// is taken relative to `directory`.
    pub command: Vec<OsString>,
    /// The program's working directory; what it does to files below it is recorded.
    pub directory: PathBuf,
    /// Added to (or replacing in) the environment of this process.
    pub env: Vec<(OsString, OsString)>,
    /// The program's standard input.
    pub stdin: Stdin,
    /// After this time the program and all that it started are killed.
    pub time_limit: Duration,
    /// Set it to true to kill the program and to end the recording with [`RecordError::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
    /// Whether what the program prints is copied to the standard error of this process.
    pub echo: bool,
    /// What becomes of asynchronous I/O.
    pub io_uring: IoUring,
}

impl RecordSpec {
    /// A run of `command` in `directory`: no input, no echo, one minute, no asynchronous I/O.
    pub fn new<S: Into<OsString>>(command: impl IntoIterator<Item = S>, directory: impl Into<PathBuf>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            directory: directory.into(),
            env: Vec::new(),
            stdin: Stdin::Null,
            time_limit: Duration::from_secs(60),
            cancel: None,
            echo: false,
            io_uring: IoUring::default(),
        }
    }
}

/// Why a run could not be recorded. That the program itself failed is no such reason: see [`exit_status`].
///
/// [`exit_status`]: crate::exit_status
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// No program was named.
    #[error("no command to record: name a program after `--`")]
    NoCommand,
    /// The directory cannot be used.
    #[error("cannot record in {}: {source}", path.display())]
    Directory {
        /// The directory as given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory cannot be read before or after the run.
    #[error("cannot take a snapshot of the recorded directory: {0}")]
    Snapshot(#[from] SnapshotError),
    /// An argument or variable that no program can be given.
    #[error("cannot pass {0:?} to a program: it holds a NUL byte")]
    Nul(OsString),
    /// The file that was to be the standard input cannot be opened.
    #[error("cannot open {} as the program's input: {source}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No such program.
    #[error("program {0:?} not found: give its full path, or check PATH")]
    NotFound(String),
    /// The program is there but cannot be started.
    #[error("cannot start {program:?}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// This machine forbids tracing.
    #[error(
        "cannot trace a program here ({what}: {source}): recording needs Linux 5.3 or later with seccomp, and leave to ptrace; in a \
         container add --cap-add=SYS_PTRACE, and check that kernel.yama.ptrace_scope is below 3"
    )]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The program, or something that it started, went on for too long, and was killed.
    #[error(
        "{what} was still running after {} s and was killed: raise the time limit, or make it end by itself{said}",
        limit.as_secs_f32()
    )]
    TimeOut {
        /// Who: the command, or what it left behind.
        what: &'static str,
        /// The limit.
        limit: Duration,
        /// The end of what the command and its children had printed, as [`said`] puts it; empty if that was echoed.
        ///
        /// [`said`]: crate::said
        said: String,
    },
    /// [`RecordSpec::cancel`] was set.
    #[error("the recording was cancelled")]
    Cancelled,
    /// A system call of the recorder failed.
    #[error("the recorder cannot go on ({what}): {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl RecordError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
