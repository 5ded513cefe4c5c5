//! Everything that can go wrong before the recorder starts.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use mounts::MountError;
use program::Ended;

use crate::near::Near;

/// Whose fault an [`Error`] is, which decides the exit status of the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Bad usage or input: exit status 2.
    Input,
    /// This machine lacks something (a full disk, no permission): exit status 3.
    Machine,
    /// The workload's own command failed: exit status 4.
    Command,
    /// The caller asked to stop.
    Interrupted,
}

/// One of the programs that a workload runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `build`.
    Build,
    /// `setup`.
    Setup,
    /// `command`, the recorded one.
    Command,
    /// `check`, on a recovered tree.
    Check,
    /// `recover`, on a recovered tree, before a check or a view.
    Recover,
    /// The command of a view, on a recovered tree.
    View,
    /// What changes the output of a view.
    Normalise,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Build => "build",
            Self::Setup => "setup",
            Self::Command => "command",
            Self::Check => "check",
            Self::Recover => "recover",
            Self::View => "view",
            Self::Normalise => "normalise",
        })
    }
}

/// Why a workload cannot be loaded, built or prepared. The messages are whole: they name what was tried, on what, why
/// it failed and, where that can be known, what to do.
#[expect(missing_docs, reason = "each variant's doc explains its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is at `path`.
    #[error("there is no workload {}: no such directory{near}", path.display())]
    NoSuchWorkload { path: PathBuf, near: Near },
    /// `path` is a file.
    #[error("{} is not a directory: a workload is named by the directory that holds its workload.toml", path.display())]
    NotADirectory { path: PathBuf },
    /// `path` is a directory like any other.
    #[error("{} is not a workload: there is no workload.toml in it{near}", path.display())]
    NoManifest { path: PathBuf, near: Near },
    /// `path` is there and cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// What `workload.toml` says is wrong: at this line and column (from 1; in characters), which reads `text`.
    #[error("{}:{line}:{column}: {message}\n  | {text}", path.display())]
    Manifest { path: PathBuf, line: usize, column: usize, text: String, message: String },
    /// `--from` names something else than a directory.
    #[error("cannot start from {}: {reason}", path.display())]
    From { path: PathBuf, reason: String },
    /// A bare command without a word.
    #[error("there is no command to run after `--`")]
    NoCommand,
    /// `{target}` is used, and there is nothing that it could stand for.
    #[error(
        "the {step} of {workload} uses {{target}}, but there is no Cargo.toml in {} or above it: set CARGO_TARGET_DIR, or name the program's path",
        directory.display()
    )]
    NoTarget { step: Step, workload: String, directory: PathBuf },
    /// The program of a step does not exist or cannot be executed.
    #[error("cannot run the {step} of {workload}: {reason}")]
    NoProgram { step: Step, workload: String, reason: String },
    /// The program exists, and the system did not start it.
    #[error("cannot run the {step} of {workload}, `{command}`: {source}")]
    NotStarted { step: Step, workload: String, command: String, source: io::Error },
    /// The program ended otherwise than with exit status 0. `output` is the end of what it printed; may be empty.
    #[error(
        "the {step} of {workload} {}: `{command}`{}{}",
        Ended::from(*status).failure(),
        Output(output),
        Hint(hint)
    )]
    Failed { step: Step, workload: String, command: String, status: ExitStatus, output: String, hint: Option<String> },
    /// The program and its children were killed at the time limit.
    #[error(
        "the {step} of {workload} was killed, since it ran longer than {} s (raise time-limit in its workload.toml, if that is not enough): `{command}`{}",
        limit.as_secs(),
        Output(output)
    )]
    TimedOut { step: Step, workload: String, command: String, limit: Duration, output: String },
    /// The start state could not be made.
    #[error("cannot make the start state of {workload}: {action} {}: {source}", path.display())]
    StartState { workload: String, action: &'static str, path: PathBuf, source: io::Error },
    /// The run directory lies inside the directory that is to be copied into it.
    #[error("cannot copy {} into {}, which lies inside it", from.display(), run.display())]
    InsideItself { from: PathBuf, run: PathBuf },
    /// The run directory holds something already.
    #[error("the run directory {} is not empty", path.display())]
    NotFresh { path: PathBuf },
    /// The run directory cannot appear where `at` says.
    #[error("cannot run {workload}: {source}")]
    At { workload: String, source: MountError },
    /// The caller asked to stop; the program and its children were killed.
    #[error("interrupted during the {step} of {workload}")]
    Interrupted { step: Step, workload: String },
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchWorkload { .. }
            | Self::NotADirectory { .. }
            | Self::NoManifest { .. }
            | Self::Unreadable { .. }
            | Self::Manifest { .. }
            | Self::From { .. }
            | Self::NoCommand
            | Self::NoTarget { .. }
            | Self::InsideItself { .. }
            | Self::NotFresh { .. }
            | Self::NoProgram { .. } => ErrorKind::Input,
            Self::NotStarted { source, .. } => match source.kind() {
                // The file is there, but it or its interpreter is nothing that could be run.
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::ArgumentListTooLong => {
                    ErrorKind::Input
                }
                _ if source.raw_os_error() == Some(nix::libc::ENOEXEC) => ErrorKind::Input,
                _ => ErrorKind::Machine,
            },
            Self::At { source: MountError::Refused { .. }, .. } => ErrorKind::Machine,
            Self::At { .. } => ErrorKind::Input,
            Self::StartState { .. } => ErrorKind::Machine,
            Self::Failed { .. } | Self::TimedOut { .. } => ErrorKind::Command,
            Self::Interrupted { .. } => ErrorKind::Interrupted,
        }
    }
}

struct Output<'a>(&'a str);

impl fmt::Display for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("; it printed nothing");
        }
        f.write_str("; the end of its output:")?;
        self.0.lines().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

struct Hint<'a>(&'a Option<String>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|hint| write!(f, "\n{hint}"))
    }
}
