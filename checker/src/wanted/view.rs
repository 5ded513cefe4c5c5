//! `kind = "view"`: how it is written.

use std::fmt;

use program::{CommandLine, RelPath};
use serde::{Deserialize, Serialize};

use super::{Ack, optional_any_path};

/// What is looked at a recovered directory with: a command or a built-in reader, exactly one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", rename_all = "kebab-case")]
pub struct View {
    /// An argument list as in `workload.toml`; it runs in the directory. Its standard output and its exit status are what
    /// it makes of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// A built-in reader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<Reader>,
    /// What the reader reads: a database file, or the directory that holds `.git`, which may be the root.
    #[serde(with = "optional_any_path", skip_serializing_if = "Option::is_none")]
    pub path: Option<RelPath>,
    /// Whether the view of the directory at any point at which the program can be killed is right.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub between: bool,
    /// From when on what was to be seen then, or something later, must be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    /// An argument list of a program that is given the output; what it prints is compared in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalise: Option<Vec<String>>,
}

/// What a built-in view reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// An SQLite database: a file, with its journal or write-ahead log beside it.
    Sqlite,
    /// A git repository: a directory that holds `.git`.
    Git,
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reader::Sqlite => "sqlite",
            Reader::Git => "git",
        })
    }
}

/// The shell that runs what `--view` names.
const SHELL: [&str; 2] = ["sh", "-c"];

impl View {
    /// The view of a command line that a shell runs.
    pub fn by_command(line: &str) -> Self {
        let words = SHELL.into_iter().chain([line]).map(str::to_owned).collect();
        Self { command: Some(words), ..Self::default() }
    }

    /// The view of a built-in reader.
    pub fn by_reader(reader: Reader, path: RelPath) -> Self {
        Self { reader: Some(reader), path: Some(path), ..Self::default() }
    }
}

impl View {
    /// Whether every point at which the program can be killed leaves a directory that is right to show: formats that
    /// recover by themselves promise it.
    pub fn is_between(&self) -> bool {
        self.between || self.reader.is_some()
    }

    /// Whether a file is one of those that only this reader judges: whatever is in them, it knows what they are for.
    pub fn owns(&self, file: &RelPath) -> bool {
        let (Some(reader), Some(path)) = (self.reader, &self.path) else { return false };
        match reader {
            Reader::Sqlite => {
                let suffix = file.name().strip_prefix(path.name()).filter(|_| file.parent() == path.parent());
                suffix.is_some_and(|suffix| matches!(suffix, b"" | b"-journal" | b"-wal" | b"-shm"))
            }
            Reader::Git => file.starts_with(&path.join(b".git")),
        }
    }

    /// The file or directory that it is about; the root for one that may look at everything.
    pub fn about(&self) -> RelPath {
        self.path.clone().unwrap_or_else(RelPath::root)
    }
}

impl fmt::Display for View {
    /// What looks, as one could type it into a shell: by this a view is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(reader), Some(path)) = (self.reader, &self.path) {
            return write!(f, "{reader} {path}");
        }
        let words = self.command.as_deref().unwrap_or_default();
        if let [shell, option, line] = words
            && [shell.as_str(), option] == SHELL
        {
            return f.write_str(line);
        }
        CommandLine(words).fmt(f)
    }
}

/// As it is written, before it is known to make sense.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    command: Option<Vec<String>>,
    reader: Option<Reader>,
    #[serde(default, with = "optional_any_path")]
    path: Option<RelPath>,
    #[serde(default)]
    between: bool,
    ack: Option<Ack>,
    normalise: Option<Vec<String>>,
}

impl TryFrom<Written> for View {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { command, reader, path, between, ack, normalise } = written;
        match (&command, reader, &path) {
            (Some(_), None, None) => {}
            (Some(_), None, Some(_)) => {
                return Err("a view by a command has no `path`: the command runs in the directory".into());
            }
            (None, Some(Reader::Sqlite), None) => {
                return Err("the reader sqlite needs a `path`: that of the database".into());
            }
            (None, Some(Reader::Sqlite), Some(path)) if path.is_root() => {
                return Err("the reader sqlite reads a file, and `path` is the directory itself".into());
            }
            (None, Some(Reader::Git), None) => {
                return Err("the reader git needs a `path`: the directory that holds .git".into());
            }
            (None, Some(_), Some(_)) => {}
            (None, None, _) | (Some(_), Some(_), _) => {
                return Err("a view is by a `command` or by a `reader`: name exactly one of them".into());
            }
        }
        for (key, words) in [("command", &command), ("normalise", &normalise)] {
            let Some(words) = words else { continue };
            if words.first().is_none_or(String::is_empty) {
                return Err(format!("`{key}` is empty: it must name a program to run"));
            }
            if words.iter().any(|word| word.contains('\0')) {
                return Err(format!("`{key}` holds a NUL character, which no argument can"));
            }
        }
        Ok(Self { command, reader, path, between, ack, normalise })
    }
}
