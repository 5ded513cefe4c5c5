//! A results directory: the report, and what `harness reproduce` needs to rebuild the states that the report shows.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checker::{CrashWindow, Wanted};
use files::Directory;
use filesystems::{ChoiceError, Filesystem};
use program::Trace;
use serde::{Deserialize, Serialize};
use storage::{BlockLog, Decision, Image, State};

use crate::journal;
use crate::spec::RunSpec;
use crate::subject::{Bounds, Judges, Subject, SubjectError};
use crate::sum::{Summing, is_sealed, seal, sum};
use crate::token::Token;
use checks::KeptCheck;

/// What is kept of a run beside its report, for tokens: `replay.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// [`VERSION`].
    pub version: u32,
    /// The name of the machine.
    pub machine: String,
    /// What the run explores.
    #[serde(flatten)]
    pub spec: RunSpec,
    /// For each cell of the report: which trace, which file system.
    pub cells: Vec<KeptCell>,
    /// The workloads.
    pub workloads: Vec<KeptWorkload>,
    /// What else findings depend on, by its name, and which it was.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
}

/// Raised with every change of what is kept that would be misread, by this version or by those before it.
pub const VERSION: u32 = 7;

/// The version before: what differs is translated when it is read.
const BEFORE: u32 = 6;

/// One cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptCell {
    /// Index into the workloads.
    pub workload: usize,
    /// As mount(2) takes it.
    pub fs: String,
    /// As mount(8) takes them.
    pub mount_options: String,
    /// Arguments for its mkfs, beside the usual ones.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mkfs_options: String,
}

impl KeptCell {
    /// The file system and how it is mounted.
    ///
    /// # Errors
    /// This harness knows none of that name, or the arguments for mkfs name a file.
    pub fn filesystem(&self) -> Result<Filesystem, ChoiceError> {
        Filesystem::named(&self.fs, self.mount_options.as_str(), &self.mkfs_options)
    }
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptWorkload {
    /// Its name.
    pub name: String,
    /// Its invariants, as TOML.
    pub invariants: String,
    /// Its own check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<KeptCheck>,
}

/// What is kept of one replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptExecution {
    /// The durable start state.
    pub start: Image,
    /// What the disk saw.
    pub log: BlockLog,
    /// The states of it that the report shows.
    pub shown: Vec<Shown>,
}

/// A state that the report shows: it stands for a class, of which a token does not tell all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Index of the epoch.
    pub epoch: usize,
    /// The state.
    pub state: State,
    /// When its class can occur.
    pub window: CrashWindow,
    /// If the machine crashed again while it recovered: how.
    pub again: Option<KeptAgain>,
}

impl Shown {
    /// Whether it is the state that a token of its replay names.
    pub fn is(&self, token: &Token) -> bool {
        let again = self.again.as_ref().map(|again| &again.name);
        (self.epoch, &self.state, again) == (token.epoch, &token.state, token.again.as_ref())
    }
}

/// A second crash, during recovery from the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAgain {
    /// The short name of the unit.
    pub name: String,
    /// What was settled of the first crash.
    pub settled: Vec<Decision>,
    /// What recovery wrote.
    pub log: BlockLog,
    /// Index of the epoch of that log.
    pub index: usize,
}

#[derive(Serialize, Deserialize)]
struct Invariants {
    #[serde(default)]
    invariant: Vec<Wanted>,
}

impl KeptWorkload {
    /// Keeps a workload's invariants and its check.
    pub fn new(name: &str, wanted: &[Wanted], check: Option<KeptCheck>) -> Self {
        let invariants = toml::to_string(&Invariants { invariant: wanted.to_vec() }).unwrap_or_default();
        Self { name: name.into(), invariants, check }
    }

    /// The workload as it was when it was recorded, from its `trace`; its own check is what `judges` says. The outer error
    /// says that what is kept is damaged.
    pub fn subject(
        &self,
        trace: Trace,
        bounds: Bounds,
        judges: Judges,
    ) -> Result<Result<Subject, SubjectError>, String> {
        let wanted = self.wanted()?;
        Ok(Subject::new(self.name.clone(), wanted, trace, bounds, judges))
    }

    /// The invariants.
    pub fn wanted(&self) -> Result<Vec<Wanted>, String> {
        toml::from_str::<Invariants>(&self.invariants).map(|kept| kept.invariant).map_err(|error| error.to_string())
    }
}

/// What went wrong with a results directory.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("failed to {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged or from another version: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No such run.
    #[error("found no run {run} in {}: tokens need the results of the run that printed them (--results DIR)", root.display())]
    NoRun {
        /// The run's hash.
        run: String,
        /// Where.
        root: PathBuf,
    },
    /// Of all runs of that name, none came to its end.
    #[error(
        "the run {run} in {} was cut short before it had kept the state of this token: go on with it (harness run \
         --resume {}), or begin it again",
        directory.display(),
        directory.display()
    )]
    CutShort {
        /// The run's hash.
        run: String,
        /// The newest of them.
        directory: PathBuf,
    },
    /// A run that cannot be gone on with.
    #[error(
        "there is no run to go on with in {}: it is no results directory, or the run ended before its programs were \
         recorded; begin it again",
        directory.display()
    )]
    Nothing {
        /// Where.
        directory: PathBuf,
    },
    /// Another run works there.
    #[error(
        "another run is at work in {}: wait until it has ended, or name another directory",
        directory.display()
    )]
    Busy {
        /// Where.
        directory: PathBuf,
    },
    /// There are files of somebody else.
    #[error(
        "cannot put results into {}: there is {name} in it, and nothing says that a run of the harness has left that \
         there; name another directory, a new or an empty one",
        directory.display()
    )]
    Foreign {
        /// Where.
        directory: PathBuf,
        /// What is there.
        name: String,
    },
    /// The token names something that the run does not have.
    #[error("the run in {} has no {what}", directory.display())]
    NoSuch {
        /// What.
        what: String,
        /// The run.
        directory: PathBuf,
    },
}

/// The file that holds the release of the guest's kernel.
const KERNEL: &str = "kernel";

/// The file that holds what tokens need.
const KEPT: &str = "replay.json";

/// No file of a kind has more bytes: run-id and kernel, replay.json, a trace, what a disk saw, an image.
const LARGEST_WORD: u64 = 4 << 10;
const LARGEST_KEPT: u64 = 64 << 20;
/// The largest file of a trace that is read, bytes.
pub const LARGEST_TRACE: u64 = 1 << 30;
const LARGEST_LOG: u64 = 2 << 30;
const LARGEST_IMAGE: u64 = 4 << 30;

/// Held while a run is at work.
const LOCK: &str = "lock";

/// What a new run removes beside traces and replays: first what says that there is a run. The report goes, too: it would
/// tell that the new run is over.
const LEFT: [&str; 6] = ["run-id", "replay.json", journal::NAME, KERNEL, "report.json", "matrix.md"];

/// Names that tell a directory that a run has been at work in from any other.
const SIGNS: [&str; 3] = [LOCK, "run-id", "replay.json"];

/// A results directory that a run works in: no other does as long as this lives. Two would cut each other's lines.
pub struct Lock {
    _file: File,
}

/// The directory of one run. What is in it may come from anyone: see [`files`].
#[derive(Clone, Debug)]
pub struct Store {
    directory: Arc<Directory>,
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.directory() == other.directory()
    }
}

impl Store {
    /// A directory for a new run; it exists, or is made now. What another run has found is not taken for its own.
    ///
    /// # Errors
    /// It cannot be made or cleared, what is there is not ours to remove, or another run is at work in it.
    pub fn create(path: &Path) -> Result<(Self, Lock), StoreError> {
        let fail = |source| StoreError::Io { doing: "make the results directory", path: path.into(), source };
        let directory = Directory::create(path).map_err(fail)?;
        // Before there is a lock, which is a sign of a run.
        Self::check(path)?;
        let store = Self { directory: Arc::new(directory) };
        let lock = store.lock()?;
        let mut names: Vec<String> = LEFT.map(str::to_owned).to_vec();
        names.extend(store.directory.names().map_err(fail)?.into_iter().filter(|name| is_kept(name)));
        for name in names {
            let path = path.join(&name);
            let fail = |source| StoreError::Io { doing: "remove what an older run left in", path, source };
            store.directory.remove(&name).map_err(fail)?;
        }
        Ok((store, lock))
    }

    /// Finds out whether a new run may use a directory, which need not be there: one that is empty, or that a run has
    /// been at work in. What such a run has left is removed, and nobody finds his own files among results.
    ///
    /// # Errors
    /// There is something else in it.
    pub fn check(directory: &Path) -> Result<(), StoreError> {
        let is_there = |name: &&str| fs::symlink_metadata(directory.join(name)).is_ok();
        if SIGNS.iter().any(is_there) {
            return Ok(());
        }
        // What a run would remove is named first.
        let left = LEFT.into_iter().find(is_there).map(str::to_owned);
        let entries = || fs::read_dir(directory).into_iter().flatten().flatten();
        let names = || entries().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let name = left.or_else(|| names().find(|name| is_kept(name))).or_else(|| names().next());
        name.map_or(Ok(()), |name| Err(StoreError::Foreign { directory: directory.into(), name }))
    }

    /// Keeps other runs out of it.
    ///
    /// # Errors
    /// Another run is at work in it, or its file system knows no locks.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        // Of a file that nobody removes: two runs would each have a lock of their own.
        let fail = |source| StoreError::Io { doing: "lock", path: self.path(LOCK), source };
        let file = self.directory.lock_file(LOCK).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy { directory: self.directory().to_path_buf() }),
            Err(TryLockError::Error(error)) => Err(fail(error)),
        }
    }

    /// The directory of the run that a token is from: `root` itself, or one below it.
    ///
    /// There can be several runs of that name. The newest that shows the state answers; if none does, the newest that
    /// kept the replay of it; if none did, the newest that is over, which has no such state.
    ///
    /// # Errors
    /// There is none, or each was cut short before it had kept anything that would do.
    pub fn find(root: &Path, token: &Token) -> Result<Self, StoreError> {
        let missing = || StoreError::NoRun { run: token.run.clone(), root: root.into() };
        let Ok(root) = Directory::open(root) else { return Err(missing()) };
        let is_it = |store: &Self| store.id().is_ok_and(|id| id == token.run);
        let itself = Self { directory: Arc::new(root) };
        let newest: Vec<Self> = if is_it(&itself) {
            vec![itself]
        } else {
            let mut names = itself.directory.names().unwrap_or_default();
            names.sort();
            // No links: they may lead anywhere.
            let open = |name: &String| Some(Self { directory: Arc::new(itself.directory.directory(name).ok()?) });
            let stores = names.iter().rev().filter_map(|name| Some((name, open(name)?)));
            stores.filter(|(name, store)| name.ends_with(&token.run) || is_it(store)).map(|(_, store)| store).collect()
        };
        let Some(last) = newest.first() else {
            return Err(missing());
        };
        let shown = |store: &&Self| store.log(token.cell, token.schedule).map(|(_, shown)| shown);
        let shows = |store: &&Self| shown(store).is_ok_and(|all| all.iter().any(|shown| shown.is(token)));
        let kept = |store: &&Self| shown(store).is_ok();
        let is_over = |store: &&Self| store.directory.has("report.json");
        let tests: [&dyn Fn(&&Self) -> bool; 3] = [&shows, &kept, &is_over];
        let best = tests.iter().find_map(|test| newest.iter().find(test));
        best.cloned().ok_or_else(|| StoreError::CutShort { run: token.run.clone(), directory: last.directory().into() })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The same, open.
    pub fn files(&self) -> &Directory {
        &self.directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let fail = |source| StoreError::Io { doing: "write", path: self.path(name), source };
        self.directory.replace(name, bytes).map_err(fail)
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
        let fail = |source| StoreError::Io { doing: "read", path: self.path(name), source };
        self.directory.read(name, limit).map_err(fail)
    }

    /// Why what a file of it holds cannot be used.
    pub fn damaged(&self, name: &str, problem: impl ToString) -> StoreError {
        StoreError::Damaged { path: self.path(name), problem: problem.to_string() }
    }

    /// Keeps the run's hash and what tokens need.
    pub fn keep(&self, id: &str, kept: &Kept) -> Result<(), StoreError> {
        self.write("run-id", format!("{id}\n").as_bytes())?;
        let damaged = |error| self.damaged(KEPT, error);
        let mut value = serde_json::to_value(kept).map_err(damaged)?;
        seal(&mut value);
        let text = serde_json::to_string_pretty(&value).map_err(damaged)?;
        // A run that is killed can be gone on with once this file is there: never half of it.
        self.write(KEPT, text.as_bytes())
    }

    /// The run's hash.
    pub fn id(&self) -> Result<String, StoreError> {
        Ok(String::from_utf8_lossy(&self.read("run-id", LARGEST_WORD)?).trim().to_owned())
    }

    /// The run in `directory`, to go on with it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        match Directory::open(directory) {
            Ok(open) if open.has(KEPT) => Ok(Self { directory: Arc::new(open) }),
            _ => Err(StoreError::Nothing { directory: directory.into() }),
        }
    }

    /// Reads what was kept.
    pub fn kept(&self) -> Result<Kept, StoreError> {
        let damaged = |error| self.damaged(KEPT, error);
        let mut value: serde_json::Value = serde_json::from_slice(&self.read(KEPT, LARGEST_KEPT)?).map_err(damaged)?;
        let version = value["version"].clone();
        if version != VERSION && version != BEFORE {
            let problem = format!("it has version {version}, this harness reads {BEFORE} and {VERSION}");
            return Err(self.damaged(KEPT, problem));
        }
        if !is_sealed(&value) {
            return Err(self.damaged(KEPT, "it does not hold what its checksum was made of"));
        }
        if version == BEFORE {
            translate(&mut value);
        }
        let kept: Kept = serde_json::from_value(value).map_err(damaged)?;
        for cell in &kept.cells {
            cell.filesystem().map_err(|error| self.damaged(KEPT, error))?;
        }
        Ok(kept)
    }

    /// Keeps the release of the kernel that the first guest of the run has, as `uname -r` shows it there, and gives the
    /// one that is kept: if a guest had another kernel before, that one's.
    pub fn keep_kernel(&self, release: &str) -> Result<String, StoreError> {
        if let Some(first) = self.kernel()? {
            return Ok(first);
        }
        match self.directory.put_new(KERNEL, release.as_bytes()) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                Err(StoreError::Io { doing: "write", path: self.path(KERNEL), source })
            }
            // Guests boot side by side: another may have been the first.
            _ => Ok(self.kernel()?.unwrap_or_else(|| release.into())),
        }
    }

    /// The release that [`Store::keep_kernel`] kept; `None` if no guest has booted yet, or if the run was begun by a
    /// harness that did not keep it.
    pub fn kernel(&self) -> Result<Option<String>, StoreError> {
        match self.read(KERNEL, LARGEST_WORD) {
            Ok(release) => Ok(Some(String::from_utf8_lossy(&release).trim().to_owned())),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether any crash state has been looked at, so that there is something to go on with.
    pub fn has_begun(&self) -> bool {
        fs::symlink_metadata(self.path(journal::NAME)).is_ok_and(|journal| journal.len() > 0)
    }

    /// Keeps a workload's trace.
    pub fn keep_trace(&self, workload: usize, trace: &Trace) -> Result<(), StoreError> {
        self.write(&trace_name(workload), &trace.to_bytes())
    }

    /// Reads a workload's trace.
    pub fn trace(&self, workload: usize) -> Result<Trace, StoreError> {
        let name = trace_name(workload);
        Trace::from_bytes(&self.read(&name, LARGEST_TRACE)?).map_err(|error| self.damaged(&name, error))
    }

    /// Keeps what one replay left, and which of its states the report shows.
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

    /// Reads what one replay left.
    pub fn execution(&self, cell: usize, schedule: usize) -> Result<KeptExecution, StoreError> {
        let (log, shown) = self.log(cell, schedule)?;
        let name = execution_name(cell, schedule);
        let start = self.image(&format!("{name}.image"))?;
        let again = shown.iter().filter_map(|shown| shown.again.as_ref()).map(|again| &again.log);
        if !again.chain([&log]).all(|log| log.fits(start.sectors())) {
            return Err(self.damaged(&format!("{name}.log"), "it holds writes that no such disk can have seen"));
        }
        Ok(KeptExecution { start, log, shown })
    }

    fn image(&self, name: &str) -> Result<Image, StoreError> {
        let fail = |source: io::Error| match source.kind() {
            ErrorKind::UnexpectedEof => self.damaged(name, "it is cut short"),
            ErrorKind::InvalidData => self.damaged(name, source),
            _ => StoreError::Io { doing: "read", path: self.path(name), source },
        };
        let file = self.directory.file(name, LARGEST_IMAGE).map_err(fail)?;
        let mut summing = Summing::new(BufReader::new(file));
        let image = Image::load(&mut summing).map_err(fail)?;
        let (sum, mut file) = summing.end();
        let mut expected = Vec::new();
        file.read_to_end(&mut expected).map_err(fail)?;
        if expected == sum { Ok(image) } else { Err(self.damaged(name, "its checksum does not match")) }
    }

    /// What the disk saw in a replay, and which of its states are shown.
    fn log(&self, cell: usize, schedule: usize) -> Result<(BlockLog, Vec<Shown>), StoreError> {
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

/// Makes what the version [`BEFORE`] wrote what this one writes: its disk model was an object, as the crate `disk` has it.
fn translate(kept: &mut serde_json::Value) {
    let model = kept["model"].take();
    let word = |key: &str| serde_json::Value::from(model[key].as_str().unwrap_or_default().to_lowercase());
    (kept["disk"], kept["tear"]) = (word("cache"), word("tear"));
    kept["sector"] = (model["unit"].as_u64().unwrap_or_default().saturating_mul(storage::SECTOR as u64)).into();
    kept["fua"] = model["fua"].clone();
    // The file systems stood with the cells alone.
    let mut filesystems: Vec<serde_json::Value> = Vec::new();
    for cell in kept["cells"].as_array().into_iter().flatten() {
        let filesystem = serde_json::json!({ "kind": cell["fs"], "options": cell["mount_options"] });
        if !filesystems.contains(&filesystem) {
            filesystems.push(filesystem);
        }
    }
    kept["filesystems"] = filesystems.into();
    kept["version"] = VERSION.into();
}

fn trace_name(workload: usize) -> String {
    format!("workload-{workload}.trace")
}

fn execution_name(cell: usize, schedule: usize) -> String {
    format!("cell-{cell}-schedule-{schedule}")
}

/// Whether this is a file that [`Store::keep_execution`] or [`Store::keep_trace`] makes, or what is left of any of ours if
/// its writer is killed.
fn is_kept(name: &str) -> bool {
    let of_replay = |name: &str| {
        let (stem, "image" | "log") = name.rsplit_once('.')? else { return None };
        let (cell, schedule) = stem.strip_prefix("cell-")?.split_once("-schedule-")?;
        Some(execution_name(cell.parse().ok()?, schedule.parse().ok()?) == stem)
    };
    let of_trace = |name: &str| {
        let workload = name.strip_prefix("workload-")?.strip_suffix(".trace")?;
        Some(trace_name(workload.parse().ok()?) == name)
    };
    let unfinished = name.strip_prefix('.').and_then(|rest| rest.rsplitn(3, '.').nth(2));
    let is_ours = |whole: &str| files::is_temporary_of(name, whole) && (LEFT.contains(&whole) || is_kept(whole));
    unfinished.is_some_and(is_ours) || of_replay(name).or_else(|| of_trace(name)).unwrap_or(false)
}

#[cfg(test)]
mod tests;
