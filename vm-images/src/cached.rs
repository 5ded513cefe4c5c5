//! Files that are kept between runs, named by their content.

use std::fs;
use std::io::{self, Write};
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
    let digest: String = Sha256::digest(content).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let path = cache.join(format!("{name}-{digest}.{extension}"));
    if fs::read(&path).is_ok_and(|there| there == content) {
        return Ok(path);
    }
    let fail = |doing| {
        let path = path.clone();
        move |source| BuildError::new(doing, &path, source)
    };
    fs::create_dir_all(cache).map_err(fail("make the directory of"))?;
    // Under another name first: nobody sees half a file.
    let mut file = tempfile::NamedTempFile::new_in(cache).map_err(fail("create"))?;
    file.write_all(content).map_err(fail("write"))?;
    file.persist(&path).map_err(|error| fail("rename to")(error.error))?;
    Ok(path)
}
