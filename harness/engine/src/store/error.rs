//! What can be wrong with a results directory.

use std::io;
use std::path::PathBuf;

/// What went wrong with a results directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory could not be read or written.
    #[error("failed to {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `write` …
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged or from another version: {problem}", path.display())]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with its contents.
        problem: String,
    },
    /// No run of that name was found.
    #[error("found no run {run} in {}: tokens need the results of the run that printed them (--results DIR)", root.display())]
    NoRun {
        /// The hash that names the run.
        run: String,
        /// The directory that was searched.
        root: PathBuf,
    },
    /// Of all runs of that name, none came to its end.
    #[error(
        "the run {run} in {} was cut short before it had kept the state of this token: go on with it (harness run \
         --resume {}), or begin it again",
        directory.display(),
        directory.display()
    )]
    CutShort {
        /// The hash that names the run.
        run: String,
        /// The newest of them.
        directory: PathBuf,
    },
    /// The directory holds no run that can be gone on with.
    #[error(
        "there is no run to go on with in {}: it is no results directory, or the run ended before its programs were \
         recorded; begin it again",
        directory.display()
    )]
    Nothing {
        /// The directory.
        directory: PathBuf,
    },
    /// Another run is at work in the directory.
    #[error(
        "another run is at work in {}: wait until it has ended, or name another directory",
        directory.display()
    )]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory has files that no run has left there.
    #[error(
        "cannot put results into {}: there is {name} in it, and nothing says that a run of the harness has left that \
         there; name another directory, a new or an empty one",
        directory.display()
    )]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// The name of a file that is there.
        name: String,
    },
    /// The token names something that the run does not have.
    #[error("the run in {} has no {what}", directory.display())]
    NoSuch {
        /// What the token names.
        what: String,
        /// The run.
        directory: PathBuf,
    },
}
