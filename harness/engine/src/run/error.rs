//! Why a run comes to nothing.

use std::path::PathBuf;

use vm::KernelError;

use crate::permit::ADVICE;
use crate::store::StoreError;
use crate::subject::SubjectError;
use crate::worker::WorkError;

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A workload could not be built, recorded or judged.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// No machine can run the guests.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Cells could not be explored.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// The results directory could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The report could not be written.
    #[error(transparent)]
    Report(#[from] report::FileError),
    /// The run was begun on a kind of machine that this host does not have.
    #[error(
        "the run was begun on {was}, and this host can only go on with {is}: counts would be of two kinds; go on with it \
         on a host that has {was}, or begin it again"
    )]
    OtherMachine {
        /// What the run was begun with.
        was: String,
        /// What this host has.
        is: String,
    },
    /// Guests here have another kernel than those that the run was begun with.
    #[error(
        "the run in {} was begun on Linux {was}, and guests here have Linux {is}: what it has found is of other crash \
         states; go on with it where guests have the first kernel, or begin it again",
        directory.display()
    )]
    OtherKernel {
        /// The run's results directory.
        directory: PathBuf,
        /// What the run was begun with.
        was: String,
        /// What this host has.
        is: String,
    },
    /// A tool, this harness or a check is another than when the run was begun.
    #[error(
        "the run in {} was begun with another {what} ({was}; here: {is}): what it has found may not be what would be \
         found now; begin it again",
        directory.display()
    )]
    Changed {
        /// The run's results directory.
        directory: PathBuf,
        /// What differs: a tool, or a check.
        what: String,
        /// What the run was begun with.
        was: String,
        /// What this host has.
        is: String,
    },
    /// The run has a check that stands in its results directory, and the user has not permitted to run it.
    #[error(
        "the run in {} has {what} of its own for {name}, and what stands in a results directory is not run unasked:\n  \
         {check}\n{ADVICE}",
        directory.display()
    )]
    NotPermitted {
        /// The run's results directory.
        directory: PathBuf,
        /// The name of the workload.
        name: String,
        /// What would be run: `a check`, `views` …
        what: &'static str,
        /// The commands that would be run.
        check: String,
    },
    /// The run that is to be judged has no workload of that name.
    #[error("the run in {} has no workload named {name}; it has {has}", directory.display())]
    NotOfRun {
        /// The run's results directory.
        directory: PathBuf,
        /// The name of the workload.
        name: String,
        /// The names of the workloads that the run has.
        has: String,
    },
    /// The results of judging a run would overwrite it.
    #[error("{} holds the run that is to be judged: name another directory for the results", directory.display())]
    SamePlace {
        /// The run's results directory.
        directory: PathBuf,
    },
    /// It is not known which kernel the guests of the run had.
    #[error(
        "the run in {} does not say which kernel its guests had, so that what it has found may be of other crash states \
         than guests have here: begin it again",
        directory.display()
    )]
    UnknownKernel {
        /// The run's results directory.
        directory: PathBuf,
    },
    /// The user stopped the run before there was anything to report.
    #[error("interrupted")]
    Interrupted,
}
