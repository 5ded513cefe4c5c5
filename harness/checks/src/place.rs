//! Runs commands on unpacked copies of trees: what every judgement by a command has in common.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use checker::Output;
use program::{Ended, RelPath};
use workload::{End, Heard, Invocation, Limit, Step, Workload};

use crate::error::CheckError;
use crate::message::message;
use crate::trees::Entries;
use crate::unpack::{UnpackError, Unpacked};

/// How long one command may take, as on an idle host ([`Limit::Own`]). One that hangs on a damaged tree must not stop the
/// run.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How many of the first and of the last lines that a command printed are kept.
const LINES: usize = 5;

/// How much of each of these is kept, characters.
pub(crate) const LINE: usize = 500;

/// How a command failed on a tree.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    /// How it ended: `exit 11`.
    pub ended: String,
    /// The message in what it printed.
    pub message: String,
    /// What it printed.
    pub output: Output,
    /// Whether its time was up.
    pub timed_out: bool,
    /// Whether it was killed, be it by us: a busy host may have let it wait for too long, or killed it for want of memory.
    pub killed: bool,
}

/// Who runs commands for a workload.
#[derive(Clone, Copy)]
pub(crate) struct Runner<'a> {
    pub workload: &'a Workload,
    /// Ends what runs.
    pub stop: &'a AtomicBool,
    /// Whether all that is printed is kept.
    pub whole: bool,
}

/// A copy of a tree that has been repaired, if the workload has something that does; removed when dropped.
pub(crate) struct Place {
    unpacked: Unpacked,
}

impl Place {
    /// The directory that holds the tree, absolute.
    pub fn tree(&self) -> PathBuf {
        self.unpacked.tree()
    }

    /// A file beside the tree that holds what was printed so far.
    pub fn acks(&self, acks: &[u8]) -> Result<PathBuf, UnpackError> {
        let file = self.unpacked.beside("acks");
        fs::write(&file, acks).map_err(|source| UnpackError::Io { path: RelPath::from("acks"), source })?;
        Ok(file)
    }
}

impl Runner<'_> {
    pub fn name(&self) -> String {
        self.workload.name.clone()
    }

    /// Unpacks a tree whose files are known to their ends, and has it repaired: the one place where that happens, so that
    /// what a repair writes can be made to crash here, too.
    pub fn unpack(&self, entries: &Entries) -> Result<Result<Place, Failed>, CheckError> {
        let unpacked = Unpacked::new(entries).map_err(|source| CheckError::Unpack { name: self.name(), source })?;
        let place = Place { unpacked };
        let Some(recover) = self.workload.recover_in(&place.tree())? else { return Ok(Ok(place)) };
        let tree = place.tree();
        let failed = self
            .run(&recover, &[(&tree, ".")])?
            .map(|failed| Failed { ended: format!("recover: {}", failed.ended), ..failed });
        Ok(failed.map_or(Ok(place), Err))
    }

    /// Runs a command without input; `Some` if it fails. In what it printed, the names of these paths are replaced: names
    /// of temporary directories are another every time.
    pub fn run(&self, invocation: &Invocation, names: &[(&Path, &str)]) -> Result<Option<Failed>, CheckError> {
        let ended = invocation.run_and_hear(Some(Limit::Own(TIME_LIMIT)), self.stop);
        let (end, output) = ended.map_err(|source| CheckError::NotStarted { name: self.name(), source })?;
        self.failed(end, &renamed(output, names))
    }

    /// Runs a command for what it prints on standard output; what it printed elsewhere counts only if it fails.
    pub fn read(
        &self,
        invocation: &Invocation,
        input: &[u8],
        longest: u64,
        tree: &Path,
    ) -> Result<(Option<Vec<u8>>, Option<Failed>), CheckError> {
        let ended = invocation.run_and_read(input, longest, Some(Limit::Own(TIME_LIMIT)), self.stop);
        let Heard { end, output, errors } =
            ended.map_err(|source| CheckError::NotStarted { name: self.name(), source })?;
        let failed = self.failed(end, &renamed(errors, &[(tree, ".")]))?;
        Ok((output, failed))
    }

    /// The invocation of a command of a view.
    pub fn view(&self, step: Step, words: &[String], tree: &Path) -> Result<Invocation, CheckError> {
        Ok(self.workload.view_in(step, words, tree)?)
    }

    fn failed(&self, end: End, printed: &str) -> Result<Option<Failed>, CheckError> {
        let lines: Vec<&str> = printed.lines().collect();
        let output = match self.whole {
            true => Output::of(&lines, usize::MAX),
            false => shortened(Output::of(&lines, LINES)),
        };
        let message = message(&lines);
        match end {
            End::Exited(status) if status.success() => Ok(None),
            End::Exited(status) => {
                let ended = match Ended::from(status) {
                    Ended::Exited(code) => format!("exit {code}"),
                    killed => killed.to_string(),
                };
                // A shell whose child was killed exits with 128 and the number of the signal.
                let killed = status.signal().is_some() || status.code().is_some_and(|code| code > 128);
                Ok(Some(Failed { ended, message, output, timed_out: false, killed }))
            }
            End::TimedOut => {
                let ended = format!("still running after {} s, and killed", TIME_LIMIT.as_secs());
                Ok(Some(Failed { ended, message, output, timed_out: true, killed: true }))
            }
            End::Starved(passed) => Err(CheckError::Starved { name: self.name(), seconds: passed.as_secs() }),
            End::Stopped => Err(CheckError::Interrupted { name: self.name() }),
        }
    }
}

fn renamed(text: String, names: &[(&Path, &str)]) -> String {
    names.iter().fold(text, |text, (path, name)| text.replace(&*path.to_string_lossy(), name))
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
