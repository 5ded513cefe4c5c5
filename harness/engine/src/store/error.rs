//! What can be wrong with a results directory.

use std::io;
use std::path::PathBuf;

/// What went wrong with a results directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("failed to {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged or from another version: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No such run.
    #[error("found no run {run} in {}: tokens need the results of the run that printed them (--results DIR)", root.display())]
    NoRun {
        /// The run's hash.
        run: String,
        /// Where.
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
        /// The run's hash.
        run: String,
        /// The newest of them.
        directory: PathBuf,
    },
    /// A run that cannot be gone on with.
    #[error(
        "there is no run to go on with in {}: it is no results directory, or the run ended before its programs were \
         recorded; begin it again",
        directory.display()
    )]
    Nothing {
        /// Where.
        directory: PathBuf,
    },
    /// Another run works there.
    #[error(
        "another run is at work in {}: wait until it has ended, or name another directory",
        directory.display()
    )]
    Busy {
        /// Where.
        directory: PathBuf,
    },
    /// There are files of somebody else.
    #[error(
        "cannot put results into {}: there is {name} in it, and nothing says that a run of the harness has left that \
         there; name another directory, a new or an empty one",
        directory.display()
    )]
    Foreign {
        /// Where.
        directory: PathBuf,
        /// What is there.
        name: String,
    },
    /// The token names something that the run does not have.
    #[error("the run in {} has no {what}", directory.display())]
    NoSuch {
        /// What.
        what: String,
        /// The run.
        directory: PathBuf,
    },
}
