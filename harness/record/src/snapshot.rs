//! The directory that a program works in, before and after.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use program::{Holes, Kind, Tree};
use treeio::{Action, ReadOptions, Root, WriteOptions};

/// Trees are held in memory whole: a larger (sparse) file is refused.
const LARGEST: u64 = 1 << 30;
/// So is more than this, bytes, that a program adds to the files there are.
const MOST_ADDED: u64 = 1 << 30;

/// Why a directory tree could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct SnapshotError {
    action: Action,
    path: PathBuf,
    source: io::Error,
}

/// The same, of a path that stands for itself.
fn beneath(directory: &Path) -> impl FnOnce(treeio::Error) -> SnapshotError {
    move |treeio::Error { action, path, source }| SnapshotError { action, path: path.under(directory), source }
}

fn open(directory: &Path) -> Result<Root, SnapshotError> {
    let failed = |source| SnapshotError { action: Action::Look, path: directory.to_path_buf(), source };
    Root::open(directory).map_err(failed)
}

/// Reads everything below `directory`, and the directory itself as the root entry, as [`treeio::read`] does.
///
/// Nobody may change the tree meanwhile. Errors name the path: above all files that this user may not read, and files
/// beyond 1 GiB.
pub fn snapshot(directory: &Path) -> Result<Tree, SnapshotError> {
    read(directory, u64::MAX)
}

/// The same after a program has run that found the tree `before` there: it may have added 1 GiB to that.
pub(crate) fn snapshot_after(directory: &Path, before: &Tree) -> Result<Tree, SnapshotError> {
    let mut inodes = BTreeSet::new();
    let contents = before.0.values().filter(|node| inodes.insert(node.inode)).filter_map(|node| match &node.kind {
        Kind::File(content) => Some(content.len() as u64),
        _ => None,
    });
    read(directory, contents.sum::<u64>() + MOST_ADDED)
}

fn read(directory: &Path, most_bytes: u64) -> Result<Tree, SnapshotError> {
    let bounds = ReadOptions { largest_file: LARGEST, most_bytes, ..ReadOptions::default() };
    treeio::read(&open(directory)?, &bounds).map_err(beneath(directory))
}

/// Where the regular files of `tree`, which was read from `directory`, hold no data. A file system that cannot tell has no holes.
pub(crate) fn holes(directory: &Path, tree: &Tree) -> Result<Holes, SnapshotError> {
    treeio::holes(&open(directory)?, tree).map_err(beneath(directory))
}

/// Writes `tree` into the existing, empty `directory`, which gets the root entry's permissions.
///
/// Owners are set where they differ from this user, which takes privileges, as devices do.
pub fn restore(tree: &Tree, directory: &Path) -> Result<(), SnapshotError> {
    treeio::write(&open(directory)?, tree, &WriteOptions::EXACT).map_err(beneath(directory))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = snapshot(Path::new("/nonexistent/dir")).unwrap_err();
        assert_eq!(error.to_string(), "cannot look at /nonexistent/dir: No such file or directory (os error 2)");
    }

    #[test]
    fn files_that_do_not_fit_are_named_by_their_whole_path() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("deep")).unwrap();
        let path = place.path().join("deep/huge");
        fs::File::create(&path).unwrap().set_len((1 << 30) + 1).unwrap();
        let said = format!("cannot read {}: it has 1073741825 bytes, more than 1073741824", path.display());
        assert_eq!(snapshot(place.path()).unwrap_err().to_string(), said);
        // The directory that the user names may be a link.
        fs::remove_file(&path).unwrap();
        symlink(place.path().join("deep"), place.path().join("link")).unwrap();
        assert_eq!(snapshot(&place.path().join("link")).unwrap().0.len(), 1);
    }
}
