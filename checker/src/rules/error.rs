//! Why invariants cannot be turned into rules.

use program::RelPath;

use super::MOST_HISTORY;
use crate::{Invariant, Record};

/// Why invariants cannot be turned into rules for this trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The path of an invariant.
    #[error(
        "the invariant {invariant} names {path}, which never exists while the command runs; the command changes {changed}"
    )]
    UnknownPath {
        /// The invariant.
        invariant: Invariant,
        /// What it names.
        path: RelPath,
        /// What it could have named.
        changed: String,
    },
    /// Invariants speak about files and symbolic links.
    #[error("the invariant {invariant} names {path}, which is a directory or special file: name a file in it")]
    NotAFile {
        /// The invariant.
        invariant: Invariant,
        /// What it names.
        path: RelPath,
    },
    /// The text of an ack.
    #[error(
        "the invariant durable-after waits for the ack {text:?}, which the command never printed; it printed {printed}"
    )]
    NoAck {
        /// What was waited for.
        text: String,
        /// The beginning of what was printed.
        printed: String,
    },
    /// No exit in the trace.
    #[error(
        "the invariant durable-after exit cannot be checked: the trace does not hold the end of the command; record it again"
    )]
    NoExit,
    /// Nothing to hold.
    #[error(
        "the command changed no file, so there is nothing to check: name invariants, or check that the command does its work"
    )]
    NothingChanged,
    /// The command does not do what `append-only` is about.
    #[error(
        "the invariant append-only names {path}, but the command leaves no file there that begins with what was there \
         before: it does not only append to it"
    )]
    NotAppended {
        /// What it names.
        path: RelPath,
    },
    /// The end of the file after the run is no end of a record.
    #[error(
        "the invariant append-only says that a record of {path} is {record}, but the command itself leaves {size} \
         bytes, which end within one"
    )]
    OpenRecord {
        /// What it names.
        path: RelPath,
        /// What a record is said to be.
        record: Record,
        /// The size after the run, bytes.
        size: u64,
    },
    /// Two invariants contradict each other.
    #[error("the invariant append-only names {path} twice, with different records: keep one of them")]
    Contradiction {
        /// What both name.
        path: RelPath,
    },
    /// A marker that says nothing.
    #[error(
        "the invariant {invariant} waits for {path}, but the command does not make it, or leaves it as it was: name the \
         file or symbolic link that the command puts into place last"
    )]
    NoMarker {
        /// The invariant.
        invariant: Invariant,
        /// The marker.
        path: RelPath,
    },
    /// A tree that is not there.
    #[error("the invariant {invariant} is about {path}, where nothing is after the command")]
    NothingBelow {
        /// The invariant.
        invariant: Invariant,
        /// What it names.
        path: RelPath,
    },
    /// Nothing to preserve.
    #[error("the invariant metadata-preserved names {path}, which is no file before the command runs")]
    NoOldFile {
        /// What it names.
        path: RelPath,
    },
    /// Too many contents to hold.
    #[error(
        "the invariants ask for {} MiB of former contents of {path} and other files, and {} MiB can be held: test with \
         smaller files or fewer changes",
        bytes.div_ceil(1 << 20),
        MOST_HISTORY >> 20
    )]
    TooMuchHistory {
        /// The first file that is too much.
        path: RelPath,
        /// Bytes up to and with that file.
        bytes: u64,
    },
}
