//! The runs below a directory, and how old ones are removed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::Directory;
use program::RelPath;
use treeio::Root;

use super::names::SIGNS;
use super::{Store, StoreError};

/// Unit of `st_blocks`, bytes (stat(2)).
const BLOCK: u64 = 512;

/// What became of an old run.
#[derive(Debug)]
pub enum Fate {
    /// It is gone, or would be: so many bytes.
    Removed(u64),
    /// A run is at work in it.
    Busy,
    /// It could not be removed, or not all of it.
    Failed(String),
}

/// The directories below `root` in which runs have been at work, from the newest to the oldest. No links are followed, and
/// what is no results directory is not among them.
///
/// # Errors
/// The directory cannot be read.
pub fn runs(root: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = Directory::open(root)?;
    // Names begin with the seconds since 1970.
    let begun = |name: &String| name.split_once('-').and_then(|(seconds, _)| seconds.parse::<u64>().ok());
    let is_run = |name: &String| directory.directory(name).is_ok_and(|run| SIGNS.iter().any(|sign| run.has(sign)));
    let mut names: Vec<(u64, String)> =
        directory.names()?.into_iter().filter(is_run).filter_map(|name| Some((begun(&name)?, name))).collect();
    names.sort_by(|one, other| other.cmp(one));
    Ok(names.into_iter().map(|(_, name)| root.join(name)).collect())
}

/// Removes a run's directory, with all that is in it, beneath the directory that it lies in; unless `dry`, when only its
/// size is found out.
pub fn remove(run: &Path, dry: bool) -> Fate {
    let directory = match Directory::open(run) {
        Ok(directory) => Arc::new(directory),
        Err(error) => return Fate::Failed(error.to_string()),
    };
    let _lock = match (Store { directory }).lock() {
        Ok(lock) => lock,
        Err(StoreError::Busy { .. }) => return Fate::Busy,
        Err(error) => return Fate::Failed(error.to_string()),
    };
    let size = size(run);
    if dry {
        return Fate::Removed(size);
    }
    let (Some(parent), Some(name)) = (run.parent(), run.file_name().and_then(RelPath::new)) else {
        return Fate::Failed("it has no name".into());
    };
    let root = match Root::open(parent) {
        Ok(root) => root,
        Err(error) => return Fate::Failed(error.to_string()),
    };
    match treeio::remove(&root, &name) {
        Ok(()) => Fate::Removed(size),
        Err(error) => Fate::Failed(error.to_string()),
    }
}

/// Bytes on the disk of all below a directory, links not followed. What cannot be read counts nothing.
fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => size(&entry.path()),
        Ok(about) => about.blocks() * BLOCK,
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        runs(root).unwrap().iter().map(name).collect()
    }

    #[test]
    fn only_runs_are_found_the_newest_first_and_removed_with_all_they_hold() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for name in ["1700000000-aaaaaaaa", "1700000002-cccccccc", "1700000001-bbbbbbbb"] {
            drop(Store::create(&root.join(name)).unwrap());
        }
        // Of somebody else, and links to what is.
        fs::create_dir(root.join("1700000003-notes")).unwrap();
        fs::write(root.join("1700000003-notes/mine"), "x").unwrap();
        symlink(root.join("1700000003-notes"), root.join("1700000004-dddddddd")).unwrap();
        symlink(root.join("1700000003-notes"), root.join("1700000000-aaaaaaaa/link")).unwrap();
        assert_eq!(names(root), ["1700000002-cccccccc", "1700000001-bbbbbbbb", "1700000000-aaaaaaaa"]);
        let oldest = root.join("1700000000-aaaaaaaa");
        assert!(matches!(remove(&oldest, true), Fate::Removed(_)) && oldest.exists());
        assert!(matches!(remove(&oldest, false), Fate::Removed(_)) && !oldest.exists());
        assert!(root.join("1700000003-notes/mine").exists());
        let busy = root.join("1700000001-bbbbbbbb");
        let _at_work = Store::create(&busy).unwrap();
        assert!(matches!(remove(&busy, false), Fate::Busy) && busy.exists());
    }
}
