//! What a run has seen so far, kept as it is seen: the journal of observations.
//!
//! It keeps what guests saw, and nothing that was concluded from it. So a run that was killed can go on, and a run that is
//! over can be judged again, under other invariants, without mounting a state anew ([`crate::judge`]).
//!
//! The lines are those of [`line`]; before all else in it, each has a checksum of itself and of the run's hash. A kill can
//! cut the last line short; it is then forgotten. Any other line whose checksum is wrong is damaged, and the run is
//! refused. Some entries of each cell are looked at again when a run goes on.
//! Keys depend on nothing but the structure of the execution and the prefix, so a line of a run whose executions came out
//! differently is never used.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, PoisonError};

use checker::Observation;
use storage::{BlockLog, Decision, Recovery, State};

use self::file::{LARGEST, failed, load, seal_line};
use self::known::{Place, chosen, settled};
use self::line::{Id, KeptRecovery, Line, Visit, name_of, pack};
use self::names::Names;
use crate::store::{Store, StoreError};
use crate::unit::ToVisit;

mod file;
mod known;
pub mod line;
mod names;

pub use file::seal;
pub use known::{Known, Observed, Of, Record, decided};

/// The file's name in a results directory.
pub const NAME: &str = "journal.jsonl";

/// The journal of a run that is at work.
pub struct Journal {
    run: String,
    known: Known,
    /// Those that are looked at again.
    again: HashSet<Place>,
    writer: Mutex<Option<Writer>>,
}

struct Writer {
    file: File,
    names: Names,
    /// The executions, by the hashes of their logs.
    executions: HashMap<(usize, usize), Id>,
}

impl Journal {
    /// A journal that keeps nothing.
    pub fn none() -> Self {
        Self { run: String::new(), known: Known::default(), again: HashSet::new(), writer: Mutex::new(None) }
    }

    /// Goes on with the journal of the run of this hash, or begins it. Which entries are looked at again depends on `seed`.
    ///
    /// # Errors
    /// It cannot be read or written, or is damaged.
    pub fn open(store: &Store, run: &str, seed: u64) -> Result<Self, StoreError> {
        let io = |source| failed(store, source);
        let (known, whole) = load(store, run)?.unwrap_or_default();
        // What is found is not written to a file that was there: it may have other names. And not after half a line.
        let files = store.files();
        let copy = |new: &mut File| match files.file(NAME, LARGEST) {
            Ok(old) => io::copy(&mut old.take(whole), new).map(drop),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        let file = files.replace_with(NAME, copy).map_err(io)?;
        let again = chosen(&known, seed);
        let executions = known.executions.iter().map(|(at, shape)| (*at, Id::of_value(shape))).collect();
        let writer = Writer { file, names: Names::of(&known), executions };
        Ok(Self { run: run.into(), known, again, writer: Mutex::new(Some(writer)) })
    }

    /// Begins the journal of a run with these lines, of another run's journal.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(store: &Store, run: &str, lines: &[Line]) -> Result<(), StoreError> {
        let write = |file: &mut File| {
            let mut file = io::BufWriter::new(file);
            for line in lines {
                file.write_all(seal_line(run, line).as_bytes())?;
            }
            file.flush()
        };
        store.files().replace_with(NAME, write).map(drop).map_err(|source| failed(store, source))
    }

    /// Whether what was seen before is looked at again.
    pub fn is_looked_at_again(&self, cell: usize, entry: &ToVisit) -> bool {
        self.again.contains(&(cell, entry.unit.key, entry.branch.key))
    }

    /// What was seen before.
    pub fn find(&self, cell: usize, entry: &ToVisit) -> Option<Record> {
        self.known.find(cell, entry)
    }

    /// Keeps what was seen when a branch was entered: what was settled, what all states of its equivalence class look
    /// like under the read plan of this hash, and what recovery wrote.
    ///
    /// # Errors
    /// It cannot be kept: the first time, and then nothing more is. A run can do without, but not go on where it was.
    pub fn add(
        &self,
        cell: usize,
        entry: &ToVisit,
        plan: Id,
        (decisions, observation, recovery): (&[Decision], &Observation, Option<&Recovery>),
    ) -> io::Result<()> {
        // Before the lock: what a tree holds may be large.
        let id = name_of(observation, plan);
        self.write(|writer, lines| {
            let observation = writer.names.observation(id, observation, plan, lines);
            let recovery = recovery
                .map(|Recovery { class, log }| KeptRecovery { settled: settled(class.decisions()), log: pack(log) });
            let own = settled(&decisions[entry.branch.depth()..]);
            let (unit, branch) = (Id(entry.unit.key), Id(entry.branch.key));
            lines.push(Line::Visit(Visit { cell, unit, branch, settled: own, observation, recovery }));
        })
    }

    /// Keeps what the disk saw while a schedule was executed.
    ///
    /// # Errors
    /// As [`Journal::add`].
    pub fn add_execution(&self, cell: usize, schedule: usize, log: &BlockLog) -> io::Result<()> {
        self.write(|writer, lines| {
            let log = pack(log);
            let id = Id::of(&log);
            if writer.executions.insert((cell, schedule), id) != Some(id) {
                lines.push(Line::Execution { cell, schedule, log });
            }
        })
    }

    /// Keeps what a state looks like that was built as a whole, under the read plan of this hash.
    ///
    /// # Errors
    /// As [`Journal::add`].
    pub fn add_look(
        &self,
        cell: usize,
        unit: &explore::Key,
        state: &State,
        plan: Id,
        observation: &Observation,
    ) -> io::Result<()> {
        let id = name_of(observation, plan);
        self.write(|writer, lines| {
            if let Some(observation) = writer.names.observation(id, observation, plan, lines) {
                lines.push(Line::Look { cell, unit: Id(*unit), state: state.clone(), observation });
            }
        })
    }

    fn write(&self, make: impl FnOnce(&mut Writer, &mut Vec<Line>)) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = writer.as_mut() else { return Ok(()) };
        let mut lines = Vec::new();
        make(open, &mut lines);
        let text: String = lines.iter().map(|line| seal_line(&self.run, line)).collect();
        open.file.write_all(text.as_bytes()).inspect_err(|_| *writer = None)
    }
}

#[cfg(test)]
mod tests;
