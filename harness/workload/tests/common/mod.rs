//! What the tests share: workloads made on the spot, and error texts without this machine's paths.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use workload::{Error, Workload};

/// A place for workloads and run directories.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().canonicalize().expect("it exists")
    }

    /// The workload `name` with this workload.toml; gives its directory.
    pub fn workload(&self, name: &str, manifest: &str) -> PathBuf {
        let directory = self.path().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("workload.toml"), manifest).expect("a file");
        directory
    }

    pub fn load(&self, manifest: &str) -> Result<Workload, Error> {
        Workload::load(&self.workload("example", manifest))
    }

    /// An error as the user sees it, with this place as `[PLACE]`.
    pub fn text(&self, error: impl std::fmt::Display) -> String {
        error.to_string().replace(&*self.path().to_string_lossy(), "[PLACE]")
    }
}

pub fn write(path: impl AsRef<Path>, content: &str) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
    fs::write(path, content).expect("a file");
}
