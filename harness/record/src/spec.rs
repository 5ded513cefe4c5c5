//! What is to be recorded, and why it may fail.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use program::thousands;

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

/// What a program may write and print while it is recorded, bytes, unless it is asked otherwise: as much as can be explored of
/// a workload. A guest keeps all of it in its cache, zeros too.
pub const DATA_LIMIT: u64 = 192 << 20;

/// How much of it may be other than zeros, bytes: harness and guest hold that in memory. Blocks of zeros are held once.
pub const FILLED_LIMIT: u64 = 160 << 20;

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
    /// Once the program has written to files, printed and sent more bytes than this together, it and all that it started are killed.
    /// It is held in memory, and in temporary files until then. Of what is not zeros, [`FILLED_LIMIT`] counts.
    pub data_limit: u64,
    /// Set it to true to kill the program and to end the recording with [`RecordError::Cancelled`].
    pub cancel: Option<Arc<AtomicBool>>,
    /// Whether what the program prints is copied to the standard error of this process.
    pub echo: bool,
    /// What becomes of asynchronous I/O.
    pub io_uring: IoUring,
    /// Directories where `directory` appears to the program, too: absolute paths. See [`mounts`].
    pub at: Vec<PathBuf>,
}

impl RecordSpec {
    /// A run of `command` in `directory`: no input, no echo, one minute, [`DATA_LIMIT`], no asynchronous I/O.
    pub fn new<S: Into<OsString>>(command: impl IntoIterator<Item = S>, directory: impl Into<PathBuf>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            directory: directory.into(),
            env: Vec::new(),
            stdin: Stdin::Null,
            time_limit: Duration::from_secs(60),
            data_limit: DATA_LIMIT,
            cancel: None,
            echo: false,
            io_uring: IoUring::default(),
            at: Vec::new(),
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
    /// The directory cannot appear where it is to.
    #[error(transparent)]
    At(#[from] mounts::MountError),
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
    /// The program wrote and printed more than [`RecordSpec::data_limit`], or more than [`FILLED_LIMIT`] other than zeros, and was
    /// killed.
    #[error(
        "it wrote {} to files and {} to its output and to sockets, more than the {} that a recording can hold{}, and was killed: \
         have it write and print less",
        Size(*written),
        Size(*printed),
        Size(*limit),
        if *filled { " of what is not zeros" } else { "" }
    )]
    TooMuchData {
        /// What it wrote to recorded files until then, bytes.
        written: u64,
        /// What it printed and sent until then, bytes.
        printed: u64,
        /// The limit, bytes.
        limit: u64,
        /// Whether it is that of what is not zeros.
        filled: bool,
    },
    /// The program made more calls than can be held, and was killed.
    #[error(
        "it made {} calls that a recording keeps, and these take more than the {} that they may, and was killed: have it do less",
        thousands(*calls as u64),
        Size(*limit)
    )]
    TooManyCalls {
        /// How many are recorded.
        calls: usize,
        /// What they may take, bytes.
        limit: u64,
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

/// A number of bytes, for people: `161.5 MiB`.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes < 1 << 10 => write!(f, "{bytes} bytes"),
            bytes if bytes < 1 << 20 => write!(f, "{} KiB", bytes >> 10),
            // Rounded down: what was held back by a limit shall not look like less than that limit.
            bytes => write!(f, "{}.{} MiB", thousands(bytes >> 20), ((bytes & 0xf_ffff) * 10) >> 20),
        }
    }
}

impl RecordError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
