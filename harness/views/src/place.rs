//! Where files are put that a library reads by name.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;

/// The directory that is kept for it.
static PLACE: OnceLock<PathBuf> = OnceLock::new();

/// Memory, where the host has it as a file system: nothing that is read lives longer than a look.
pub const MEMORY: &str = "/dev/shm";

/// Has all files of this process put below this directory, which whoever names it removes in the end. Only the first call
/// counts.
pub fn keep_in(directory: PathBuf) {
    let _ = PLACE.set(directory);
}

/// A fresh directory that is nobody else's to look into, removed when dropped.
pub(crate) fn fresh() -> io::Result<TempDir> {
    let place = PLACE.get().cloned().unwrap_or_else(tempfile::env::temp_dir);
    tempfile::Builder::new().prefix("view-").tempdir_in(place)
}
