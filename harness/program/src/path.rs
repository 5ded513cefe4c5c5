//! Paths below the recorded directory.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A path below the recorded directory: no leading slash, no `.` or `..`, no symbolic link in any but the
/// last component. The empty path is the directory itself. Bytes, since Linux names need not be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The recorded directory itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Takes a relative path whose components are all plain names; `None` for anything else (absolute, `..`).
    pub fn new(path: impl AsRef<Path>) -> Option<Self> {
        let mut bytes = Vec::new();
        for component in path.as_ref().components() {
            match component {
                std::path::Component::Normal(name) => {
                    if !bytes.is_empty() {
                        bytes.push(b'/');
                    }
                    bytes.extend_from_slice(name.as_bytes());
                }
                std::path::Component::CurDir => {}
                _ => return None,
            }
        }
        Some(Self(bytes))
    }

    /// Whether this is the recorded directory itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].to_vec()))
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => &self.0[slash + 1..],
            None => &self.0,
        }
    }

    /// This path with one more component.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// Whether this path is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &RelPath) -> bool {
        ancestor.is_root()
            || self.0 == ancestor.0
            || (self.0.starts_with(&ancestor.0) && self.0.get(ancestor.0.len()) == Some(&b'/'))
    }

    /// The path as the standard library takes it, relative.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// This path below `directory`.
    pub fn under(&self, directory: &Path) -> PathBuf {
        if self.is_root() { directory.to_path_buf() } else { directory.join(self.as_path()) }
    }
}

impl From<&str> for RelPath {
    /// For literals in tests and code; drops what [`RelPath::new`] would refuse.
    fn from(text: &str) -> Self {
        Self::new(text).unwrap_or_default()
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", std::ffi::OsString::from_vec(self.0.clone()))
    }
}
