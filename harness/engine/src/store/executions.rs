//! The executions that tokens need: what the disk saw while a schedule was executed, and which of its states are shown.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};

use checker::CrashWindow;
use serde::{Deserialize, Serialize};
use storage::{BlockLog, Decision, Image, State};

use super::names::{LARGEST_IMAGE, LARGEST_LOG, execution_name};
use super::{Store, StoreError};
use crate::sum::{Sum, Summing, sum};
use crate::token::Token;

/// What is kept of one execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptExecution {
    /// The disk before the first step, all of it durable.
    pub start: Image,
    /// The writes, flushes and ends of steps that the disk saw.
    pub log: BlockLog,
    /// The states of it that the report shows.
    pub shown: Vec<Shown>,
}

/// A state that the report shows: it stands for an equivalence class, of which a token does not tell all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Index of the epoch in which the machine crashed.
    pub epoch: usize,
    /// The fate of every volatile write.
    pub state: State,
    /// When the states of its class can occur.
    pub window: CrashWindow,
    /// The recovery crash, if the machine crashed again while it recovered from the first one.
    pub recovery_crash: Option<KeptRecoveryCrash>,
}

impl Shown {
    /// Whether it is the state that a token of its execution names.
    pub fn is(&self, token: &Token) -> bool {
        let recovery_crash = self.recovery_crash.as_ref().map(|crash| &crash.name);
        (self.epoch, &self.state, recovery_crash) == (token.epoch, &token.state, token.recovery_crash.as_ref())
    }
}

/// A recovery crash: a second one, while the file system recovered from the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRecoveryCrash {
    /// The short name of its exploration unit, as tokens have it.
    pub name: String,
    /// The decisions of the first crash that recovery settled.
    pub settled: Vec<Decision>,
    /// The writes, flushes and ends of steps that the disk saw.
    pub log: BlockLog,
    /// Index of the epoch of that log in which the machine crashed again.
    pub index: usize,
}

impl Store {
    /// Keeps what one execution left, and which of its states the report shows.
    pub fn keep_execution(
        &self,
        cell: usize,
        schedule: usize,
        (start, log): (&Image, &BlockLog),
        shown: &[Shown],
    ) -> Result<(), StoreError> {
        let name = execution_name(cell, schedule);
        let (image, log_name) = (format!("{name}.image"), format!("{name}.log"));
        let mut bytes = postcard::to_stdvec(&(log, shown)).map_err(|error| self.damaged(&name, error))?;
        bytes.extend(sum(&[&bytes]));
        let save = |file: &mut File| {
            let mut summing = Summing::new(file);
            start.save(&mut summing)?;
            let (sum, file) = summing.end();
            file.write_all(&sum)
        };
        let fail = |source| StoreError::Io { doing: "write", path: self.path(&image), source };
        let kept = self.directory.replace_with(&image, save).map_err(fail);
        kept.and_then(|_| self.write(&log_name, &bytes)).inspect_err(|_| {
            // Half of it is of no use, and on a full disk it takes the room that the report needs.
            let _ = self.directory.remove(&image);
            let _ = self.directory.remove(&log_name);
        })
    }

    /// Reads what one execution left.
    ///
    /// # Errors
    /// It was not kept, cannot be read, or is damaged.
    pub fn execution(&self, cell: usize, schedule: usize) -> Result<KeptExecution, StoreError> {
        let (log, shown) = self.log(cell, schedule)?;
        let name = execution_name(cell, schedule);
        let start = self.image(&format!("{name}.image"))?;
        let recovery_logs = shown.iter().filter_map(|shown| shown.recovery_crash.as_ref()).map(|crash| &crash.log);
        if !recovery_logs.chain([&log]).all(|log| log.fits(start.sectors())) {
            return Err(self.damaged(&format!("{name}.log"), "it holds writes that no such disk can have seen"));
        }
        Ok(KeptExecution { start, log, shown })
    }

    pub(super) fn image(&self, name: &str) -> Result<Image, StoreError> {
        let fail = |source: io::Error| match source.kind() {
            ErrorKind::UnexpectedEof => self.damaged(name, "it is cut short"),
            ErrorKind::InvalidData => self.damaged(name, source),
            _ => StoreError::Io { doing: "read", path: self.path(name), source },
        };
        let file = self.directory.file(name, LARGEST_IMAGE).map_err(fail)?;
        let mut summing = Summing::new(BufReader::new(file));
        let image = Image::load(&mut summing).map_err(fail)?;
        let (sum, file) = summing.end();
        let mut expected = Vec::new();
        // What follows may be holes without an end.
        file.take(1 + size_of::<Sum>() as u64).read_to_end(&mut expected).map_err(fail)?;
        if expected == sum { Ok(image) } else { Err(self.damaged(name, "its checksum does not match")) }
    }

    /// What the disk saw in an execution, and which of its states are shown.
    pub(super) fn log(&self, cell: usize, schedule: usize) -> Result<(BlockLog, Vec<Shown>), StoreError> {
        let name = format!("{}.log", execution_name(cell, schedule));
        if !self.directory.has(&name) {
            let what = format!("kept execution of schedule {schedule} in cell {cell}");
            return Err(StoreError::NoSuch { what, directory: self.directory().into() });
        }
        let bytes = self.read(&name, LARGEST_LOG)?;
        match bytes.split_last_chunk() {
            Some((body, expected)) if sum(&[body]) == *expected => {
                postcard::from_bytes(body).map_err(|error| self.damaged(&name, error))
            }
            _ => Err(self.damaged(&name, "its checksum does not match")),
        }
    }
}
