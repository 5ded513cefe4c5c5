//! The steps before the recording: build and start state.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mounts::Mounts;

use crate::copy::{CopyError, copy_tree};
use crate::run::{End, Limit};
use crate::{Error, Invocation, Step, Workload};

impl Workload {
    /// Runs the build step, if there is one, in the workload's directory. Setting `stop` ends it early.
    ///
    /// # Errors
    ///
    /// There is no such program, it cannot be started, or it fails.
    pub fn build(&self, stop: &AtomicBool) -> Result<(), Error> {
        let (Some(words), Some(directory)) = (&self.build, &self.directory) else { return Ok(()) };
        // No time limit: how long a build takes says nothing about the workload.
        self.run(&self.invocation(Step::Build, words, directory)?, None, stop)
    }

    /// Makes the old state in the directory `run`, which is created unless it is there and empty: copies the content
    /// of `from` with modes, times, symbolic and hard links (not: owners, extended attributes), then runs the
    /// setup step with the workload's time limit. Setting `stop` ends the setup early.
    ///
    /// # Errors
    ///
    /// `run` is not empty or cannot be written to, something cannot be copied, or the setup fails.
    pub fn prepare(&self, run: &Path, stop: &AtomicBool) -> Result<(), Error> {
        let failed = |action: &'static str, path: &Path, source: io::Error| Error::StartState {
            workload: self.name.clone(),
            action,
            path: path.into(),
            source,
        };
        let at = Mounts::new(&self.at).and_then(|mounts| mounts.probe());
        at.map_err(|source| Error::At { workload: self.name.clone(), source })?;
        let run = std::path::absolute(run).map_err(|source| failed("find", run, source))?;
        if let Some(from) = &self.from {
            let from = from.canonicalize().map_err(|source| failed("find", from, source))?;
            // Before anything is created in there.
            let exists = run.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
            if exists.is_some_and(|place| place.starts_with(&from)) {
                return Err(Error::InsideItself { from, run });
            }
        }
        fs::create_dir_all(&run).map_err(|source| failed("create", &run, source))?;
        let run = run.canonicalize().map_err(|source| failed("find", &run, source))?;
        if fs::read_dir(&run).map_err(|source| failed("list", &run, source))?.next().is_some() {
            return Err(Error::NotFresh { path: run });
        }
        if let Some(from) = &self.from {
            copy_tree(from, &run).map_err(|CopyError { action, path, source }| failed(action, &path, source))?;
        }
        let Some(words) = &self.setup else { return Ok(()) };
        self.run(&self.invocation(Step::Setup, words, &run)?, Some(self.time_limit), stop)
    }

    fn run(&self, invocation: &Invocation, limit: Option<Duration>, stop: &AtomicBool) -> Result<(), Error> {
        let step = invocation.step;
        let workload = self.name.clone();
        let command = invocation.to_string();
        match invocation.run(limit.map(Limit::Clock), stop) {
            Err(source) => Err(Error::NotStarted { step, workload, command, source }),
            Ok((End::Exited(status), _)) if status.success() => Ok(()),
            Ok((End::Exited(status), output)) => {
                let hint = invocation.hint(self.directory.as_deref());
                Err(Error::Failed { step, workload, command, status, output, hint })
            }
            Ok((End::TimedOut | End::Starved(_), output)) => {
                Err(Error::TimedOut { step, workload, command, limit: limit.unwrap_or_default(), output })
            }
            Ok((End::Stopped, _)) => Err(Error::Interrupted { step, workload }),
        }
    }
}
