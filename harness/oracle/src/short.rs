//! Outcomes of workloads in short, so that those of one set of schedules can be kept and held against those of another.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use engine::subject::{Bounds, Subject, SubjectError};
use program::Trace;
use sha2::{Digest, Sha256};
use workload::Workload;

use crate::native::Outcome;

/// An outcome without its tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Short {
    /// The first eight bytes of the SHA-256 of the outcome's text, in hexadecimal digits.
    pub hash: String,
    /// How many promises had been given.
    pub promises: usize,
}

impl Short {
    /// Of this outcome.
    pub fn of(outcome: &Outcome) -> Self {
        let mut hash = hex::encode(Sha256::digest(outcome.to_string()));
        hash.truncate(16);
        Self { hash, promises: outcome.promises }
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.hash, self.promises)
    }
}

/// An outcome of a workload on a file system, as it is kept in a file: one line each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// The workload.
    pub workload: String,
    /// The file system.
    pub kind: String,
    /// The outcome.
    pub short: Short,
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let wrong = || format!("not an outcome: {line}");
        let words: Vec<&str> = line.split(' ').collect();
        let [workload, kind, hash, promises] = words[..] else { return Err(wrong()) };
        let short = Short { hash: hash.into(), promises: promises.parse().map_err(|_| wrong())? };
        Ok(Self { workload: workload.into(), kind: kind.into(), short })
    }
}

/// The name of the workload in this directory, and what it does.
pub fn record(directory: &Path) -> Result<(String, Trace), SubjectError> {
    let workload = Workload::load(directory)?;
    let stop = Arc::new(AtomicBool::new(false));
    let subject = Subject::record(&workload, Bounds::default(), Default::default(), &stop)?;
    Ok((subject.name, subject.trace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let short = Short::of(&Outcome { tree: "{f:O}".into(), promises: 2 });
        assert_eq!((short.hash.len(), short.promises), (16, 2));
        let kept: Kept = format!("append_log xfs {short}").parse().unwrap();
        assert_eq!(kept, Kept { workload: "append_log".into(), kind: "xfs".into(), short });
        assert!("append_log xfs".parse::<Kept>().is_err());
    }
}
