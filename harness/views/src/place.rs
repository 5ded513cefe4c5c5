//! Where files are put that a library reads by name.

use std::io;
use std::path::Path;

use tempfile::TempDir;

/// Memory, where the host has it as a file system.
const MEMORY: &str = "/dev/shm";

/// A fresh directory that is nobody else's to look into, in memory if that can be; removed when dropped.
pub(crate) fn fresh() -> io::Result<TempDir> {
    let make = |place: &Path| tempfile::Builder::new().prefix("crash-harness-view-").tempdir_in(place);
    make(Path::new(MEMORY)).or_else(|_| make(&tempfile::env::temp_dir()))
}
