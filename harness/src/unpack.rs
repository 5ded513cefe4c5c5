//! Puts a tree that a guest saw into a fresh directory of the host.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use checker::{Entry, EntryKind, Seen};
use nix::sys::stat::{Mode, SFlag, mknod};
use tempfile::TempDir;
use trace::RelPath;

/// Why a tree cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// This machine's file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was being made.
        path: RelPath,
        /// Why not.
        source: io::Error,
    },
    /// A name that no directory can hold, or one below what is no directory.
    #[error("{path:?} is a name that no tree can have")]
    Name {
        /// The name.
        path: RelPath,
    },
    /// Making a device takes root, and its number is not known.
    #[error("{path} is a device")]
    Device {
        /// Its name.
        path: RelPath,
    },
}

/// A directory that programs of the user work in; removed when dropped, whatever modes they have given to what is in it.
pub struct Workplace(TempDir);

impl Workplace {
    /// A fresh one, whose name begins with `prefix`.
    ///
    /// # Errors
    /// There is no place for temporary files, or it is full.
    pub fn new(prefix: &str) -> io::Result<Self> {
        tempfile::Builder::new().prefix(prefix).tempdir().map(Self)
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        open_up(self.path());
    }
}

/// Lets directories be emptied: one that must not be written to, listed or searched could not be.
pub(crate) fn open_up(directory: &Path) {
    // One that is not ours may be empty, and is no reason to leave the others.
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // Not of what a symbolic link leads to: that stays.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// An unpacked tree; removed when dropped.
///
/// Contents, permission bits, symbolic links, names of one file as names of one file, FIFOs and sockets are as the guest
/// saw them. Owners, times and extended attributes are not.
pub struct Unpacked {
    place: Workplace,
}

impl Unpacked {
    /// Unpacks `entries`, whose files must have been read whole.
    pub fn new(entries: &BTreeMap<RelPath, Entry>) -> Result<Self, UnpackError> {
        let failed = |source| UnpackError::Io { path: RelPath::root(), source };
        let unpacked = Self { place: Workplace::new("crash-harness-check-").map_err(failed)? };
        let tree = unpacked.tree();
        fs::create_dir(&tree).map_err(failed)?;
        // A directory comes before what is in it.
        for (path, entry) in entries {
            let plain = RelPath::new(path.as_path()).as_ref() == Some(path);
            let above = path.parent().is_none_or(|parent| {
                matches!(entries.get(&parent), Some(Entry { kind: EntryKind::Directory { .. }, .. }))
            });
            if !plain || !above {
                return Err(UnpackError::Name { path: path.clone() });
            }
            if matches!(entry.kind, EntryKind::Special { mode } if !can_be_made(mode)) {
                return Err(UnpackError::Device { path: path.clone() });
            }
            make(&tree, path, entry).map_err(|source| UnpackError::Io { path: path.clone(), source })?;
        }
        // Last, since a directory that must not be written to could not be filled; what is within, first.
        for (path, entry) in entries.iter().rev().filter(|(_, entry)| matches!(entry.kind, EntryKind::Directory { .. }))
        {
            let mode = Permissions::from_mode(entry.mode);
            let failed = |source| UnpackError::Io { path: path.clone(), source };
            fs::set_permissions(path.under(&tree), mode).map_err(failed)?;
        }
        Ok(unpacked)
    }

    /// The directory that holds the tree, absolute.
    pub fn tree(&self) -> PathBuf {
        self.beside("tree")
    }

    /// A place outside the tree that goes away with it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// The type bits of `mode`, if anyone may make such a thing.
fn can_be_made(mode: u32) -> bool {
    let kind = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
    kind == SFlag::S_IFIFO || kind == SFlag::S_IFSOCK
}

fn make(tree: &Path, path: &RelPath, entry: &Entry) -> io::Result<()> {
    let place = path.under(tree);
    if let Some(first) = &entry.same_as {
        return fs::hard_link(first.under(tree), place);
    }
    match &entry.kind {
        EntryKind::Directory { .. } if path.is_root() => Ok(()),
        EntryKind::Directory { .. } => fs::create_dir(place),
        EntryKind::Symlink { target } => symlink(OsStr::from_bytes(target), place),
        EntryKind::Special { mode } => {
            let kind = SFlag::from_bits_truncate(*mode) & SFlag::S_IFMT;
            mknod(&place, kind, Mode::S_IRUSR | Mode::S_IWUSR, 0)?;
            fs::set_permissions(place, Permissions::from_mode(entry.mode))
        }
        EntryKind::File { seen, .. } => {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
            if let Seen::Bytes(content) = seen {
                file.write_all(content)?;
            }
            file.set_permissions(Permissions::from_mode(entry.mode))
        }
        EntryKind::Unreadable { errno } => Err(io::Error::from_raw_os_error(*errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modes keep nobody out who is root, so they are looked at; the command line is tried as somebody else, too.
    #[test]
    fn directories_can_be_emptied_and_what_links_lead_to_stays() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let close = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        close(elsewhere.path(), 0o500);
        let place = Workplace::new("workplace-").unwrap();
        let outer = place.path().join("outer");
        let inner = outer.join("inner");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "").unwrap();
        symlink(elsewhere.path(), outer.join("link")).unwrap();
        close(&inner, 0o500);
        close(&outer, 0o000);
        open_up(place.path());
        assert_eq!((mode(&outer), mode(&inner)), (0o700, 0o700));
        assert_eq!(mode(elsewhere.path()), 0o500);
        let path = place.path().to_path_buf();
        drop(place);
        assert!(!path.exists());
    }
}
