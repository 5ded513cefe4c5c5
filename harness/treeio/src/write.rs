//! From a tree in memory to a directory.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};
use program::{Kind, Node, RelPath, Tree, sparse};

use crate::path_fd::PathFd;
use crate::resolver::{Resolver, child};
use crate::{Action, Error, Root};

/// How much of a tree is made.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Which bits of the permissions are set.
    pub mode_bits: u32,
    /// Whether owners (where they differ from what a new file gets, which takes privileges) and extended attributes are.
    pub owners_and_xattrs: bool,
    /// Whether devices are made, which takes privileges; else one is an error.
    pub devices: bool,
    /// When all was last read and written, seconds since 1970; `None` for the time at which it is made.
    pub times: Option<i64>,
}

impl WriteOptions {
    /// The tree as it is.
    pub const EXACT: Self = Self { mode_bits: 0o7777, owners_and_xattrs: true, devices: true, times: None };
    /// Of a tree from elsewhere what gives nobody rights: no set-ID or sticky bits, no devices, all of it this user's own.
    pub const UNTRUSTED: Self = Self { mode_bits: 0o777, owners_and_xattrs: false, devices: false, times: None };
}

/// Writes `tree` into a directory that is there and empty, and gets the root entry's permissions.
///
/// Nothing outside is made, changed or linked, whatever names and links the tree has and whoever changes the directory
/// meanwhile.
///
/// # Errors
/// What cannot be made, by its path; what was made before stays.
pub fn write(root: &Root, tree: &Tree, options: &WriteOptions) -> Result<(), Error> {
    let mut writer = Writer::new(root);
    let mut first: HashMap<u64, &RelPath> = HashMap::new();
    for (path, node) in &tree.0 {
        if node.kind == Kind::Directory {
            if !path.is_root() {
                writer.directory(path)?;
            }
            continue;
        }
        if let Some(first) = first.get(&node.inode) {
            writer.hard_link(first, path)?;
            continue;
        }
        first.insert(node.inode, path);
        let made = match &node.kind {
            Kind::File(content) if options.owners_and_xattrs => writer.file(path, |file| file.write_all(content))?,
            // For somebody to look at: where it is zeros, a file needs no space.
            Kind::File(content) => writer.file(path, |file| write_sparse(file, content))?,
            Kind::Symlink(target) => writer.symlink(path, target)?,
            Kind::Special { mode, device } => {
                let kind = SFlag::from_bits_truncate(*mode) & SFlag::S_IFMT;
                if !options.devices && kind != SFlag::S_IFIFO && kind != SFlag::S_IFSOCK {
                    let source = io::Error::new(io::ErrorKind::InvalidInput, "it is a device");
                    return Err(Error { action: Action::MakeSpecial, path: path.clone(), source });
                }
                writer.special(path, kind, *device)?
            }
            Kind::Directory => continue,
        };
        attributes(node, options).set(&made, path)?;
    }
    // Last, since a directory that must not be written to could not be filled; what is within, first.
    for (path, node) in tree.0.iter().rev().filter(|(_, node)| node.kind == Kind::Directory) {
        writer.finish(path, &attributes(node, options))?;
    }
    Ok(())
}

fn write_sparse(file: &mut File, content: &[u8]) -> io::Result<()> {
    file.set_len(content.len() as u64)?;
    sparse::runs(content).try_for_each(|run| file.write_all_at(&content[run.clone()], run.start as u64))
}

fn attributes<'node>(node: &'node Node, options: &WriteOptions) -> Attributes<'node> {
    let all = options.owners_and_xattrs;
    Attributes {
        owner: all.then_some((node.uid, node.gid)),
        xattrs: all.then_some(&node.xattrs),
        times: options.times.map(|seconds| (TimeSpec::new(seconds, 0), TimeSpec::new(seconds, 0))),
        mode: node.mode & options.mode_bits,
    }
}

/// What is set of an inode that was made, when its content is whole.
pub(crate) struct Attributes<'node> {
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) xattrs: Option<&'node BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Of last access and modification.
    pub(crate) times: Option<(TimeSpec, TimeSpec)>,
    pub(crate) mode: u32,
}

impl Attributes<'_> {
    pub(crate) fn set(&self, inode: &PathFd, path: &RelPath) -> Result<(), Error> {
        let now = inode.metadata().map_err(Error::of(Action::SetOwner, path))?;
        if let Some((uid, gid)) = self.owner.filter(|owner| *owner != (now.uid(), now.gid())) {
            inode.set_owner(uid, gid).map_err(Error::of(Action::SetOwner, path))?;
        }
        for (name, value) in self.xattrs.into_iter().flatten() {
            inode.set_xattr(name, value).map_err(Error::of(Action::SetXattrs, path))?;
        }
        if let Some((access, modification)) = &self.times {
            inode.set_times(access, modification).map_err(Error::of(Action::SetTimes, path))?;
        }
        // After the owner: changing that drops set-user-ID. After the attributes: one must be able to write for them.
        if !now.is_symlink() {
            inode.set_mode(self.mode).map_err(Error::of(Action::SetMode, path))?;
        }
        Ok(())
    }
}

/// Makes things beneath a root, under names that are free: nothing that is there is opened or replaced.
pub(crate) struct Writer<'root> {
    resolver: Resolver<'root>,
    /// For the other names of files, which may be far away.
    links: Resolver<'root>,
}

impl<'root> Writer<'root> {
    pub(crate) fn new(root: &'root Root) -> Self {
        Self { resolver: Resolver::new(root), links: Resolver::new(root) }
    }

    /// Makes a directory that only this user can enter, to be [finished](Writer::finish).
    pub(crate) fn directory(&mut self, path: &RelPath) -> Result<(), Error> {
        self.make(path, |parent, name| Ok(mkdirat(parent, name, Mode::S_IRWXU)?))
            .map_err(Error::of(Action::MakeDirectory, path))
    }

    /// Makes a regular file.
    pub(crate) fn file(
        &mut self,
        path: &RelPath,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<PathFd, Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = self.make(path, |parent, name| {
            let mut file = File::from(openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
            fill(&mut file)?;
            Ok(file.into())
        });
        made.map_err(Error::of(Action::MakeFile, path))
    }

    /// Makes a symbolic link, whose target is never looked at.
    pub(crate) fn symlink(&mut self, path: &RelPath, target: &[u8]) -> Result<PathFd, Error> {
        let made = self.make(path, |parent, name| {
            symlinkat(OsStr::from_bytes(target), parent, name)?;
            child(parent, name)
        });
        made.map_err(Error::of(Action::MakeSymlink, path))
    }

    /// Makes a FIFO, a socket that nobody listens on, or a device.
    pub(crate) fn special(&mut self, path: &RelPath, kind: SFlag, device: u64) -> Result<PathFd, Error> {
        let made = self.make(path, |parent, name| {
            mknodat(parent, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, device)?;
            child(parent, name)
        });
        made.map_err(Error::of(Action::MakeSpecial, path))
    }

    /// Makes `path` another name of what `first` names.
    pub(crate) fn hard_link(&mut self, first: &RelPath, path: &RelPath) -> Result<(), Error> {
        let Self { resolver, links } = self;
        let mut link = || {
            let (from, first) = links.parent(first)?;
            let (to, name) = resolver.parent(path)?;
            // Without AT_SYMLINK_FOLLOW it is the link that gets another name.
            io::Result::Ok(linkat(from, first, to, name, AtFlags::empty())?)
        };
        link().map_err(Error::of(Action::Link, path))
    }

    /// Sets what is to be set of a directory that is full.
    pub(crate) fn finish(&mut self, path: &RelPath, attributes: &Attributes<'_>) -> Result<(), Error> {
        let directory = self.resolver.directory(path).map_err(Error::of(Action::SetMode, path))?;
        attributes.set(directory, path)
    }

    fn make<T>(&mut self, path: &RelPath, make: impl FnOnce(&PathFd, &OsStr) -> io::Result<T>) -> io::Result<T> {
        let (parent, name) = self.resolver.parent(path)?;
        make(parent, name)
    }
}
