//! What the user may have meant by a name that is no workload.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The file that makes a directory a workload.
pub(crate) const MANIFEST: &str = "workload.toml";

/// Names to offer instead of a wrong one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// So like the wrong name that it is probably one of these.
    alike: Vec<PathBuf>,
    /// All that are there.
    all: Vec<PathBuf>,
}

/// No more names than fit a few lines.
const MOST: usize = 20;

/// How many letters of a name may be wrong for another to be offered: a third. Enough for a typo, too little to offer just
/// anything.
pub(crate) fn most_wrong(name: &str) -> usize {
    name.chars().count().div_ceil(3)
}

impl Near {
    /// Workloads beside the missing `path`, or in a directory `workloads` there.
    pub(crate) fn beside(path: &Path) -> Self {
        let parent = path.parent().unwrap_or(Path::new(""));
        let mut all = workloads_in(parent);
        all.extend(workloads_in(&parent.join("workloads")));
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let distance = |other: &PathBuf| {
            let other = other.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            strsim::damerau_levenshtein(&name, &other)
        };
        let mut alike: Vec<PathBuf> =
            all.iter().filter(|other| distance(other) <= most_wrong(&name)).cloned().collect();
        let least = alike.iter().map(distance).min();
        alike.retain(|other| Some(distance(other)) == least);
        Self { alike, all: all.into_iter().collect() }
    }

    /// Workloads in the directory `path`, which is none itself.
    pub(crate) fn inside(path: &Path) -> Self {
        Self { alike: Vec::new(), all: workloads_in(path).into_iter().collect() }
    }
}

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |paths: &[PathBuf]| {
            let names: Vec<String> = paths.iter().take(MOST).map(|path| path.display().to_string()).collect();
            names.join(", ") + if paths.len() > MOST { " …" } else { "" }
        };
        if !self.alike.is_empty() {
            write!(f, "; did you mean {}?", list(&self.alike))
        } else if !self.all.is_empty() {
            write!(f, "; these are there: {}", list(&self.all))
        } else {
            Ok(())
        }
    }
}

/// Every workload in `directory`, as a path that starts as `directory` was written.
fn workloads_in(directory: &Path) -> BTreeSet<PathBuf> {
    let readable = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(entries) = fs::read_dir(readable) else { return BTreeSet::new() };
    let names = entries.flatten().filter(|entry| entry.path().join(MANIFEST).is_file());
    names.map(|entry| directory.join(entry.file_name())).collect()
}
