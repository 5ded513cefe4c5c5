//! Why there is no judgement.

use program::{NotFollowed, RelPath};
use workload::ErrorKind;

use crate::LARGEST_FILE;
use crate::place::TIME_LIMIT;
use crate::unpack::UnpackError;

/// Why there is no judgement.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The program cannot be started.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// The system did not start it.
    #[error("cannot run the check of {name}: {source}")]
    NotStarted {
        /// The workload.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// It finds fault with a run in which nothing crashed.
    #[error("the check of {name} does not hold on the files {when} the command, without any crash: {observed}{said}")]
    Unfit {
        /// The workload.
        name: String,
        /// `before` or `after`.
        when: &'static str,
        /// What it found.
        observed: String,
        /// What it printed, to be put behind that.
        said: String,
    },
    /// A file is too large.
    #[error(
        "the check of {name} cannot be given {path}: it has {} bytes, and files of up to {} MiB can be read whole",
        program::thousands(*size),
        LARGEST_FILE >> 20
    )]
    TooLarge {
        /// The workload.
        name: String,
        /// The file.
        path: RelPath,
        /// Its size, bytes.
        size: u64,
    },
    /// The tree cannot be unpacked.
    #[error("cannot unpack a recovered tree for the check of {name}: {source}")]
    Unpack {
        /// The workload.
        name: String,
        /// Why.
        source: UnpackError,
    },
    /// The host gave it next to nothing.
    #[error(
        "the check of {name} has not ended within {seconds} s, in which it got less than the {} s of processor time that it \
         may take: the host is overloaded",
        TIME_LIMIT.as_secs()
    )]
    Starved {
        /// The workload.
        name: String,
        /// How long it was let run.
        seconds: u64,
    },
    /// A view shows now this and now that.
    #[error(
        "the view {view} of {name} cannot be judged by: two looks at the same files differ, from line {line} on: {one:?}, \
         then {other:?} (normalise names a command that mends it)"
    )]
    Unsteady {
        /// The workload.
        name: String,
        /// The view.
        view: String,
        /// The first line that differs, from 1.
        line: usize,
        /// That line the first time.
        one: String,
        /// The second time.
        other: String,
    },
    /// A view cannot look at files that no crash has touched.
    #[error("the view {view} of {name} cannot look at the files {when} the command, without any crash: {problem}")]
    Blind {
        /// The workload.
        name: String,
        /// The view.
        view: String,
        /// When.
        when: String,
        /// Why.
        problem: String,
    },
    /// What changes the output of a view fails.
    #[error("the command that normalises the view {view} of {name} fails: {ended}: {said}")]
    Normalise {
        /// The workload.
        name: String,
        /// The view.
        view: String,
        /// How it ended.
        ended: String,
        /// What it printed.
        said: String,
    },
    /// A built-in reader that this build does not have.
    #[error("the view {view} of {name} cannot be looked with: this version has no such reader")]
    NoReader {
        /// The workload.
        name: String,
        /// The view.
        view: String,
    },
    /// The files cannot be put where a built-in reader finds them.
    #[error(transparent)]
    Place(#[from] views::PlaceError),
    /// The model in memory cannot follow the program.
    #[error("what {name} leaves when it is killed is not known: {source}")]
    NotFollowed {
        /// The workload.
        name: String,
        /// Why.
        source: NotFollowed,
    },
    /// The caller asked to stop.
    #[error("interrupted during the check of {name}")]
    Interrupted {
        /// The workload.
        name: String,
    },
}

impl CheckError {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Workload(_)
            | Self::NotStarted { .. }
            | Self::Unfit { .. }
            | Self::Unsteady { .. }
            | Self::Blind { .. }
            | Self::Normalise { .. } => ErrorKind::Command,
            Self::TooLarge { .. } | Self::NoReader { .. } | Self::NotFollowed { .. } => ErrorKind::Input,
            Self::Unpack { .. } | Self::Starved { .. } | Self::Place(_) => ErrorKind::Machine,
            Self::Interrupted { .. } => ErrorKind::Interrupted,
        }
    }
}
