//! What processes that were killed have left in the directory for temporary files.
//!
//! Each process locks a file in its own scratch directory (flock(2)) for as long as it lives. So a directory of ours whose
//! file nobody has locked is in nobody's use.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use program::RelPath;
use treeio::Root;

/// The file that is locked.
const LOCK: &str = "lock";

/// Locks a scratch directory of this process. The file has its name only when it is locked: nobody finds it free before.
///
/// # Errors
/// It cannot be made, or the file system knows no locks.
pub fn lock(directory: &Path) -> io::Result<File> {
    let new = directory.join("lock.new");
    let file = OpenOptions::new().write(true).create_new(true).open(&new)?;
    file.try_lock().map_err(io::Error::from)?;
    fs::rename(&new, directory.join(LOCK))?;
    Ok(file)
}

/// Removes the directories in `place` whose names begin with `prefix`, that are ours, and that nobody uses. What cannot
/// be removed stays: nothing depends on it.
pub fn remove(place: &Path, prefix: &str) {
    let Ok(root) = Root::open(place) else { return };
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(prefix)
            && is_stale(&entry.path())
            && let Some(name) = RelPath::new(&name)
        {
            let _ = treeio::remove(&root, &name);
        }
    }
}

/// Whether this is a scratch directory of this user (no link to one) whose process has ended.
fn is_stale(directory: &Path) -> bool {
    let ours = |kind: &fs::Metadata| kind.is_dir() && kind.uid() == geteuid().as_raw();
    if !fs::symlink_metadata(directory).is_ok_and(|kind| ours(&kind)) {
        return false;
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(directory.join(LOCK));
    let free = |file: File| !matches!(file.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_)));
    file.is_ok_and(|file| file.metadata().is_ok_and(|kind| kind.is_file()) && free(file))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_nobody_uses_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (stale, used, unlocked, other) = (make("ours-1"), make("ours-2"), make("ours-3"), make("others-1"));
        for directory in [&stale, &other] {
            drop(lock(directory).unwrap());
        }
        fs::create_dir_all(stale.join("deep/within")).unwrap();
        let _held = lock(&used).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        drop(lock(elsewhere.path()).unwrap());
        symlink(elsewhere.path(), place.path().join("ours-link")).unwrap();
        symlink(elsewhere.path(), stale.join("deep/link")).unwrap();
        fs::write(place.path().join("ours-file"), "").unwrap();
        remove(place.path(), "ours-");
        assert!(!stale.exists());
        for kept in [&used, &unlocked, &other, &elsewhere.path().join(LOCK), &place.path().join("ours-file")] {
            assert!(kept.exists(), "{}", kept.display());
        }
        assert!(place.path().join("ours-link").exists());
    }
}
