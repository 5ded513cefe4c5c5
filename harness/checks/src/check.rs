//! The workload's own check: a program that judges an unpacked copy of a recovered tree, on the host.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use checker::{
    CheckFailure, CrashWindow, Entry, EntryKind, Finding, Invariant, Kind, Mount, Observation, Observed, Output, Seen,
};
use program::{Call, Ended, RelPath, Trace, Tree};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use workload::{End, ErrorKind, Limit, Workload};

use crate::message::message;
use crate::unpack::{UnpackError, Unpacked};

/// How long one check may take, as on an idle host ([`Limit::Own`]). A check that hangs on a damaged tree must not stop the
/// run.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The largest file that a check can be given, bytes: the guest reads it whole, in each state anew.
pub const LARGEST_FILE: u64 = 64 << 20;

/// How many of the first and of the last lines that a check printed are kept.
const LINES: usize = 5;

/// How much of each of these is kept, characters.
const LINE: usize = 500;

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
            Self::Workload(_) | Self::NotStarted { .. } | Self::Unfit { .. } => ErrorKind::Command,
            Self::TooLarge { .. } => ErrorKind::Input,
            Self::Unpack { .. } | Self::Starved { .. } => ErrorKind::Machine,
            Self::Interrupted { .. } => ErrorKind::Interrupted,
        }
    }
}

/// What it takes to run a check again: kept with a run's results, for tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCheck {
    /// The workload's directory.
    directory: Option<PathBuf>,
    /// The command, as written.
    command: Vec<String>,
    /// The workload's environment variables, as written.
    env: BTreeMap<String, String>,
    /// Where the tree appears to it, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    at: Vec<PathBuf>,
    /// A hash of the program and of the files that its arguments name: what judges.
    #[serde(default)]
    files: String,
}

impl KeptCheck {
    /// Whether this is the check of that workload, as written.
    pub fn is_of(&self, workload: &Workload) -> bool {
        workload.check.as_ref() == Some(&self.command) && workload.env == self.env && workload.at == self.at
    }

    /// Whether the files that judge are those of that workload.
    pub fn has_files_of(&self, workload: &Workload) -> bool {
        self.files == files(workload)
    }

    /// Hashes of the files that judge: as they were, and as they are in that workload.
    pub fn files_in(&self, workload: &Workload) -> (String, String) {
        (self.files.clone(), files(workload))
    }

    /// What would be run, as one could type it into a shell, with the variables that it is given.
    pub fn shown(&self) -> String {
        let assignments = self.env.iter().map(|(name, value)| format!("{name}={value}"));
        let words: Vec<String> =
            assignments.chain(self.command.iter().cloned()).map(|text| report::word(&text)).collect();
        words.join(" ")
    }

    /// A workload of this name with this check, and no more than a check needs.
    pub fn workload(&self, name: &str) -> Result<Workload, workload::Error> {
        let bare = Workload::bare(vec![name.into()], None)?;
        let Self { directory, command, env, at, files: _ } = self.clone();
        Ok(Workload { name: name.into(), directory, check: Some(command), env, at, ..bare })
    }
}

/// A hash of the program of a check, and of the files that its arguments name. What these load in turn is not looked at.
fn files(workload: &Workload) -> String {
    let nowhere = Path::new("/nonexistent");
    let Ok(Some(invocation)) = workload.check_in(nowhere, nowhere) else { return "none".into() };
    let mut hasher = Sha256::new();
    let named = invocation.argv.iter().map(PathBuf::from).filter(|path| path.is_absolute());
    for path in std::iter::once(invocation.program).chain(named).filter(|path| path.is_file()) {
        let content = fs::read(path).unwrap_or_default();
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    hex::encode(&hasher.finalize()[..8])
}

/// What is wrong with a tree, if anything.
type Verdict = Option<Fault>;

/// What is wrong with a tree.
#[derive(Clone, Debug)]
struct Fault {
    kind: Kind,
    observed: Observed,
    check: Option<CheckFailure>,
}

/// Runs the check once for each distinct tree and distinct acks.
pub struct Checker {
    workload: Workload,
    stop: Arc<AtomicBool>,
    /// What the program printed and sent, in the order of ops.
    acks: Vec<u8>,
    /// How long `acks` was after which op.
    ends: Vec<(usize, usize)>,
    judged: Mutex<HashMap<[u8; 32], Arc<OnceCell<Verdict>>>>,
    /// Whether all that it prints is kept.
    whole: bool,
}

impl Checker {
    /// The checker of a workload that has a check; it holds on the trees before and after the command. Setting `stop`
    /// ends every check that runs.
    ///
    /// # Errors
    ///
    /// The check cannot be run, or does not hold where nothing crashed.
    pub fn new(workload: &Workload, trace: &Trace, stop: &Arc<AtomicBool>) -> Result<Self, CheckError> {
        let mut acks = Vec::new();
        let mut ends = Vec::new();
        for (index, op) in trace.ops.iter().enumerate() {
            if let Call::Ack { data, .. } = &op.call {
                acks.extend_from_slice(data);
                ends.push((index, acks.len()));
            }
        }
        let name = || workload.name.clone();
        for (when, tree, acks) in [("before", &trace.before, &[][..]), ("after", &trace.after, &acks)] {
            if let Some(Fault { observed, check, .. }) = run(workload, &entries(tree), acks, stop, false)? {
                let lines: Vec<String> = check.iter().flat_map(|check| check.output.lines()).collect();
                // One line is all told.
                let said = lines.iter().filter(|_| lines.len() > 1).map(|line| format!("\n  | {line}")).collect();
                return Err(CheckError::Unfit { name: name(), when, observed: fault(&observed), said });
            }
        }
        Ok(Self { workload: workload.clone(), stop: stop.clone(), acks, ends, judged: Mutex::default(), whole: false })
    }

    /// The same, and all that the check prints is kept.
    pub fn keeping_all(self) -> Self {
        Self { whole: true, ..self }
    }

    /// The command, as written.
    pub fn command(&self) -> &[String] {
        self.workload.check.as_deref().unwrap_or_default()
    }

    /// What is kept of it with the results.
    pub fn kept(&self) -> KeptCheck {
        let Workload { directory, env, at, .. } = self.workload.clone();
        KeptCheck { directory, command: self.command().to_vec(), env, at, files: files(&self.workload) }
    }

    /// What the check says about a crash state whose files were read whole (see [`LARGEST_FILE`]): at most one finding.
    ///
    /// It must hold with the acks that had been given at the latest point at which the state can occur, and with those
    /// at the earliest. A tree that could not be read to its end cannot be judged, and is a finding by that.
    ///
    /// # Errors
    ///
    /// The check could not be run: nothing is known of this state.
    pub async fn judge(&self, observation: &Observation, window: &CrashWindow) -> Result<Vec<Finding>, CheckError> {
        if observation.mount != Mount::Mounted {
            return Ok(Vec::new());
        }
        let latest = self.acks_before(window.ended_latest);
        // An op that is under way at the earliest point has promised nothing.
        let earliest = self.acks_before(window.begun_earliest.min(window.ended_latest));
        let points = [(latest, false), (earliest, true)];
        let distinct = if latest == earliest { &points[..1] } else { &points };
        for (acks, earliest) in distinct {
            if let Some(Fault { kind, mut observed, check }) = self.verdict(observation, *acks).await? {
                if let Observed::Check { earliest_acks, .. } | Observed::NoWholeTree { earliest_acks, .. } =
                    &mut observed
                {
                    *earliest_acks = *earliest;
                }
                let (invariant, path) = (Invariant::Check, RelPath::root());
                return Ok(vec![Finding { invariant, kind, path, observed, fails: true, check }]);
            }
        }
        Ok(Vec::new())
    }

    /// How much of `acks` had been given when `ended` ops had ended.
    fn acks_before(&self, ended: usize) -> usize {
        let after = self.ends.partition_point(|(op, _)| *op < ended);
        after.checked_sub(1).map_or(0, |index| self.ends[index].1)
    }

    async fn verdict(&self, observation: &Observation, acks: usize) -> Result<Verdict, CheckError> {
        let mut hasher = Sha256::new();
        hasher.update(
            postcard::to_stdvec(&(&observation.entries, acks)).expect("postcard can write what the guest sent"),
        );
        let known = self
            .judged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(hasher.finalize().into())
            .or_default()
            .clone();
        let run = async || {
            let (workload, stop, whole) = (self.workload.clone(), self.stop.clone(), self.whole);
            let (entries, acks) = (observation.entries.clone(), self.acks[..acks].to_vec());
            let task = tokio::task::spawn_blocking(move || run(&workload, &entries, &acks, &stop, whole));
            task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        };
        known.get_or_try_init(run).await.cloned()
    }
}

type Entries = BTreeMap<RelPath, Entry>;

/// Runs the check, and once more if it was killed: a busy host may have let it wait for too long, or killed it for want
/// of memory, and only what happens twice is the tree's own doing.
fn run(
    workload: &Workload,
    entries: &Entries,
    acks: &[u8],
    stop: &AtomicBool,
    whole: bool,
) -> Result<Verdict, CheckError> {
    let (verdict, killed) = run_once(workload, entries, acks, stop, whole)?;
    if killed { Ok(run_once(workload, entries, acks, stop, whole)?.0) } else { Ok(verdict) }
}

/// Unpacks a tree, runs the check in it, and says what that came to, and whether it was killed.
fn run_once(
    workload: &Workload,
    entries: &Entries,
    acks: &[u8],
    stop: &AtomicBool,
    whole: bool,
) -> Result<(Verdict, bool), CheckError> {
    let name = || workload.name.clone();
    for (path, entry) in entries {
        match &entry.kind {
            EntryKind::File { size, seen: Seen::Bytes(content) } if content.len() as u64 == *size => {}
            EntryKind::File { size: 0, seen: Seen::NotRead } => {}
            EntryKind::File { size, .. } if *size > LARGEST_FILE => {
                return Err(CheckError::TooLarge { name: name(), path: path.clone(), size: *size });
            }
            EntryKind::File { .. } | EntryKind::Unreadable { .. } | EntryKind::Directory { error: Some(_) } => {
                let observed = Observed::NoWholeTree { path: path.to_string(), earliest_acks: false };
                return Ok((Some(Fault { kind: Kind::ReadError, observed, check: None }), false));
            }
            _ => {}
        }
    }
    let failed = |source| CheckError::Unpack { name: name(), source };
    let unpacked = Unpacked::new(entries).map_err(failed)?;
    let tree = unpacked.tree();
    let file: PathBuf = unpacked.beside("acks");
    fs::write(&file, acks).map_err(|source| failed(UnpackError::Io { path: RelPath::from("acks"), source }))?;
    let Some(invocation) = workload.check_in(&tree, &file)? else { return Ok((None, false)) };
    let ended = invocation.run_and_hear(Some(Limit::Own(TIME_LIMIT)), stop);
    let (end, output) = ended.map_err(|source| CheckError::NotStarted { name: name(), source })?;
    // Names of temporary directories are another every time.
    let output = output.replace(&*file.to_string_lossy(), "$HARNESS_ACKS").replace(&*tree.to_string_lossy(), ".");
    let lines: Vec<&str> = output.lines().collect();
    let output = match whole {
        true => Output::of(&lines, usize::MAX),
        false => shortened(Output::of(&lines, LINES)),
    };
    let message = message(&lines);
    match end {
        End::Exited(status) if status.success() => Ok((None, false)),
        End::Exited(status) => {
            let ended = match Ended::from(status) {
                Ended::Exited(code) => format!("exit {code}"),
                killed => killed.to_string(),
            };
            let observed = Observed::Check { ended: ended.clone(), message: message.clone(), earliest_acks: false };
            // A shell whose child was killed exits with 128 and the number of the signal.
            let killed = status.signal().is_some() || status.code().is_some_and(|code| code > 128);
            let check = Some(CheckFailure { ended, message, output });
            Ok((Some(Fault { kind: Kind::CheckFailed, observed, check }), killed))
        }
        End::TimedOut => {
            let limit = TIME_LIMIT.as_secs();
            let ended = format!("still running after {limit} s, and killed");
            let observed = Observed::Check { ended: ended.clone(), message, earliest_acks: false };
            // How far it came depends on the host.
            let check = Some(CheckFailure { ended, message: String::new(), output });
            Ok((Some(Fault { kind: Kind::CheckTimedOut, observed, check }), true))
        }
        End::Starved(passed) => Err(CheckError::Starved { name: name(), seconds: passed.as_secs() }),
        End::Stopped => Err(CheckError::Interrupted { name: name() }),
    }
}

/// What a check found where nothing crashed, for an error.
fn fault(observed: &Observed) -> String {
    match observed {
        Observed::Check { ended, message, .. } => format!("{ended}: {message}"),
        Observed::NoWholeTree { path, .. } => format!("{path} cannot be read, so the check has no whole tree"),
        _ => "it does not hold".to_owned(),
    }
}

/// With lines that are not too long for a report.
fn shortened(mut output: Output) -> Output {
    for line in output.first.iter_mut().chain(&mut output.last) {
        if let Some((end, _)) = line.char_indices().nth(LINE) {
            line.truncate(end);
            line.push_str(" …");
        }
    }
    output
}

/// A tree as a guest that reads everything would see it.
fn entries(tree: &Tree) -> Entries {
    let mut first: HashMap<u64, &RelPath> = HashMap::new();
    let mut entries = Entries::new();
    for (path, node) in &tree.0 {
        let kind = match &node.kind {
            program::Kind::File(content) => {
                EntryKind::File { size: content.len() as u64, seen: Seen::Bytes(content.clone()) }
            }
            program::Kind::Directory => EntryKind::Directory { error: None },
            program::Kind::Symlink(target) => EntryKind::Symlink { target: target.clone() },
            program::Kind::Special { mode, .. } => EntryKind::Special { mode: *mode },
        };
        let name = *first.entry(node.inode).or_insert(path);
        let same_as = (name != path && !matches!(kind, EntryKind::Directory { .. })).then(|| name.clone());
        let entry = Entry { kind, mode: node.mode, uid: node.uid, gid: node.gid, links: 1, same_as };
        entries.insert(path.clone(), entry);
    }
    entries
}

#[cfg(test)]
mod tests;
