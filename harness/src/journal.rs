//! What a run has found so far, kept as it is found, so that a run which was killed can go on.
//!
//! One line of JSON for each branch that was entered: its epoch and the branch itself, by their keys, what the run
//! settled beyond the branch's prefix, and what is wrong. A kill can cut the last line short; it is then forgotten.
//! Keys depend on nothing but the structure of the replay and the prefix, so a line of a run whose replays came out
//! differently is never used.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use checker::Finding;
use disk::Decision;
use serde::{Deserialize, Serialize};

use crate::front::Entry;

/// The file's name in a results directory.
pub const NAME: &str = "journal.jsonl";

/// What entering a branch came to.
#[derive(Debug)]
pub struct Record {
    /// All that was settled, the branch's prefix first.
    pub decisions: Vec<Decision>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Cell, epoch, branch.
type Place = (usize, [u8; 16], [u8; 16]);

type Known = HashMap<Place, (Vec<Settled>, Vec<Finding>)>;

/// The journal of a run.
pub struct Journal {
    known: Known,
    file: Mutex<Option<File>>,
}

/// One decision.
type Settled = (u32, u32, bool);

#[derive(Serialize, Deserialize)]
struct Line {
    cell: usize,
    epoch: String,
    branch: String,
    settled: Vec<Settled>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
}

impl Journal {
    /// A journal that keeps nothing.
    pub fn none() -> Self {
        Self { known: HashMap::new(), file: Mutex::new(None) }
    }

    /// Goes on with the journal in `directory`, or begins it.
    ///
    /// # Errors
    /// It cannot be read or written; with the path of the file.
    pub fn open(directory: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let path = directory.join(NAME);
        let fail = |error| (path.clone(), error);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        let (known, whole) = read(&path).map_err(fail)?;
        // What follows must not be appended to half a line.
        file.set_len(whole).map_err(fail)?;
        Ok(Self { known, file: Mutex::new(Some(file)) })
    }

    /// What was found before.
    pub fn find(&self, cell: usize, entry: &Entry) -> Option<Record> {
        let (settled, findings) = self.known.get(&(cell, entry.unit.key, entry.branch.key))?;
        let mut decisions = entry.branch.prefix();
        decisions.extend(settled.iter().map(|&(write, unit, survived)| Decision { write, unit, survived }));
        Some(Record { decisions, findings: findings.clone() })
    }

    /// Keeps what was found.
    ///
    /// # Errors
    /// It cannot be kept: the first time, and then nothing more is. A run can do without, but not go on where it was.
    pub fn add(&self, cell: usize, entry: &Entry, decisions: &[Decision], findings: &[Finding]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = file.as_mut() else { return Ok(()) };
        let own = &decisions[entry.branch.depth()..];
        let settled = own.iter().map(|decision| (decision.write, decision.unit, decision.survived)).collect();
        let line = Line {
            cell,
            epoch: hex(&entry.unit.key),
            branch: hex(&entry.branch.key),
            settled,
            findings: findings.to_vec(),
        };
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        open.write_all(&text).inspect_err(|_| *file = None)
    }
}

/// Reads the lines that are whole, and how many bytes these are.
fn read(path: &Path) -> io::Result<(Known, u64)> {
    let mut known = HashMap::new();
    let mut whole = 0;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((known, 0)),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    while reader.read_until(b'\n', &mut text)? > 0 {
        let Some((line, epoch, branch)) = parse(&text) else { break };
        whole += text.len() as u64;
        known.insert((line.cell, epoch, branch), (line.settled, line.findings));
        text.clear();
    }
    Ok((known, whole))
}

fn parse(text: &[u8]) -> Option<(Line, [u8; 16], [u8; 16])> {
    let line: Line = serde_json::from_slice(text.strip_suffix(b"\n")?).ok()?;
    let (epoch, branch) = (from_hex(&line.epoch)?, from_hex(&line.branch)?);
    Some((line, epoch, branch))
}

fn hex(key: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*key))
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use disk::{BlockLog, DiskModel, Image};

    use super::*;
    use crate::front::Front;
    use crate::replay::Replay;
    use crate::schedule::Plan;
    use crate::unit::{Replayed, Unit};

    /// A disk that is full is told to the user, once, and stops no run.
    #[test]
    fn what_cannot_be_kept_is_said_once() {
        let replay = Replay { start: Image::zeroed(1), log: BlockLog::default() };
        let plan = Plan::default();
        let replayed = Arc::new(Replayed::new(0, plan, replay, &DiskModel::default()));
        let mut front = Front::new(0);
        front.begin(Arc::new(Unit { index: 0, replayed, epoch: 0, key: [0; 16], again: None }));
        let entries = front.take(1);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let journal = Journal { known: HashMap::new(), file: Mutex::new(Some(full)) };
        let error = journal.add(0, &entries[0], &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(journal.add(0, &entries[0], &[], &[]).is_ok());
    }
}
