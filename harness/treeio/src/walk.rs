//! Everything beneath a directory, in a fixed order.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::vec;

use program::RelPath;

use crate::path_fd::PathFd;
use crate::resolver::{Resolver, child};
use crate::{Action, Error, Root};

/// What is found under one name.
pub(crate) struct WalkEntry {
    pub(crate) path: RelPath,
    pub(crate) inode: PathFd,
    pub(crate) metadata: Metadata,
}

/// A step of a walk.
pub(crate) enum WalkEvent {
    /// To a directory; it is listed after this, so that it may be made readable.
    Enter(WalkEntry),
    /// To anything else.
    Leaf(WalkEntry),
    /// From a directory, after what is in it.
    Leave(RelPath),
}

/// Goes through a tree depth first, names in the order of their bytes. It goes on after an error, without what that keeps
/// out of sight.
///
/// It keeps names, not descriptors, of the directories that it is in: there may be more of them than a process may open.
pub(crate) struct Walk<'root> {
    resolver: Resolver<'root>,
    /// Where it begins, until it has.
    begin: Option<RelPath>,
    /// A directory that was entered and is to be listed.
    entered: Option<RelPath>,
    /// Names to come, of each directory that it is in.
    within: Vec<(RelPath, vec::IntoIter<OsString>)>,
    /// How many more names there may be.
    left: usize,
    most: usize,
}

impl<'root> Walk<'root> {
    /// Goes through what `at` names, up to so many names.
    pub(crate) fn new(root: &'root Root, at: RelPath, most: usize) -> Self {
        let resolver = Resolver::new(root);
        Self { resolver, begin: Some(at), entered: None, within: Vec::new(), left: most, most }
    }

    /// Finds what a name that is in no directory yet that was listed stands for.
    fn visit(&mut self, path: RelPath, inode: io::Result<PathFd>) -> Result<WalkEvent, Error> {
        let look = |inode: PathFd| inode.metadata().map(|metadata| (inode, metadata));
        let (inode, metadata) = inode.and_then(look).map_err(Error::of(Action::Look, &path))?;
        let is_directory = metadata.is_dir();
        let entry = WalkEntry { path, inode, metadata };
        if !is_directory {
            return Ok(WalkEvent::Leaf(entry));
        }
        self.entered = Some(entry.path.clone());
        Ok(WalkEvent::Enter(entry))
    }

    fn list(&mut self, path: &RelPath) -> io::Result<Vec<OsString>> {
        let names = self.resolver.directory(path)?.names()?;
        let too_many = || io::Error::other(format!("there are more than {} names in the tree", self.most));
        self.left = self.left.checked_sub(names.len()).ok_or_else(too_many)?;
        Ok(names)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<WalkEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(path) = self.begin.take() {
            let inode = self.resolver.inode(&path);
            return Some(self.visit(path, inode));
        }
        if let Some(path) = self.entered.take() {
            let listed = self.list(&path).map_err(Error::of(Action::List, &path));
            let (names, failed) = match listed {
                Ok(names) => (names, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            self.within.push((path, names.into_iter()));
            if let Some(error) = failed {
                return Some(Err(error));
            }
        }
        let (directory, names) = self.within.last_mut()?;
        let Some(name) = names.next() else {
            return self.within.pop().map(|(path, _)| Ok(WalkEvent::Leave(path)));
        };
        let path = directory.join(name.as_bytes());
        let inode = self.resolver.directory(directory).and_then(|directory| child(directory, &name));
        Some(self.visit(path, inode))
    }
}
