//! Why a workload cannot be tested.

use checker::RuleError;
use checks::CheckError;
use program::Ended;
use record::RecordError;
use workload::PatternError;

use super::size::{LARGEST, MOST_LEFT, MOST_ON_DISK, MOST_WRITTEN};

/// Why a workload cannot be tested.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Building or preparing it.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// Recording it.
    #[error("failed to record {name}: {source}")]
    Record {
        /// The workload.
        name: String,
        /// Why.
        source: RecordError,
    },
    /// Its command failed.
    #[error("the command of {name} {}{said}", ended.failure())]
    Command {
        /// The workload.
        name: String,
        /// How it ended.
        ended: Ended,
        /// The end of what it printed, in words.
        said: String,
    },
    /// Its files are more than a guest can hold.
    #[error(
        "{name} is too large: its files after the run and what it writes to them are {} MiB together without zeros, and a \
         guest has memory for {} MiB: test it with smaller files",
        bytes.div_ceil(1 << 20),
        LARGEST >> 20
    )]
    TooLarge {
        /// The workload.
        name: String,
        /// Files after the run, and data of all writes, bytes, without blocks of zeros.
        bytes: u64,
    },
    /// It writes more than a guest can cache.
    #[error(
        "{name} is too large: it writes {} MiB to its files, and a guest's cache has room for {} MiB: have it write less, or \
         allocate (fallocate, ftruncate) what it fills with zeros",
        bytes.div_ceil(1 << 20),
        MOST_WRITTEN >> 20
    )]
    TooMuchWritten {
        /// The workload.
        name: String,
        /// Data of all writes, bytes.
        bytes: u64,
    },
    /// Its files are longer than can be looked at.
    #[error(
        "{name} is too large: its files after the run have {} MiB together, zeros included, and {} MiB can be looked at: \
         test it with smaller files",
        bytes.div_ceil(1 << 20),
        MOST_LEFT >> 20
    )]
    TooMuchLeft {
        /// The workload.
        name: String,
        /// Files after the run, bytes.
        bytes: u64,
    },
    /// Its disk would be larger than any that is made.
    #[error(
        "{name} is too large: what it writes, copies and allocates is {} MiB, and no disk is made for more than {} MiB",
        bytes.div_ceil(1 << 20),
        MOST_ON_DISK >> 20
    )]
    NoDisk {
        /// The workload.
        name: String,
        /// Files before the run, and what all calls write, copy and allocate, bytes.
        bytes: u64,
    },
    /// Its invariants do not fit what it does.
    #[error("{name}: {source}")]
    Rules {
        /// The workload.
        name: String,
        /// Why.
        source: Box<RuleError>,
    },
    /// What is to be ignored is too much to be told.
    #[error("{name}: {source}")]
    Ignore {
        /// The workload.
        name: String,
        /// Why.
        source: PatternError,
    },
    /// No fresh directory.
    #[error("failed to make a fresh directory to run {name} in: {source}")]
    Directory {
        /// The workload.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// Its own check or a view cannot be run, or does not hold where nothing crashed.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Views are wanted, and nobody looks.
    #[error("a defect of the harness: nobody looks through the views of {name}")]
    NobodyLooks {
        /// The workload.
        name: String,
    },
}
