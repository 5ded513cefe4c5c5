//! A results directory: the report, and what `harness reproduce` needs to rebuild the states that the report shows.
//!
//! This file makes, finds and locks the directory. What it holds: the manifest, executions, traces, the kernel's
//! release, and the [`crate::journal`].

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::Directory;
use program::Trace;

use self::names::{KERNEL, LARGEST_WORD, LEFT, LOCK, MANIFEST, OLD_MANIFEST, SIGNS, is_kept, trace_name};
use crate::journal;
use crate::token::Token;

mod error;
mod executions;
mod manifest;
mod names;
pub mod old;
mod translate;

pub use error::StoreError;
pub use executions::{KeptExecution, KeptRecoveryCrash, Shown};
pub use manifest::{Kept, KeptCell, KeptWorkload, VERSION};
pub use names::LARGEST_TRACE;

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
    /// kept the execution of it; if none did, the newest that is over, which has no such state.
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

    /// The path of the directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The open directory, through which its files are read and written.
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

    /// The run's hash, by which tokens name it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn id(&self) -> Result<String, StoreError> {
        Ok(String::from_utf8_lossy(&self.read("run-id", LARGEST_WORD)?).trim().to_owned())
    }

    /// The run in `directory`, to go on with it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        match Directory::open(directory) {
            Ok(open) if open.has(MANIFEST) || open.has(OLD_MANIFEST) => Ok(Self { directory: Arc::new(open) }),
            _ => Err(StoreError::Nothing { directory: directory.into() }),
        }
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

    /// Keeps the trace of the workload with this index.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_trace(&self, workload: usize, trace: &Trace) -> Result<(), StoreError> {
        self.write(&trace_name(workload), &trace.to_bytes())
    }

    /// Reads the trace of the workload with this index.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn trace(&self, workload: usize) -> Result<Trace, StoreError> {
        let name = trace_name(workload);
        Trace::from_bytes(&self.read(&name, LARGEST_TRACE)?).map_err(|error| self.damaged(&name, error))
    }
}

#[cfg(test)]
mod tests;
