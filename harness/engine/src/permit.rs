//! Which commands of a results directory (checks, views, what runs before them) may be run: what stands in such a directory is data, and may come from anyone.
//!
//! A check is run if the user says so (`--run-check`), or if a workload at hand has the very same. At hand is a workload
//! whose directory the user names (`--workload`), or the one of that name in `workloads` of the current directory, unless
//! that is a part of the results. Then the check of that workload is run, in place of the one in the results.

use std::fs;
use std::path::{Component, Path, PathBuf};

use workload::{Error, Workload};

use checks::KeptCheck;

/// What the user permits.
#[derive(Debug, Default)]
pub struct Permit {
    run_check: bool,
    named: Vec<Workload>,
    results: PathBuf,
}

impl Permit {
    /// Whatever stands there may be run.
    pub fn everything() -> Self {
        Self { run_check: true, ..Self::default() }
    }

    /// Whether checks are run as they stand in the results.
    pub fn runs_what_stands_there(&self) -> bool {
        self.run_check
    }

    /// The workloads in these directories are at hand; with `run_check`, every check may be run. The results are in, or
    /// below, `results`.
    ///
    /// # Errors
    /// There is no workload in one of the directories.
    pub fn new(run_check: bool, named: &[PathBuf], results: &Path) -> Result<Self, Error> {
        let named = named.iter().map(|path| Workload::load(path)).collect::<Result<_, _>>()?;
        Ok(Self { run_check, named, results: fs::canonicalize(results).unwrap_or_else(|_| results.into()) })
    }

    /// The workload whose check may be run as that of `name`, if any may.
    ///
    /// # Errors
    /// There can be no workload of that name.
    pub fn check(&self, name: &str, kept: &KeptCheck) -> Result<Option<Workload>, Error> {
        if self.run_check {
            return kept.workload(name).map(Some);
        }
        let first = first_recording(name);
        let same = |workload: &Workload| [name, first].contains(&workload.name.as_str()) && kept.is_of(workload);
        Ok(self.named.iter().cloned().chain(self.here(name)).chain(self.here(first)).find(same))
    }

    /// The workload of that name in `workloads` of the current directory.
    fn here(&self, name: &str) -> Option<Workload> {
        let mut components = Path::new(name).components();
        let (Some(Component::Normal(_)), None) = (components.next(), components.next()) else { return None };
        let directory = fs::canonicalize(Path::new("workloads").join(name)).ok()?;
        if directory.starts_with(&self.results) || !directory.join("workload.toml").is_file() {
            return None;
        }
        Workload::load(&directory).ok()
    }
}

/// The name of a workload, of which another recording may have this one: `NAME#2`.
fn first_recording(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.rsplit_once('#').filter(|(_, number)| is_number(number)).map_or(name, |(first, _)| first)
}

/// What to do so that a check may be run.
pub const ADVICE: &str = "--workload DIR has the check of a workload of yours run, if it is the very same; --run-check runs \
                          this one, as you, if you trust whoever made these results";
