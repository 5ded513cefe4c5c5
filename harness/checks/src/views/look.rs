//! One look at a tree through a view.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use checker::{CheckFailure, EntryKind, Reader, Seen, View, ViewLines, ViewedAt};
use program::RelPath;
use sha2::{Digest, Sha256};
use views::sqlite;
use workload::Step;

use crate::error::CheckError;
use crate::place::{Failed, Runner};
use crate::trees::{Entries, sqlite_file};

/// The longest output that is compared, bytes.
const LONGEST: u64 = 16 << 20;

/// How much of an output is kept to be told, bytes.
const KEPT: usize = 64 << 10;

/// How much of a line is told, characters, and how much of it before what differs.
const LONGEST_LINE: usize = 100;
const BEFORE: usize = 20;

/// How many lines of an output are told, from the first that differs on.
const TOLD: usize = 3;

/// What a view shows of a tree.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The same for the same output and the same end.
    pub id: [u8; 32],
    /// How it ended: `exit 0`.
    pub ended: String,
    /// The beginning of its output.
    pub text: String,
    /// How it failed, if it did.
    pub failed: Option<CheckFailure>,
    /// Whether its time was up.
    pub timed_out: bool,
}

/// Looks, and once more if the command was killed: only what happens twice is the tree's own doing.
pub(crate) fn look(runner: Runner<'_>, view: &View, entries: &Entries) -> Result<Arc<Shown>, CheckError> {
    let (shown, killed) = look_once(runner, view, entries)?;
    if killed { Ok(look_once(runner, view, entries)?.0) } else { Ok(shown) }
}

fn look_once(runner: Runner<'_>, view: &View, entries: &Entries) -> Result<(Arc<Shown>, bool), CheckError> {
    match (view.reader, &view.path, &view.command) {
        (Some(Reader::Sqlite), Some(path), _) => Ok((read_sqlite(runner, view, path, entries)?, false)),
        (None, _, Some(words)) => run(runner, view, words, entries),
        _ => Err(CheckError::NoReader { name: runner.name(), view: view.to_string() }),
    }
}

/// What the command of a view makes of a tree.
fn run(runner: Runner<'_>, view: &View, words: &[String], entries: &Entries) -> Result<(Arc<Shown>, bool), CheckError> {
    let place = match runner.unpack(entries)? {
        Ok(place) => place,
        Err(failed) => {
            let killed = failed.killed;
            return Ok((Arc::new(Shown::new(Vec::new(), Some(failed), "")), killed));
        }
    };
    let tree = place.tree();
    let invocation = runner.view(Step::View, words, &tree)?;
    let (output, mut failed) = runner.read(&invocation, &[], LONGEST, &tree)?;
    let killed = failed.as_ref().is_some_and(|failed| failed.killed);
    if output.is_none() && failed.is_none() {
        failed = Some(too_long());
    }
    let output = normalised(runner, view, named_anew(output.unwrap_or_default(), &tree), &tree)?;
    Ok((Arc::new(Shown::new(output, failed, "exit 0")), killed))
}

fn too_long() -> Failed {
    let message = format!("it printed more than {} MiB", LONGEST >> 20);
    let output = checker::Output::default();
    Failed { ended: "endless output".into(), message, output, timed_out: false, killed: false }
}

/// Names of temporary directories are another every time.
fn named_anew(output: Vec<u8>, tree: &Path) -> Vec<u8> {
    match String::from_utf8(output) {
        Ok(text) => text.replace(&*tree.to_string_lossy(), ".").into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

fn normalised(runner: Runner<'_>, view: &View, output: Vec<u8>, tree: &Path) -> Result<Vec<u8>, CheckError> {
    let Some(words) = &view.normalise else { return Ok(output) };
    let invocation = runner.view(Step::Normalise, words, tree)?;
    let (normal, failed) = runner.read(&invocation, &output, LONGEST, tree)?;
    let failed = failed.or_else(|| normal.is_none().then(too_long));
    match failed {
        None => Ok(normal.unwrap_or_default()),
        Some(Failed { ended, message, .. }) => {
            Err(CheckError::Normalise { name: runner.name(), view: view.to_string(), ended, said: message })
        }
    }
}

/// What an SQLite database holds. A repair of the workload's own runs before.
fn read_sqlite(runner: Runner<'_>, view: &View, path: &RelPath, entries: &Entries) -> Result<Arc<Shown>, CheckError> {
    let mut files: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    let mut names: Vec<&[u8]> = Vec::new();
    for (name, entry) in entries {
        match sqlite_file(name, path) {
            None => names.push(name.name()),
            Some(suffix) => match &entry.kind {
                EntryKind::File { seen: Seen::Bytes(content), .. } => drop(files.insert(suffix, content)),
                EntryKind::File { .. } => drop(files.insert(suffix, &[])),
                _ => {
                    let message = format!("{name} is no file");
                    return Ok(Arc::new(Shown::new(Vec::new(), Some(cannot_be_read(message)), "")));
                }
            },
        }
    }
    let file = |suffix: &[u8]| files.get(suffix).copied();
    let files = sqlite::Files { database: file(b""), journal: file(b"-journal"), log: file(b"-wal") };
    let reading = sqlite::read(files, |name| names.contains(&name))?;
    let output = normalised_text(runner, view, reading.text)?;
    Ok(Arc::new(Shown::new(output, reading.fault.map(cannot_be_read), "read")))
}

/// What a built-in reader found, changed as the view says.
fn normalised_text(runner: Runner<'_>, view: &View, text: String) -> Result<Vec<u8>, CheckError> {
    if view.normalise.is_none() {
        return Ok(text.into_bytes());
    }
    // It needs a place to run in, and none of the tree.
    match runner.unpack(&root())? {
        Ok(place) => normalised(runner, view, text.into_bytes(), &place.tree()),
        Err(_) => Ok(text.into_bytes()),
    }
}

/// A tree with nothing in it.
fn root() -> Entries {
    let kind = EntryKind::Directory { error: None };
    let entry = checker::Entry { kind, mode: 0o755, uid: 0, gid: 0, links: 1, same_as: None };
    Entries::from([(RelPath::root(), entry)])
}

fn cannot_be_read(message: String) -> Failed {
    let output = checker::Output::of(&[&message], 1);
    Failed { ended: "cannot be read".into(), message, output, timed_out: false, killed: false }
}

impl Shown {
    fn new(output: Vec<u8>, failed: Option<Failed>, ended: &str) -> Self {
        let mut hasher = Sha256::new();
        let ended = failed.as_ref().map_or_else(|| ended.to_owned(), |failed| failed.ended.clone());
        hasher.update((ended.len() as u64).to_le_bytes());
        hasher.update(&ended);
        // How far one came whose time was up depends on the host; what a reader says is all that there is to tell.
        match &failed {
            Some(failed) if failed.timed_out => {}
            _ => hasher.update(&output),
        }
        let end = output.len().min(KEPT);
        // With all that is in it: of zeros one must see that they are some.
        let mut text = String::from_utf8_lossy(&output[..end]).into_owned();
        if end < output.len() {
            let sum = hex::encode(&Sha256::digest(&output)[..8]);
            let _ = write!(text, "\n({} bytes are not kept; all of it has the hash {sum})", output.len() - end);
        }
        let timed_out = failed.as_ref().is_some_and(|failed| failed.timed_out);
        let failed = failed.map(|Failed { ended, message, output, .. }| CheckFailure { ended, message, output });
        Self { id: hasher.finalize().into(), ended, text, failed, timed_out }
    }

    /// Where it differs from another.
    pub fn differs_from(&self, other: &Self) -> Difference {
        let same = self.text.lines().zip(other.text.lines()).take_while(|(one, other)| one == other).count();
        let line = |shown: &Self| shown.text.lines().nth(same).unwrap_or_default().to_owned();
        let column = line(self).chars().zip(line(other).chars()).take_while(|(one, other)| one == other).count();
        Difference { line: same + 1, column }
    }

    /// The line that differs, in short; empty if there is none.
    pub fn line(&self, at: Difference) -> String {
        self.lines(at).into_iter().next().unwrap_or_default()
    }

    fn lines(&self, Difference { line, column }: Difference) -> Vec<String> {
        // What differs is to be seen of a long line.
        let left_out = if column + BEFORE < LONGEST_LINE { 0 } else { column - BEFORE };
        let short = |line: &str| {
            let part: String = line.chars().skip(left_out).take(LONGEST_LINE).collect();
            let more = line.chars().nth(left_out + LONGEST_LINE).is_some();
            let (before, after) = (if left_out > 0 { "… " } else { "" }, if more { " …" } else { "" });
            format!("{before}{part}{after}")
        };
        self.text.lines().skip(line - 1).take(TOLD).map(short).collect()
    }

    /// In short, from where it differs on.
    pub fn told(&self, from: Difference, at: Option<ViewedAt>) -> ViewLines {
        let ended = match &self.failed {
            Some(CheckFailure { ended, message, .. }) => format!("{ended}: {message}"),
            None => self.ended.clone(),
        };
        ViewLines { ended, lines: self.lines(from), at }
    }
}

/// Where two outputs begin to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    /// The line, from 1.
    pub line: usize,
    /// How many characters of that line are the same.
    pub column: usize,
}

impl Difference {
    /// They do not, as far as one knows.
    pub const NONE: Self = Self { line: 1, column: 0 };
}
