//! Files that are kept between runs, named by their content.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Why a file for a machine could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to {doing} {}: {source}", path.display())]
pub struct BuildError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl BuildError {
    pub(crate) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self { doing, path: path.to_path_buf(), source }
    }
}

/// A file with `content` in the directory `cache`. Its name holds a hash of its content, so one that is there already
/// is used (unless a crash or someone else has changed it), and several processes may ask at once.
pub fn cached(cache: &Path, name: &str, extension: &str, content: &[u8]) -> Result<PathBuf, BuildError> {
    let path = cache.join(format!("{name}-{}.{extension}", hex::encode(&Sha256::digest(content)[..16])));
    if fs::read(&path).is_ok_and(|there| there == content) {
        return Ok(path);
    }
    write_whole(&path, content).map_err(|source| BuildError::new("write", &path, source))?;
    Ok(path)
}

/// Writes a file durably, and makes its directory if need be. Nobody sees half of it ([`files::replace`]).
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    files::replace(path, content)
}
