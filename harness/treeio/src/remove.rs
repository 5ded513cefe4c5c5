//! Removing trees, whatever modes they have.

use std::io;
use std::os::unix::fs::MetadataExt;

use nix::unistd::{UnlinkatFlags, unlinkat};
use program::RelPath;

use crate::resolver::Resolver;
use crate::walk::{Walk, WalkEntry, WalkEvent};
use crate::{Action, Error, Root};

/// Removes what `at` names beneath a directory, with all that is in it; of the root itself only what is in it. A symbolic
/// link goes itself, and what it leads to stays.
///
/// Directories of this user that must not be written to, listed or searched are opened up first: they could not be emptied.
///
/// # Errors
/// The first thing that could not be removed. All else is gone.
pub fn remove(root: &Root, at: &RelPath) -> Result<(), Error> {
    let mut resolver = Resolver::new(root);
    let mut unlink = |path: &RelPath, flag| -> io::Result<()> {
        let (parent, name) = resolver.parent(path)?;
        Ok(unlinkat(parent, name, flag)?)
    };
    let mut outcome = Ok(());
    for event in Walk::new(root, at.clone(), usize::MAX) {
        let done = match event {
            Ok(WalkEvent::Enter(WalkEntry { inode, metadata, .. })) => {
                if metadata.mode() & 0o700 != 0o700 {
                    // One that is not ours may be empty, and is no reason to leave the others.
                    let _ = inode.set_mode(0o700);
                }
                Ok(())
            }
            Ok(WalkEvent::Leaf(WalkEntry { path, .. })) => {
                unlink(&path, UnlinkatFlags::NoRemoveDir).map_err(Error::of(Action::Remove, &path))
            }
            Ok(WalkEvent::Leave(path)) if path.is_root() => Ok(()),
            Ok(WalkEvent::Leave(path)) => {
                unlink(&path, UnlinkatFlags::RemoveDir).map_err(Error::of(Action::Remove, &path))
            }
            Err(error) => Err(error),
        };
        outcome = outcome.and(done);
    }
    outcome
}
