//! What a run has found so far, kept as it is found, so that a run which was killed can go on.
//!
//! One line of JSON for each branch that was entered: its epoch and the branch itself, by their keys, what the run
//! settled beyond the branch's prefix, and what is wrong; before all that, a checksum of it and of the run's hash. A kill
//! can cut the last line short; it is then forgotten. Any other line whose checksum is wrong is damaged, and the run is
//! refused. Some entries of each cell are looked at again when a run goes on.
//! Keys depend on nothing but the structure of the replay and the prefix, so a line of a run whose replays came out
//! differently is never used.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::sync::{Mutex, PoisonError};

use checker::Finding;
use disk::Decision;
use serde::{Deserialize, Serialize};

use crate::front::Entry;
use crate::store::{Store, StoreError};
use crate::sum::sum;

/// The file's name in a results directory.
pub const NAME: &str = "journal.jsonl";

/// No journal has more bytes, and no line of one.
const LARGEST: u64 = 16 << 30;
const LONGEST: u64 = 64 << 20;

/// How many entries of each cell are looked at again when a run goes on: their mounts are all that it costs.
const AGAIN: usize = 8;

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
    run: String,
    known: Known,
    /// Those that are looked at again.
    again: HashSet<Place>,
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
        Self { run: String::new(), known: HashMap::new(), again: HashSet::new(), file: Mutex::new(None) }
    }

    /// Goes on with the journal of the run of this hash, or begins it. Which entries are looked at again depends on `seed`.
    ///
    /// # Errors
    /// It cannot be read or written, or is damaged.
    pub fn open(store: &Store, run: &str, seed: u64) -> Result<Self, StoreError> {
        let io =
            |source| StoreError::Io { doing: "go on with the journal", path: store.directory().join(NAME), source };
        let files = store.files();
        let open = || match files.file(NAME, LARGEST) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        };
        let (known, whole) = match open().map_err(io)? {
            None => (HashMap::new(), 0),
            Some(file) => {
                read(BufReader::new(file), run).map_err(io)?.map_err(|problem| store.damaged(NAME, problem))?
            }
        };
        // What is found is not written to a file that was there: it may have other names. And not after half a line.
        let copy = |new: &mut File| match open()? {
            Some(old) => io::copy(&mut old.take(whole), new).map(drop),
            None => Ok(()),
        };
        let file = files.replace_with(NAME, copy).map_err(io)?;
        let again = chosen(&known, seed);
        Ok(Self { run: run.into(), known, again, file: Mutex::new(Some(file)) })
    }

    /// Whether what was found before is looked at again.
    pub fn is_looked_at_again(&self, cell: usize, entry: &Entry) -> bool {
        self.again.contains(&(cell, entry.unit.key, entry.branch.key))
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
            epoch: to_hex(&entry.unit.key),
            branch: to_hex(&entry.branch.key),
            settled,
            findings: findings.to_vec(),
        };
        let body = serde_json::to_string(&line).unwrap_or_default();
        open.write_all(seal(&self.run, &body).as_bytes()).inspect_err(|_| *file = None)
    }
}

/// A line of the journal of this run, with its end: `body` is an object of JSON.
pub fn seal(run: &str, body: &str) -> String {
    let rest = body.strip_prefix('{').unwrap_or(body);
    format!("{OPENING}{}\",{rest}\n", hex::encode(sum(&[run.as_bytes(), rest.as_bytes()])))
}

const OPENING: &str = "{\"checksum\":\"";

/// The entries that are looked at again: for each cell some, by chance.
fn chosen(known: &Known, seed: u64) -> HashSet<Place> {
    let mut cells: HashMap<usize, Vec<([u8; 8], Place)>> = HashMap::new();
    for &place in known.keys() {
        let (cell, epoch, branch) = place;
        cells.entry(cell).or_default().push((sum(&[&seed.to_le_bytes(), &epoch, &branch]), place));
    }
    let some = |mut all: Vec<([u8; 8], Place)>| {
        all.sort_unstable();
        all.into_iter().take(AGAIN).map(|(_, place)| place)
    };
    cells.into_values().flat_map(some).collect()
}

/// Reads the lines that are whole, and how many bytes these are; or says what is damaged.
fn read(mut reader: impl BufRead, run: &str) -> io::Result<Result<(Known, u64), String>> {
    let mut known = HashMap::new();
    let mut whole = 0;
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        (&mut reader).take(LONGEST).read_until(b'\n', &mut text)?;
        if text.last() != Some(&b'\n') {
            if text.len() as u64 == LONGEST {
                return Ok(Err(format!("line {number} has no end")));
            }
            break;
        }
        let Some((line, epoch, branch)) = parse(&text, run) else {
            return Ok(Err(format!("line {number} does not hold what its checksum was made of; begin the run again")));
        };
        whole += text.len() as u64;
        known.insert((line.cell, epoch, branch), (line.settled, line.findings));
    }
    Ok(Ok((known, whole)))
}

fn parse(text: &[u8], run: &str) -> Option<(Line, [u8; 16], [u8; 16])> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.strip_suffix('\n')?.strip_prefix(OPENING)?.split_once("\",")?;
    if text != seal(run, &format!("{{{rest}")) {
        return None;
    }
    let line: Line = serde_json::from_str(&format!("{{{rest}")).ok()?;
    let (epoch, branch) = (from_hex(&line.epoch)?, from_hex(&line.branch)?);
    Some((line, epoch, branch))
}

fn to_hex(key: &[u8; 16]) -> String {
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
        let full = File::options().write(true).open("/dev/full").unwrap();
        let journal = Journal { file: Mutex::new(Some(full)), ..Journal::none() };
        let error = journal.add(0, &entries[0], &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(journal.add(0, &entries[0], &[], &[]).is_ok());
    }

    fn line(run: &str, cell: usize, branch: u8, findings: &str) -> String {
        let (epoch, branch) = (to_hex(&[7; 16]), to_hex(&[branch; 16]));
        let body =
            format!(r#"{{"cell":{cell},"epoch":"{epoch}","branch":"{branch}","settled":[[1,2,true]]{findings}}}"#);
        seal(run, &body)
    }

    #[test]
    fn lines_are_those_of_their_run_and_whole() {
        let finding = r#","findings":[]"#;
        let both = line("run", 0, 1, finding) + &line("run", 0, 2, "");
        let whole = |text: &str| read(text.as_bytes(), "run").unwrap().map(|(known, whole)| (known.len(), whole));
        assert_eq!(whole(&both), Ok((2, both.len() as u64)));
        // A kill.
        assert_eq!(whole(&both[..both.len() - 1]).unwrap().0, 1);
        let damaged = "line 1 does not hold what its checksum was made of; begin the run again";
        for wrong in [both.replace(finding, ""), line("other", 0, 1, ""), "{}\n".into(), both.replace("[[1", "[[3")] {
            assert_eq!(whole(&wrong).unwrap_err(), damaged, "{wrong}");
        }
    }

    #[test]
    fn some_entries_of_each_cell_are_looked_at_again() {
        let place = |cell, branch| (cell, [7; 16], [branch; 16]);
        let known: Known = (0..100)
            .map(|branch| place(0, branch))
            .chain([place(1, 0)])
            .map(|place| (place, (vec![], vec![])))
            .collect();
        let again = chosen(&known, 1);
        assert_eq!(again.iter().filter(|(cell, ..)| *cell == 0).count(), AGAIN);
        assert!(again.contains(&place(1, 0)));
        assert_eq!(again, chosen(&known, 1));
        assert_ne!(again, chosen(&known, 2));
    }
}
