//! `harness record`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use program::{RelPath, Trace};
use record::{RecordError, RecordSpec};
use report::ExitStatus;
use reporters::tame;

use super::Failure;
use super::failure::say;
use super::signal::{Manner, Signals};
use crate::cli;
use engine::subject::SubjectError;

/// Records a command that runs in the current directory.
pub fn record(arguments: cli::Record) -> Result<ExitStatus, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::usage(format!("failed to find the current directory: {error}")))?;
    let output = Output::at(&arguments.output)?;
    let signals = Signals::handle(Manner::Say("stopping: the command is killed, and no trace is written"))?;
    let mut spec = RecordSpec::new(&arguments.command, &here);
    spec.time_limit = Duration::from_secs(arguments.time_limit);
    spec.at = arguments.at.clone();
    spec.echo = true;
    spec.cancel = Some(signals.stop.clone());
    let name = arguments.command[0].clone();
    let mut trace = match record::record(&spec) {
        Err(RecordError::Cancelled) => return Err(Failure::new(signals.status(), "interrupted")),
        other => other.map_err(|source| SubjectError::Record { name: name.clone(), source })?,
    };
    output.forget(&mut trace, &here);
    output.write(&trace)?;
    for limit in &trace.limits {
        say(&tame(&format!("not followed: {limit}")));
    }
    for refused in &trace.refused {
        say(&tame(&format!("{refused}: what the program did without it is recorded")));
    }
    for path in &trace.outside {
        say(&tame(&format!("written outside this directory, and not recorded: {path}")));
    }
    let ops = if trace.ops.len() == 1 { "1 op is".into() } else { format!("{} ops are", trace.ops.len()) };
    say(&format!("{ops} in {}; `harness show` prints them", arguments.output.display()));
    match record::ended(&trace).filter(|ended| !ended.is_success()) {
        None => Ok(ExitStatus::Holds),
        Some(ended) => {
            Err(Failure::new(ExitStatus::Command, format!("{name} {}; the trace was kept", ended.failure())))
        }
    }
}

/// The file that the trace goes to.
struct Output {
    path: PathBuf,
    /// Whether it is to be replaced by a new file: it is a plain one, or is not there yet.
    plain: bool,
}

impl Output {
    /// Finds out, before the command runs, whether the trace can be written.
    fn at(path: &Path) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::io(&error, format!("cannot write a trace to {}: {error}", path.display()));
        let (target, plain) = match fs::canonicalize(path) {
            Ok(target) => {
                let kind = fs::metadata(&target).map_err(failed)?;
                if kind.is_dir() {
                    return Err(failed(io::ErrorKind::IsADirectory.into()));
                }
                (target, kind.is_file())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_path_buf(), true),
            Err(error) => return Err(failed(error)),
        };
        if plain {
            // Nameless, so that it is not seen by what is recorded.
            tempfile::tempfile_in(directory(&target)).map_err(failed)?;
        }
        Ok(Self { path: target, plain })
    }

    /// Takes the trace file out of the recorded directory, unless the command itself has changed it.
    fn forget(&self, trace: &mut Trace, here: &Path) {
        let found = || {
            let directory = fs::canonicalize(directory(&self.path)).ok()?;
            let path = directory.join(self.path.file_name()?);
            RelPath::new(path.strip_prefix(fs::canonicalize(here).ok()?).ok()?)
        };
        let Some(path) = found() else { return };
        let kind = |tree: &program::Tree| tree.0.get(&path).map(|node| node.kind.clone());
        if kind(&trace.before) == kind(&trace.after) {
            trace.before.0.remove(&path);
            trace.after.0.remove(&path);
        }
    }

    /// A plain file is replaced atomically, so that an older trace is not lost on a full disk.
    fn write(&self, trace: &Trace) -> Result<(), Failure> {
        self.try_write(trace).map_err(|error| {
            Failure::io(&error, format!("failed to write the trace to {}: {error}", self.path.display()))
        })
    }

    fn try_write(&self, trace: &Trace) -> io::Result<()> {
        if self.plain {
            files::replace_with(&self.path, |file| trace.write_to(file))
        } else {
            trace.write_to(&mut fs::OpenOptions::new().write(true).open(&self.path)?)
        }
    }
}

/// The directory that a file is in.
fn directory(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
