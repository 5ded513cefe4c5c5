//! From names to descriptors, beneath a root and through no link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use program::RelPath;

use crate::Root;
use crate::path_fd::PathFd;

/// The kernel refuses longer paths (path_resolution(7), `PATH_MAX`, with the NUL at the end).
const LONGEST: usize = 4095;

/// Opens what is beneath a root. It keeps the last directory, since what comes next is mostly in it or beneath it.
pub(crate) struct Resolver<'root> {
    root: &'root Root,
    last: Option<(RelPath, PathFd)>,
}

impl<'root> Resolver<'root> {
    pub(crate) fn new(root: &'root Root) -> Self {
        Self { root, last: None }
    }

    /// The directory of that path.
    ///
    /// # Errors
    /// It is no directory, or there is a link on the way to it; [`io::ErrorKind::InvalidInput`] for what is no path
    /// beneath a directory.
    pub(crate) fn directory(&mut self, path: &RelPath) -> io::Result<&PathFd> {
        let names = components(path)?;
        if path.is_root() {
            return Ok(&self.root.0);
        }
        let found = match self.last.take().filter(|(above, _)| path.starts_with(above)) {
            Some((above, directory)) if above == *path => directory,
            Some((above, directory)) => descend(directory.as_fd(), &names[components(&above)?.len()..])?,
            None => descend(self.root.0.as_fd(), &names)?,
        };
        let (_, directory) = self.last.insert((path.clone(), found));
        Ok(directory)
    }

    /// The directory that holds what `path` names, and its name in there.
    ///
    /// # Errors
    /// As [`Resolver::directory`]; the root is in no directory.
    pub(crate) fn parent<'path>(&mut self, path: &'path RelPath) -> io::Result<(&PathFd, &'path OsStr)> {
        components(path)?;
        let parent = path.parent().ok_or_else(not_beneath)?;
        Ok((self.directory(&parent)?, OsStr::from_bytes(path.name())))
    }

    /// What `path` names; a symbolic link itself.
    ///
    /// # Errors
    /// As [`Resolver::directory`].
    pub(crate) fn inode(&mut self, path: &RelPath) -> io::Result<PathFd> {
        if path.is_root() {
            return Ok(self.root.0.as_fd().try_clone_to_owned()?.into());
        }
        let (parent, name) = self.parent(path)?;
        child(parent, name)
    }
}

/// What is called `name`, which must be one of [`components`] or come from the kernel, in a directory; a symbolic link itself.
pub(crate) fn child(directory: &PathFd, name: &OsStr) -> io::Result<PathFd> {
    Ok(open_beneath(directory.as_fd(), &[name], OFlag::empty())?.into())
}

/// The names that a path is made of.
///
/// A [`RelPath`] that was read from somewhere may hold anything: it is looked at here, where it matters.
fn components(path: &RelPath) -> io::Result<Vec<&OsStr>> {
    if path.is_root() {
        return Ok(Vec::new());
    }
    let plain = |name: &&[u8]| !name.is_empty() && *name != b"." && *name != b".." && !name.contains(&0);
    let names = path.as_path().as_os_str().as_bytes().split(|byte| *byte == b'/');
    names.map(|name| Some(name).filter(plain).map(OsStr::from_bytes).ok_or_else(not_beneath)).collect()
}

fn not_beneath() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no name of anything beneath a directory")
}

/// The directory that `names`, of which there must be some, lead to.
fn descend(start: BorrowedFd<'_>, names: &[&OsStr]) -> io::Result<PathFd> {
    let mut reached: Option<OwnedFd> = None;
    let mut rest = names;
    while !rest.is_empty() {
        let mut length = 0;
        let fits = |name: &&&OsStr| {
            length += name.len() + 1;
            length <= LONGEST
        };
        // A name that no directory can hold is the kernel's to refuse.
        let count = rest.iter().take_while(fits).count().max(1);
        let from = reached.as_ref().map_or(start, AsFd::as_fd);
        reached = Some(open_beneath(from, &rest[..count], OFlag::O_DIRECTORY)?);
        rest = &rest[count..];
    }
    Ok(reached.ok_or_else(not_beneath)?.into())
}

/// Opens with `O_PATH` what `names`, of which there must be some, lead to from a directory.
fn open_beneath(start: BorrowedFd<'_>, names: &[&OsStr], flags: OFlag) -> io::Result<OwnedFd> {
    let flags = flags | OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let safe = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new().flags(flags).resolve(safe);
    match openat2(start, names.join(OsStr::new("/")).as_os_str(), how) {
        // Linux before 5.6, and sandboxes that do not know the call: older ones say EPERM.
        Err(Errno::ENOSYS | Errno::EPERM) => one_by_one(start, names, flags),
        opened => Ok(opened?),
    }
}

/// The same without openat2(2): a name that is no path leads nowhere but into the directory that it is in.
fn one_by_one(start: BorrowedFd<'_>, names: &[&OsStr], flags: OFlag) -> io::Result<OwnedFd> {
    let mut reached: Option<OwnedFd> = None;
    for (index, name) in names.iter().enumerate() {
        let from = reached.as_ref().map_or(start, AsFd::as_fd);
        let within = if index + 1 < names.len() { OFlag::O_DIRECTORY } else { OFlag::empty() };
        reached = Some(openat(from, *name, flags | within, Mode::empty())?);
    }
    reached.ok_or_else(not_beneath)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Whether each of the two ways finds something. Both refuse links in the middle, and neither follows the last name.
    fn found(root: &Root, path: &str) -> [bool; 2] {
        let names: Vec<&OsStr> = path.split('/').map(OsStr::new).collect();
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        [
            open_beneath(root.0.as_fd(), &names, OFlag::empty()).is_ok(),
            one_by_one(root.0.as_fd(), &names, flags).is_ok(),
        ]
    }

    #[test]
    fn no_link_is_followed_with_openat2_and_without() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        symlink("a", at("link")).unwrap();
        symlink("/", at("top")).unwrap();
        let root = Root::open(place.path()).unwrap();
        assert_eq!(found(&root, "a/b/c"), [true; 2]);
        assert_eq!(found(&root, "link"), [true; 2], "the link itself");
        for path in ["link/b", "top/etc", "a/none"] {
            assert_eq!(found(&root, path), [false; 2], "{path}");
        }
        // What no caller lets through, the kernel refuses on its own.
        assert!(!found(&root, "..")[0]);
        assert!(!found(&root, "a/../..")[0]);
        let mut resolver = Resolver::new(&root);
        assert!(resolver.directory(&"link".into()).is_err());
        assert!(resolver.directory(&"a/b".into()).is_ok());
        assert!(resolver.directory(&"a/b/c".into()).is_ok(), "from the one above");
        assert!(resolver.directory(&"a".into()).is_ok(), "from the root again");
    }

    #[test]
    fn only_plain_names_are_beneath_a_directory() {
        let root = Root::open(std::path::Path::new("/")).unwrap();
        let path = |bytes: &[u8]| RelPath::root().join(bytes);
        for bad in
            [&b".."[..], b".", b"../x", b"tmp/..", b"tmp/../tmp", b"/tmp", b"tmp//x", b"tmp/", b"t\0mp", b"./tmp"]
        {
            let refused = |found: io::Result<()>| {
                assert_eq!(found.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad:?}");
            };
            refused(Resolver::new(&root).directory(&path(bad)).map(drop));
            refused(Resolver::new(&root).parent(&path(bad)).map(drop));
            refused(Resolver::new(&root).inode(&path(bad)).map(drop));
        }
    }
}
