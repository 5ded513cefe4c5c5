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

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use checker::Observation;
use program::Content;
use storage::{BlockLog, Decision, LogShape, Recovery, State};

use self::line::{Id, KeptObservation, KeptRecovery, Line, Settled, Visit, name_of, pack};
use crate::store::{Store, StoreError};
use crate::sum::sum;
use crate::unit::ToVisit;

pub mod line;

/// The file's name in a results directory.
pub const NAME: &str = "journal.jsonl";

/// No journal has more bytes, and no line of one.
const LARGEST: u64 = 16 << 30;
const LONGEST: u64 = 64 << 20;

/// What a journal keeps of the contents of files, bytes: observations that name more are not kept, and have to be made
/// again when the run goes on or is judged again.
const MOST_CONTENT: u64 = 256 << 20;

/// No content is kept that is larger: a line holds it as hexadecimal digits.
const LARGEST_CONTENT: usize = 16 << 20;

/// How many entries of each cell are looked at again when a run goes on: their mounts are all that it costs.
const AGAIN: usize = 8;

/// What the states of a class look like, and the hash of the read plan under which that was seen.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The hash of the plan.
    pub plan: Id,
    /// What was seen.
    pub observation: Arc<Observation>,
}

/// What an observation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The states of a class.
    Visit,
    /// One state that a report shows, built as a whole.
    Look,
}

/// What entering a branch came to.
#[derive(Debug)]
pub struct Record {
    /// All that was settled, the branch's prefix first.
    pub decisions: Vec<Decision>,
    /// What all states of the class look like; none if that was not kept.
    pub observed: Option<Observed>,
    /// What recovery wrote, if it was to be explored.
    pub recovery: Option<KeptRecovery>,
}

/// Cell, exploration unit, branch.
type Place = (usize, explore::Key, explore::Key);

/// What has been seen before.
#[derive(Debug, Default)]
pub struct Known {
    visits: HashMap<Place, Visit>,
    observations: HashMap<Id, Observed>,
    contents: HashMap<Id, Content>,
    executions: BTreeMap<(usize, usize), LogShape>,
    looks: HashMap<(usize, Id, State), Vec<Id>>,
}

impl Known {
    /// What the journal of a run holds, for those who only read it. An empty one if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn of(store: &Store, run: &str) -> Result<Self, StoreError> {
        Ok(load(store, run)?.map_or_else(Self::default, |(known, _)| known))
    }

    /// What these lines hold.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn of_lines(lines: Vec<Line>) -> Result<Self, &'static str> {
        let mut known = Self::default();
        lines.into_iter().try_for_each(|line| known.add(line))?;
        Ok(known)
    }

    /// What entering a branch came to.
    pub fn find(&self, cell: usize, entry: &ToVisit) -> Option<Record> {
        let visit = self.visits.get(&(cell, entry.unit.key, entry.branch.key))?;
        let mut decisions = entry.branch.prefix();
        decisions.extend(decided(&visit.settled));
        let observed = visit.observation.and_then(|id| self.observations.get(&id)).cloned();
        Some(Record { decisions, observed, recovery: visit.recovery.clone() })
    }

    /// What the disk of a cell saw while a schedule was executed, without the data.
    pub fn execution(&self, cell: usize, schedule: usize) -> Option<&LogShape> {
        self.executions.get(&(cell, schedule))
    }

    /// What a state looks like that was built as a whole, under each plan that it was looked at under.
    pub fn looks(&self, cell: usize, unit: &explore::Key, state: &State) -> impl Iterator<Item = &Observed> {
        let looks = self.looks.get(&(cell, Id(*unit), state.clone()));
        looks.into_iter().flatten().filter_map(|id| self.observations.get(id))
    }

    /// The lines of the journal of another run, of the same executions: visits and looks with what `again` makes of their
    /// observations. Those of which it makes none are left out.
    pub fn lines(&self, again: impl Fn(usize, &Observed, Of) -> Vec<Observed>) -> Vec<Line> {
        let mut lines = Vec::new();
        for (&(cell, schedule), shape) in &self.executions {
            let log = postcard::to_stdvec(shape).unwrap_or_default();
            lines.push(Line::Execution { cell, schedule, log });
        }
        let mut names = Names::default();
        let mut translate = |cell: usize, id: Id, of: Of, lines: &mut Vec<Line>| -> Vec<Id> {
            let all = self.observations.get(&id).map_or_else(Vec::new, |observed| again(cell, observed, of));
            let name = |Observed { plan, observation }: Observed| {
                names.observation(name_of(&observation, plan), &observation, plan, lines)
            };
            all.into_iter().filter_map(name).collect()
        };
        let mut visits: Vec<&Visit> = self.visits.values().collect();
        visits.sort_unstable_by_key(|visit| (visit.cell, visit.unit, visit.branch));
        for visit in visits {
            let ids = visit.observation.map_or_else(Vec::new, |id| translate(visit.cell, id, Of::Visit, &mut lines));
            for id in ids {
                lines.push(Line::Visit(Visit { observation: Some(id), ..visit.clone() }));
            }
        }
        let mut looks: Vec<_> = self.looks.iter().collect();
        looks.sort_unstable_by_key(|(place, _)| *place);
        for ((cell, unit, state), ids) in looks {
            for &id in ids {
                for observation in translate(*cell, id, Of::Look, &mut lines) {
                    lines.push(Line::Look { cell: *cell, unit: *unit, state: state.clone(), observation });
                }
            }
        }
        lines
    }

    /// How many visits there are of each cell.
    pub fn visits(&self) -> BTreeMap<usize, u64> {
        let mut visits = BTreeMap::new();
        for (cell, ..) in self.visits.keys() {
            *visits.entry(*cell).or_default() += 1;
        }
        visits
    }

    /// Takes in a line; what is wrong with it, if it is of no use.
    fn add(&mut self, line: Line) -> Result<(), &'static str> {
        match line {
            Line::Execution { cell, schedule, log } => {
                let shape = postcard::from_bytes(&log).map_err(|_| "it holds no log")?;
                self.executions.insert((cell, schedule), shape);
            }
            Line::Content { bytes } => drop(self.contents.insert(Id::of(&bytes), bytes.into())),
            Line::Observation(kept) => {
                let (id, plan) = (kept.id, kept.plan);
                let observation = kept.observation(|content| self.contents.get(&content).cloned());
                let observation = observation.filter(|observation| name_of(observation, plan) == id);
                let observation = Arc::new(observation.ok_or("its observation is not the one that it names")?);
                self.observations.insert(id, Observed { plan, observation });
            }
            Line::Visit(visit) => {
                self.visits.insert((visit.cell, visit.unit.0, visit.branch.0), visit);
            }
            Line::Look { cell, unit, state, observation } => {
                self.looks.entry((cell, unit, state)).or_default().push(observation);
            }
        }
        Ok(())
    }
}

/// The same decisions, as the disk has them.
pub fn decided(settled: &[Settled]) -> impl Iterator<Item = Decision> {
    settled.iter().map(|&(write, unit, survived)| Decision { write, unit, survived })
}

fn settled(decisions: &[Decision]) -> Vec<Settled> {
    decisions.iter().map(|decision| (decision.write, decision.unit, decision.survived)).collect()
}

/// What has been written and can be named.
#[derive(Debug, Default)]
struct Names {
    observations: HashSet<Id>,
    contents: HashSet<Id>,
    /// How many bytes the contents have.
    bytes: u64,
}

impl Names {
    fn of(known: &Known) -> Self {
        Self {
            observations: known.observations.keys().copied().collect(),
            contents: known.contents.keys().copied().collect(),
            bytes: known.contents.values().map(|content| content.len() as u64).sum(),
        }
    }

    /// `id`, the name of an observation, with the lines that give it a meaning if there are none yet; `None` if it is too large
    /// to keep.
    fn observation(&mut self, id: Id, observation: &Observation, plan: Id, lines: &mut Vec<Line>) -> Option<Id> {
        if self.observations.contains(&id) {
            return Some(id);
        }
        let mut new: HashMap<Id, Content> = HashMap::new();
        let kept = KeptObservation::new(observation, plan, |id, content| {
            if !self.contents.contains(&id) {
                new.insert(id, content.clone());
            }
        });
        let bytes: u64 = new.values().map(|content| content.len() as u64).sum();
        if self.bytes + bytes > MOST_CONTENT || new.values().any(|content| content.len() > LARGEST_CONTENT) {
            return None;
        }
        self.bytes += bytes;
        self.contents.extend(new.keys());
        self.observations.insert(id);
        lines.extend(new.into_values().map(|content| Line::Content { bytes: content.to_vec() }));
        lines.push(Line::Observation(kept));
        Some(id)
    }
}

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

    /// Keeps what was seen when a branch was entered: what was settled, what all states of the class look like under the
    /// read plan of this hash, and what recovery wrote.
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

fn failed(store: &Store, source: io::Error) -> StoreError {
    StoreError::Io { doing: "go on with the journal", path: store.directory().join(NAME), source }
}

/// What a journal holds, and how many bytes of it are whole lines; `None` if there is none.
fn load(store: &Store, run: &str) -> Result<Option<(Known, u64)>, StoreError> {
    match store.files().file(NAME, LARGEST) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(store, error)),
        Ok(file) => {
            let read = read(BufReader::new(file), run).map_err(|error| failed(store, error))?;
            read.map(Some).map_err(|problem| store.damaged(NAME, problem))
        }
    }
}

/// A line of the journal of this run, with its end: `body` is an object of JSON.
pub fn seal(run: &str, body: &str) -> String {
    let rest = body.strip_prefix('{').unwrap_or(body);
    format!("{OPENING}{}\",{rest}\n", hex::encode(sum(&[run.as_bytes(), rest.as_bytes()])))
}

fn seal_line(run: &str, line: &Line) -> String {
    seal(run, &serde_json::to_string(line).unwrap_or_default())
}

const OPENING: &str = "{\"checksum\":\"";

/// The entries that are looked at again: for each cell some, by chance.
fn chosen(known: &Known, seed: u64) -> HashSet<Place> {
    let mut cells: HashMap<usize, Vec<([u8; 8], Place)>> = HashMap::new();
    for &place in known.visits.keys() {
        let (cell, unit, branch) = place;
        cells.entry(cell).or_default().push((sum(&[&seed.to_le_bytes(), &unit, &branch]), place));
    }
    let some = |mut all: Vec<([u8; 8], Place)>| {
        all.sort_unstable();
        all.into_iter().take(AGAIN).map(|(_, place)| place)
    };
    cells.into_values().flat_map(some).collect()
}

/// Reads the lines that are whole, and how many bytes these are; or says what is damaged.
fn read(mut reader: impl BufRead, run: &str) -> io::Result<Result<(Known, u64), String>> {
    let mut known = Known::default();
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
        let Some(line) = parse(&text, run) else {
            return Ok(Err(format!("line {number} does not hold what its checksum was made of; begin the run again")));
        };
        if let Err(problem) = known.add(line) {
            return Ok(Err(format!("line {number}: {problem}; begin the run again")));
        }
        whole += text.len() as u64;
    }
    Ok(Ok((known, whole)))
}

fn parse(text: &[u8], run: &str) -> Option<Line> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.strip_suffix('\n')?.strip_prefix(OPENING)?.split_once("\",")?;
    if text != seal(run, &format!("{{{rest}")) {
        return None;
    }
    serde_json::from_str(&format!("{{{rest}")).ok()
}

#[cfg(test)]
mod tests;
