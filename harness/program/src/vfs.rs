//! A file system in memory: what each call does to names, inodes and contents.
//!
//! Only calls that succeeded are applied, so what a process may do (permissions, quotas, mount flags) is not modelled;
//! what a call *does* is. Where the model cannot follow, [`Vfs::apply`] says so and changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::{Call, Content, Handle, Kind, Node, RelPath, State, Target, Tree};

/// `open(2)` flags, x86-64 (`include/uapi/asm-generic/fcntl.h`).
mod o {
    /// `O_WRONLY` or `O_RDWR`; `O_RDONLY` is 0.
    pub const ACCMODE: u32 = 0o3;
    pub const CREAT: u32 = 0o100;
    pub const EXCL: u32 = 0o200;
    pub const TRUNC: u32 = 0o1000;
    /// `O_SYNC` contains this bit.
    pub const DSYNC: u32 = 0o10000;
    pub const DIRECTORY: u32 = 0o200000;
    pub const NOFOLLOW: u32 = 0o400000;
    pub const PATH: u32 = 0o10000000;
    /// `__O_TMPFILE` alone; the flag as programs give it also holds `O_DIRECTORY`.
    pub const TMPFILE: u32 = 0o20000000;
}

/// `pwritev2(2)` flags `RWF_DSYNC` and `RWF_SYNC`.
const RWF_SYNCS: u32 = 0x2 | 0x4;

/// `fallocate(2)` modes (`include/uapi/linux/falloc.h`).
mod fl {
    pub const KEEP_SIZE: u32 = 0x01;
    pub const PUNCH_HOLE: u32 = 0x02;
    pub const COLLAPSE_RANGE: u32 = 0x08;
    pub const ZERO_RANGE: u32 = 0x10;
    pub const INSERT_RANGE: u32 = 0x20;
    pub const UNSHARE_RANGE: u32 = 0x40;
    pub const WRITE_ZEROES: u32 = 0x80;
}

/// `renameat2(2)` flags.
mod rn {
    pub const NOREPLACE: u32 = 1;
    pub const EXCHANGE: u32 = 2;
    pub const WHITEOUT: u32 = 4;
}

const S_IFMT: u32 = 0o170000;
const S_IFCHR: u32 = 0o020000;
const S_IFBLK: u32 = 0o060000;
const S_IFREG: u32 = 0o100000;
const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o010;
/// path_resolution(7): at most 40 links are followed in one lookup.
const MAX_LINKS: u32 = 40;
/// Contents are held in memory whole; a (sparse) file beyond this many bytes is not followed.
const MAX_FILE: u64 = 1 << 30;
const ROOT: u64 = 0;

/// Why a call that succeeded when it was recorded cannot be applied to the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Divergence {
    /// The call and its names.
    pub what: String,
    /// What the model holds against it.
    pub why: Why,
}

/// What the model holds against a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// `ENOENT`.
    #[error("the name does not exist here")]
    NotFound,
    /// `EEXIST`.
    #[error("the name exists already")]
    Exists,
    /// `ENOTDIR`.
    #[error("this is not a directory")]
    NotADirectory,
    /// `EISDIR`.
    #[error("this is a directory")]
    IsADirectory,
    /// `ENOTEMPTY`.
    #[error("the directory is not empty")]
    NotEmpty,
    /// `EBADF`: no open file has this handle.
    #[error("no open file has this handle")]
    BadHandle,
    /// `ELOOP`.
    #[error("too many symbolic links, or a link where none may be followed")]
    Loop,
    /// `EINVAL`.
    #[error("the arguments make no sense here")]
    Invalid,
    /// `ENODATA`.
    #[error("there is no such attribute")]
    NoAttribute,
    /// A symbolic link that is absolute or climbs out of the recorded directory.
    #[error("a symbolic link leads out of the recorded directory")]
    Outside,
    /// A file too large to hold in memory.
    #[error("the file would be larger than {MAX_FILE} bytes, which is not followed")]
    TooLarge,
}

/// What one applied call did to a name; [`crate::History`] is made of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The name's binding ended, or its content was truncated to nothing: this is what it stood for just before.
    Ended(RelPath, State),
    /// The name stands for something else now, or its content changed.
    Touched(RelPath),
    /// The name's file was written over with what it held already.
    Rewritten(RelPath),
}

#[derive(Clone, Debug)]
enum Body {
    File(Content),
    Directory(BTreeMap<Vec<u8>, u64>),
    Symlink(Vec<u8>),
    Special { mode: u32, device: u64 },
}

#[derive(Clone, Debug)]
struct Inode {
    body: Body,
    mode: u32,
    /// User and group, each `None` while unknown: calls do not tell who makes what they create.
    owner: (Option<u32>, Option<u32>),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Each (directory, name) bound to it.
    names: BTreeSet<(u64, Vec<u8>)>,
    /// Open handles on it.
    open: u32,
    /// Its data were changed since its mode was last set.
    data_changed: bool,
    /// Made by `O_TMPFILE` without `O_EXCL`: may be linked although it has no name (open(2)).
    linkable: bool,
}

/// Where a path leads: the directory that holds the last component, its name there, and what it is bound to.
struct Place {
    dir: u64,
    name: Vec<u8>,
    inode: Option<u64>,
}

/// A file system in memory: names, inodes, hard links, open files.
///
/// It also knows which files are *dirty*: their data were changed since the last call that makes data durable.
#[derive(Clone, Debug)]
pub struct Vfs {
    inodes: HashMap<u64, Inode>,
    next: u64,
    handles: BTreeMap<Handle, (u64, u32)>,
    dirty: BTreeSet<u64>,
    events: Vec<Event>,
}

impl Vfs {
    /// The file system that holds `tree`, nothing open, nothing dirty. Missing parents are made.
    pub fn new(tree: &Tree) -> Self {
        let mut vfs = Self {
            inodes: HashMap::new(),
            next: ROOT + 1,
            handles: BTreeMap::new(),
            dirty: BTreeSet::new(),
            events: Vec::new(),
        };
        vfs.inodes.insert(ROOT, inode(Body::Directory(BTreeMap::new()), 0o755));
        let mut by_number = HashMap::new();
        for (path, node) in &tree.0 {
            let body = match &node.kind {
                Kind::File(content) => Body::File(content.clone()),
                Kind::Directory => Body::Directory(BTreeMap::new()),
                Kind::Symlink(target) => Body::Symlink(target.clone()),
                Kind::Special { mode, device } => Body::Special { mode: *mode, device: *device },
            };
            let is_directory = matches!(body, Body::Directory(_));
            let full = Inode {
                owner: (Some(node.uid), Some(node.gid)),
                xattrs: node.xattrs.clone(),
                ..inode(body, node.mode & 0o7777)
            };
            if path.is_root() {
                vfs.inodes.insert(ROOT, full);
                continue;
            }
            let dir = vfs.make_parents(path);
            let id = match by_number.get(&node.inode) {
                Some(&id) if !is_directory => id,
                _ => vfs.add(full),
            };
            if !is_directory {
                by_number.insert(node.inode, id);
            }
            vfs.bind(dir, path.name().to_vec(), id);
        }
        vfs.events.clear();
        vfs
    }

    fn make_parents(&mut self, path: &RelPath) -> u64 {
        let mut dir = ROOT;
        let Some(parent) = path.parent() else { return dir };
        for name in components(parent.as_path().as_os_str().as_encoded_bytes()) {
            let known = match &self.inodes[&dir].body {
                Body::Directory(entries) => entries.get(name).copied(),
                _ => None,
            };
            dir = known.unwrap_or_else(|| {
                let id = self.add(inode(Body::Directory(BTreeMap::new()), 0o755));
                self.bind(dir, name.to_vec(), id);
                id
            });
        }
        dir
    }

    /// Does what `call` does. On an error nothing has changed.
    ///
    /// `O_APPEND` needs nothing here: [`Call::Write`] says where its bytes landed.
    pub fn apply(&mut self, call: &Call) -> Result<(), Divergence> {
        self.events.clear();
        self.try_apply(call).map_err(|why| Divergence { what: describe(call), why })
    }

    /// What is there now. Where the user or the group is not known, the root directory's is shown.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        self.collect(ROOT, RelPath::root(), &mut tree.0);
        tree
    }

    /// What `path` stands for; its last component is not followed.
    pub fn state(&self, path: &RelPath) -> State {
        self.inode_of(&Target::NoFollow(path.clone())).map_or(State::Absent, |id| self.state_of(id))
    }

    /// A number for the inode that `target` leads to: the same number means the same inode, for as long as it lives.
    pub fn inode_of(&self, target: &Target) -> Option<u64> {
        self.target(target).ok()
    }

    /// Every name of an inode.
    pub fn names(&self, inode: u64) -> Vec<RelPath> {
        self.inodes.get(&inode).map_or_else(Vec::new, |found| {
            found.names.iter().map(|(dir, name)| self.path_of_directory(*dir).join(name)).collect()
        })
    }

    /// The bytes of a regular file.
    pub fn bytes(&self, inode: u64) -> Option<&[u8]> {
        match &self.inodes.get(&inode)?.body {
            Body::File(content) => Some(content),
            _ => None,
        }
    }

    /// The length of a regular file in bytes.
    pub fn length(&self, inode: u64) -> Option<u64> {
        self.bytes(inode).map(|bytes| bytes.len() as u64)
    }

    /// Whether writes through `handle` are durable when they return (`O_DSYNC`, `O_SYNC`).
    pub fn writes_sync(&self, handle: Handle) -> bool {
        self.handles.get(&handle).is_some_and(|(_, flags)| flags & o::DSYNC != 0)
    }

    /// Whether any handle is open through which the file could be written.
    pub fn is_open_for_writing(&self, inode: u64) -> bool {
        let writes = |flags: u32| flags & o::PATH == 0 && flags & o::ACCMODE != 0;
        self.handles.values().any(|(opened, flags)| *opened == inode && writes(*flags))
    }

    /// The names whose binding or content the last applied call changed, or wrote anew.
    pub fn touched(&self) -> impl Iterator<Item = &RelPath> {
        self.events.iter().filter_map(|event| match event {
            Event::Touched(path) | Event::Rewritten(path) => Some(path),
            Event::Ended(..) => None,
        })
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Files whose data were written, truncated or allocated since their last fsync, fdatasync, syncfs or sync.
    ///
    /// sync_file_range(2) cleans nothing here: it flushes no metadata and no disk cache.
    pub fn dirty(&self) -> Vec<Target> {
        let mut files = Vec::new();
        for &id in &self.dirty {
            let open = self.handles.iter().find(|(_, (opened, _))| *opened == id).map(|(handle, _)| *handle);
            match (self.names(id).into_iter().next(), open) {
                (Some(path), _) => files.push(Target::NoFollow(path)),
                (None, Some(handle)) => files.push(Target::Handle(handle)),
                (None, None) => {}
            }
        }
        files
    }

    pub(crate) fn dirty_inodes(&self) -> &BTreeSet<u64> {
        &self.dirty
    }

    /// User and group of what `path` stands for, each if known.
    pub(crate) fn owner(&self, path: &RelPath) -> (Option<u32>, Option<u32>) {
        let id = self.inode_of(&Target::NoFollow(path.clone()));
        id.map_or((None, None), |id| self.inodes[&id].owner)
    }

    /// Whether the kernel took set-ID bits from the file at `path`, if those who changed its data had no privileges
    /// (`file_remove_privs` in fs/inode.c). They are kept here.
    pub(crate) fn may_lack_set_ids(&self, path: &RelPath) -> bool {
        let id = self.inode_of(&Target::NoFollow(path.clone()));
        id.map(|id| &self.inodes[&id]).is_some_and(|node| node.data_changed && set_ids(node.mode) != 0)
    }

    fn try_apply(&mut self, call: &Call) -> Result<(), Why> {
        match call {
            Call::Open { handle, path, flags, mode } => self.open(*handle, path, *flags, *mode),
            Call::Close { handle } => {
                let (id, _) = self.handles.remove(handle).ok_or(Why::BadHandle)?;
                self.node(id).open -= 1;
                self.forget_if_unused(id);
                Ok(())
            }
            Call::Write { handle, offset, data, flags } => {
                let syncs = flags & RWF_SYNCS != 0 || self.writes_sync(*handle);
                let id = self.open_file(*handle)?;
                self.write(id, *offset, data, syncs)
            }
            Call::CopyRange { from, from_offset, to, to_offset, length } => {
                let source = self.open_file(*from)?;
                let id = self.open_file(*to)?;
                let content = self.content(source)?.clone();
                let start = (*from_offset).min(content.len() as u64) as usize;
                let end = from_offset.saturating_add(*length).min(content.len() as u64) as usize;
                self.write(id, *to_offset, &content[start..end], self.writes_sync(*to))
            }
            Call::Truncate { target, length } => {
                let id = self.target(target)?;
                self.truncate(id, *length)
            }
            Call::Allocate { handle, mode, offset, length } => {
                let id = self.open_file(*handle)?;
                self.allocate(id, *mode, *offset, *length)
            }
            // Set-ID bits come from the directory above alone (`vfs_mkdir` in fs/namei.c).
            Call::Mkdir { path, mode } => self.create(path, Body::Directory(BTreeMap::new()), *mode & 0o1777),
            Call::Mknod { path, mode, device } => match mode & S_IFMT {
                0 | S_IFREG => self.create(path, Body::File(Content::default()), *mode),
                kind => self.create(path, Body::Special { mode: kind, device: *device }, *mode),
            },
            Call::Symlink { path, target } => self.create(path, Body::Symlink(target.clone()), 0o777),
            Call::Link { from, to } => self.link(from, to),
            Call::Rename { from, to, flags } => self.rename(from, to, *flags),
            Call::Unlink { path } => {
                let place = self.resolve(path, false)?;
                let id = place.inode.ok_or(Why::NotFound)?;
                if self.is_directory(id) {
                    return Err(Why::IsADirectory);
                }
                self.unbind(place.dir, &place.name, id);
                self.forget_if_unused(id);
                Ok(())
            }
            Call::Rmdir { path } => {
                let place = self.resolve(path, false)?;
                let id = place.inode.ok_or(Why::NotFound)?;
                if id == ROOT {
                    return Err(Why::Invalid);
                }
                if !self.entries(id)?.is_empty() {
                    return Err(Why::NotEmpty);
                }
                self.unbind(place.dir, &place.name, id);
                self.forget_if_unused(id);
                Ok(())
            }
            Call::Chmod { target, mode } => {
                let id = self.target(target)?;
                let node = self.node(id);
                (node.mode, node.data_changed) = (mode & 0o7777, false);
                Ok(())
            }
            Call::Chown { target, uid, gid } => {
                let id = self.target(target)?;
                let node = self.node(id);
                // Whoever calls it (`chown_common` in fs/open.c).
                if !matches!(node.body, Body::Directory(_)) {
                    node.mode &= !set_ids(node.mode);
                }
                let owner = &mut node.owner;
                // chown(2): -1 leaves that one as it is.
                if *uid != u32::MAX {
                    owner.0 = Some(*uid);
                }
                if *gid != u32::MAX {
                    owner.1 = Some(*gid);
                }
                Ok(())
            }
            Call::SetTimes { target, .. } => self.target(target).map(|_| ()),
            Call::SetXattr { target, name, value, flags } => {
                let id = self.target(target)?;
                let xattrs = &mut self.node(id).xattrs;
                match (flags & 1 != 0, flags & 2 != 0, xattrs.contains_key(name)) {
                    (true, _, true) => Err(Why::Exists),
                    (_, true, false) => Err(Why::NoAttribute),
                    _ => {
                        xattrs.insert(name.clone(), value.clone());
                        Ok(())
                    }
                }
            }
            Call::RemoveXattr { target, name } => {
                let id = self.target(target)?;
                self.node(id).xattrs.remove(name).map(|_| ()).ok_or(Why::NoAttribute)
            }
            Call::Fsync { handle } | Call::Fdatasync { handle } => {
                let id = self.handle(*handle)?;
                self.dirty.remove(&id);
                Ok(())
            }
            Call::SyncRange { handle, .. } | Call::DontNeed { handle, .. } => self.handle(*handle).map(|_| ()),
            Call::SyncFs { handle } => {
                self.handle(*handle)?;
                self.dirty.clear();
                Ok(())
            }
            Call::SyncAll => {
                self.dirty.clear();
                Ok(())
            }
            Call::Ack { .. } | Call::Exit { .. } => Ok(()),
        }
    }

    fn open(&mut self, handle: Handle, path: &RelPath, flags: u32, mode: u32) -> Result<(), Why> {
        if flags & o::PATH == 0 && flags & o::TMPFILE != 0 {
            let dir = self.resolve(path, true)?.inode.ok_or(Why::NotFound)?;
            self.entries(dir)?;
            let new = inode(Body::File(Content::default()), mode & 0o7777);
            let id = self.add_in(dir, Inode { linkable: flags & o::EXCL == 0, ..new });
            self.hold(handle, id, flags);
            return Ok(());
        }
        let exclusive = flags & (o::CREAT | o::EXCL) == o::CREAT | o::EXCL && flags & o::PATH == 0;
        let follow = !exclusive && flags & o::NOFOLLOW == 0;
        let place = self.resolve(path, follow)?;
        let id = match place.inode {
            Some(_) if exclusive => return Err(Why::Exists),
            Some(id) => {
                match &self.inodes[&id].body {
                    Body::Symlink(_) if flags & o::PATH == 0 => return Err(Why::Loop),
                    Body::Directory(_) => {}
                    _ if flags & o::DIRECTORY != 0 => return Err(Why::NotADirectory),
                    _ => {}
                }
                if flags & o::TRUNC != 0 && flags & o::PATH == 0 && self.content(id).is_ok() {
                    self.truncate(id, 0)?;
                }
                id
            }
            None if flags & o::CREAT != 0 && flags & o::PATH == 0 => {
                let id = self.add_in(place.dir, inode(Body::File(Content::default()), mode & 0o7777));
                self.bind(place.dir, place.name, id);
                id
            }
            None => return Err(Why::NotFound),
        };
        self.hold(handle, id, flags);
        Ok(())
    }

    fn hold(&mut self, handle: Handle, id: u64, flags: u32) {
        self.node(id).open += 1;
        if let Some((previous, _)) = self.handles.insert(handle, (id, flags)) {
            self.node(previous).open -= 1;
            self.forget_if_unused(previous);
        }
    }

    fn write(&mut self, id: u64, offset: u64, data: &[u8], syncs: bool) -> Result<(), Why> {
        if data.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= MAX_FILE).ok_or(Why::TooLarge)? as usize;
        self.node(id).data_changed = true;
        if self.content(id)?.get(offset as usize..end) == Some(data) {
            let rewritten = self.names(id).into_iter().map(Event::Rewritten);
            self.events.extend(rewritten);
        } else {
            let content = self.content_mut(id)?;
            if content.len() < end {
                content.resize(end, 0);
            }
            content[offset as usize..end].copy_from_slice(data);
            self.changed(id);
        }
        // A synchronous write cleans only what it wrote: data that were dirty before stay dirty.
        if !syncs {
            self.dirty.insert(id);
        }
        Ok(())
    }

    fn truncate(&mut self, id: u64, length: u64) -> Result<(), Why> {
        let old = self.content(id)?.len() as u64;
        if length > MAX_FILE {
            return Err(Why::TooLarge);
        }
        self.node(id).data_changed = true;
        if length == old {
            return Ok(());
        }
        if length == 0 {
            let state = self.state_of(id);
            let ended = self.names(id).into_iter().map(|path| Event::Ended(path, state.clone()));
            self.events.extend(ended);
            // A new buffer: what ended may still be held by the event.
            self.node(id).body = Body::File(Content::default());
        } else {
            self.content_mut(id)?.resize(length as usize, 0);
        }
        self.changed(id);
        self.dirty.insert(id);
        Ok(())
    }

    /// fallocate(2). Space that is only reserved changes nothing that can be seen.
    fn allocate(&mut self, id: u64, mode: u32, offset: u64, length: u64) -> Result<(), Why> {
        let size = self.content(id)?.len() as u64;
        let end = offset.checked_add(length).filter(|_| length > 0).ok_or(Why::Invalid)?;
        let zeroes = fl::PUNCH_HOLE | fl::ZERO_RANGE | fl::WRITE_ZEROES;
        let mut new = self.content(id)?.clone();
        match mode & !fl::KEEP_SIZE {
            0 | fl::UNSHARE_RANGE => {}
            fl::PUNCH_HOLE | fl::ZERO_RANGE | fl::WRITE_ZEROES => {
                let (start, stop) = (offset.min(size) as usize, end.min(size) as usize);
                Arc::make_mut(&mut new)[start..stop].fill(0);
            }
            fl::COLLAPSE_RANGE if end < size => {
                Arc::make_mut(&mut new).drain(offset as usize..end as usize);
            }
            fl::INSERT_RANGE if offset < size => {
                if size.saturating_add(length) > MAX_FILE {
                    return Err(Why::TooLarge);
                }
                let at = offset as usize;
                Arc::make_mut(&mut new).splice(at..at, std::iter::repeat_n(0, length as usize));
            }
            _ => return Err(Why::Invalid),
        }
        // PUNCH_HOLE is always given with KEEP_SIZE; the shifting modes set the size themselves.
        let extends = mode & fl::KEEP_SIZE == 0 && mode & (fl::COLLAPSE_RANGE | fl::INSERT_RANGE) == 0;
        if extends && end > size {
            if end > MAX_FILE {
                return Err(Why::TooLarge);
            }
            Arc::make_mut(&mut new).resize(end as usize, 0);
        }
        self.node(id).data_changed = true;
        if new.len() as u64 != size || mode & (zeroes | fl::COLLAPSE_RANGE | fl::INSERT_RANGE) != 0 {
            self.node(id).body = Body::File(new);
            self.changed(id);
            self.dirty.insert(id);
        }
        Ok(())
    }

    fn create(&mut self, path: &RelPath, body: Body, mode: u32) -> Result<(), Why> {
        let place = self.resolve(path, false)?;
        if place.inode.is_some() {
            return Err(Why::Exists);
        }
        let id = self.add_in(place.dir, inode(body, mode & 0o7777));
        self.bind(place.dir, place.name, id);
        Ok(())
    }

    fn link(&mut self, from: &Target, to: &RelPath) -> Result<(), Why> {
        let id = self.target(from)?;
        let node = &self.inodes[&id];
        if matches!(node.body, Body::Directory(_)) {
            return Err(Why::IsADirectory);
        }
        if node.names.is_empty() && !node.linkable {
            return Err(Why::NotFound);
        }
        let place = self.resolve(to, false)?;
        if place.inode.is_some() {
            return Err(Why::Exists);
        }
        self.bind(place.dir, place.name, id);
        Ok(())
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath, flags: u32) -> Result<(), Why> {
        let source = self.resolve(from, false)?;
        let id = source.inode.ok_or(Why::NotFound)?;
        let target = self.resolve(to, false)?;
        if id == ROOT || target.inode == Some(ROOT) {
            return Err(Why::Invalid);
        }
        if self.is_inside(target.dir, id) {
            return Err(Why::Invalid);
        }
        if flags & rn::EXCHANGE != 0 {
            let other = target.inode.ok_or(Why::NotFound)?;
            if self.is_inside(source.dir, other) {
                return Err(Why::Invalid);
            }
            if other == id {
                return Ok(());
            }
            self.unbind(source.dir, &source.name, id);
            self.unbind(target.dir, &target.name, other);
            self.bind(source.dir, source.name, other);
            self.bind(target.dir, target.name, id);
            return Ok(());
        }
        if let Some(replaced) = target.inode {
            if flags & rn::NOREPLACE != 0 {
                return Err(Why::Exists);
            }
            // rename(2): two names of one file: nothing happens.
            if replaced == id {
                return Ok(());
            }
            match (self.is_directory(id), self.is_directory(replaced)) {
                (true, false) => return Err(Why::NotADirectory),
                (false, true) => return Err(Why::IsADirectory),
                (true, true) if !self.entries(replaced)?.is_empty() => return Err(Why::NotEmpty),
                _ => {}
            }
            self.unbind(target.dir, &target.name, replaced);
            self.forget_if_unused(replaced);
        }
        self.unbind(source.dir, &source.name, id);
        self.bind(target.dir, target.name, id);
        if flags & rn::WHITEOUT != 0 {
            // rename(2): a whiteout is a character device with the number 0/0.
            let whiteout = self.add_in(source.dir, inode(Body::Special { mode: S_IFCHR, device: 0 }, 0));
            self.bind(source.dir, source.name, whiteout);
        }
        Ok(())
    }

    /// Looks a path up (path_resolution(7)); the last component need not exist.
    fn resolve(&self, path: &RelPath, follow: bool) -> Result<Place, Why> {
        let mut todo: Vec<Vec<u8>> =
            components(path.as_path().as_os_str().as_encoded_bytes()).rev().map(<[u8]>::to_vec).collect();
        let mut place = Place { dir: ROOT, name: Vec::new(), inode: Some(ROOT) };
        let mut dir = ROOT;
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                dir = self.inodes[&dir].names.first().ok_or(Why::Outside)?.0;
                place = match self.inodes[&dir].names.first() {
                    Some((above, own)) => Place { dir: *above, name: own.clone(), inode: Some(dir) },
                    None => Place { dir: ROOT, name: Vec::new(), inode: Some(ROOT) },
                };
                continue;
            }
            let found = self.entries(dir)?.get(&name).copied();
            let last = todo.is_empty();
            match found.map(|id| (id, &self.inodes[&id].body)) {
                Some((_, Body::Symlink(target))) if !last || follow => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Why::Loop);
                    }
                    if target.first() == Some(&b'/') {
                        return Err(Why::Outside);
                    }
                    todo.extend(components(target).rev().map(<[u8]>::to_vec));
                }
                Some((id, Body::Directory(_))) => {
                    place = Place { dir, name, inode: Some(id) };
                    dir = id;
                }
                Some(_) if !last => return Err(Why::NotADirectory),
                None if !last => return Err(Why::NotFound),
                other => place = Place { dir, name, inode: other.map(|(id, _)| id) },
            }
        }
        Ok(place)
    }

    fn target(&self, target: &Target) -> Result<u64, Why> {
        match target {
            Target::Path(path) => self.resolve(path, true)?.inode.ok_or(Why::NotFound),
            Target::NoFollow(path) => self.resolve(path, false)?.inode.ok_or(Why::NotFound),
            Target::Handle(handle) => self.handle(*handle),
        }
    }

    fn handle(&self, handle: Handle) -> Result<u64, Why> {
        self.handles.get(&handle).map(|(id, _)| *id).ok_or(Why::BadHandle)
    }

    fn open_file(&self, handle: Handle) -> Result<u64, Why> {
        let id = self.handle(handle)?;
        self.content(id)?;
        Ok(id)
    }

    fn content(&self, id: u64) -> Result<&Content, Why> {
        match &self.inodes[&id].body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(Why::IsADirectory),
            _ => Err(Why::Invalid),
        }
    }

    fn content_mut(&mut self, id: u64) -> Result<&mut Vec<u8>, Why> {
        match &mut self.node(id).body {
            Body::File(content) => Ok(Arc::make_mut(content)),
            Body::Directory(_) => Err(Why::IsADirectory),
            _ => Err(Why::Invalid),
        }
    }

    fn entries(&self, id: u64) -> Result<&BTreeMap<Vec<u8>, u64>, Why> {
        match &self.inodes[&id].body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(Why::NotADirectory),
        }
    }

    fn is_directory(&self, id: u64) -> bool {
        matches!(self.inodes[&id].body, Body::Directory(_))
    }

    /// Whether the directory `dir` is `ancestor` or below it.
    fn is_inside(&self, mut dir: u64, ancestor: u64) -> bool {
        while dir != ancestor {
            match self.inodes[&dir].names.first() {
                Some((parent, _)) => dir = *parent,
                None => return false,
            }
        }
        true
    }

    fn path_of_directory(&self, dir: u64) -> RelPath {
        match self.inodes.get(&dir).and_then(|node| node.names.first()) {
            Some((parent, name)) => self.path_of_directory(*parent).join(name),
            None => RelPath::root(),
        }
    }

    fn add(&mut self, inode: Inode) -> u64 {
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, inode);
        id
    }

    /// Adds what a call makes in `dir`: a set-gid directory hands its group on, and directories in it are such themselves
    /// (`inode_init_owner` in fs/inode.c).
    fn add_in(&mut self, dir: u64, mut new: Inode) -> u64 {
        let Inode { mode, owner: (_, group), .. } = self.inodes[&dir];
        if mode & S_ISGID != 0 {
            new.owner.1 = group;
            if matches!(new.body, Body::Directory(_)) {
                new.mode |= S_ISGID;
            }
        }
        self.add(new)
    }

    /// Ids come from names and handles, which keep their inode alive.
    fn node(&mut self, id: u64) -> &mut Inode {
        self.inodes.get_mut(&id).expect("a name or handle keeps its inode")
    }

    fn bind(&mut self, dir: u64, name: Vec<u8>, id: u64) {
        let path = self.path_of_directory(dir).join(&name);
        if let Body::Directory(entries) = &mut self.node(dir).body {
            entries.insert(name.clone(), id);
        }
        self.node(id).names.insert((dir, name));
        self.below(id, &path, &mut |vfs, path, _| vfs.events.push(Event::Touched(path.clone())));
    }

    fn unbind(&mut self, dir: u64, name: &[u8], id: u64) {
        let path = self.path_of_directory(dir).join(name);
        self.below(id, &path, &mut |vfs, path, id| {
            let state = vfs.state_of(id);
            vfs.events.push(Event::Ended(path.clone(), state));
            vfs.events.push(Event::Touched(path.clone()));
        });
        if let Body::Directory(entries) = &mut self.node(dir).body {
            entries.remove(name);
        }
        self.node(id).names.remove(&(dir, name.to_vec()));
    }

    /// Calls `each` for `path`, bound to `id`, and every name below it.
    fn below(&mut self, id: u64, path: &RelPath, each: &mut impl FnMut(&mut Self, &RelPath, u64)) {
        each(self, path, id);
        if let Body::Directory(entries) = &self.inodes[&id].body {
            for (name, child) in entries.clone() {
                self.below(child, &path.join(&name), each);
            }
        }
    }

    fn changed(&mut self, id: u64) {
        let touched = self.names(id).into_iter().map(Event::Touched);
        self.events.extend(touched);
    }

    fn forget_if_unused(&mut self, id: u64) {
        let node = &self.inodes[&id];
        if id != ROOT && node.open == 0 && node.names.is_empty() {
            self.inodes.remove(&id);
            self.dirty.remove(&id);
        }
    }

    fn state_of(&self, id: u64) -> State {
        match &self.inodes[&id].body {
            Body::File(content) => State::File(content.clone()),
            Body::Directory(_) => State::Directory,
            Body::Symlink(target) => State::Symlink(target.clone()),
            Body::Special { mode, .. } => State::Special { mode: *mode },
        }
    }

    fn collect(&self, id: u64, path: RelPath, nodes: &mut BTreeMap<RelPath, Node>) {
        let inode = &self.inodes[&id];
        let kind = match &inode.body {
            Body::File(content) => Kind::File(content.clone()),
            Body::Directory(entries) => {
                for (name, child) in entries {
                    self.collect(*child, path.join(name), nodes);
                }
                Kind::Directory
            }
            Body::Symlink(target) => Kind::Symlink(target.clone()),
            Body::Special { mode, device } => {
                let has_number = matches!(mode & S_IFMT, S_IFCHR | S_IFBLK);
                Kind::Special { mode: mode & S_IFMT, device: if has_number { *device } else { 0 } }
            }
        };
        let root = self.inodes[&ROOT].owner;
        let (uid, gid) = (inode.owner.0.or(root.0).unwrap_or(0), inode.owner.1.or(root.1).unwrap_or(0));
        nodes.insert(path, Node { kind, mode: inode.mode, uid, gid, inode: id, xattrs: inode.xattrs.clone() });
    }
}

fn inode(body: Body, mode: u32) -> Inode {
    Inode {
        body,
        mode,
        owner: (None, None),
        xattrs: BTreeMap::new(),
        names: BTreeSet::new(),
        open: 0,
        data_changed: false,
        linkable: false,
    }
}

/// The set-ID bits that a change of owner takes from a file with this mode, and so does a change of its data without
/// privileges. Set-gid without the right of the group to execute is none (`setattr_should_drop_sgid` in fs/attr.c).
fn set_ids(mode: u32) -> u32 {
    mode & if mode & S_IXGRP != 0 { S_ISUID | S_ISGID } else { S_ISUID }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// The call and its names, for messages.
fn describe(call: &Call) -> String {
    let on = |target: &Target| match target {
        Target::Path(path) | Target::NoFollow(path) => path.to_string(),
        Target::Handle(handle) => format!("#{}", handle.0),
    };
    match call {
        Call::Open { path, .. } => format!("open {path}"),
        Call::Close { handle } => format!("close #{}", handle.0),
        Call::Write { handle, offset, data, .. } => {
            format!("write {} bytes at {offset} to #{}", data.len(), handle.0)
        }
        Call::CopyRange { from, to, .. } => format!("copy_file_range #{} to #{}", from.0, to.0),
        Call::Truncate { target, length } => format!("truncate {} to {length} bytes", on(target)),
        Call::Allocate { handle, .. } => format!("fallocate #{}", handle.0),
        Call::Mkdir { path, .. } => format!("mkdir {path}"),
        Call::Mknod { path, .. } => format!("mknod {path}"),
        Call::Symlink { path, .. } => format!("symlink {path}"),
        Call::Link { from, to } => format!("link {} to {to}", on(from)),
        Call::Rename { from, to, .. } => format!("rename {from} to {to}"),
        Call::Unlink { path } => format!("unlink {path}"),
        Call::Rmdir { path } => format!("rmdir {path}"),
        Call::Chmod { target, .. } => format!("chmod {}", on(target)),
        Call::Chown { target, .. } => format!("chown {}", on(target)),
        Call::SetTimes { target, .. } => format!("utimensat {}", on(target)),
        Call::SetXattr { target, .. } => format!("setxattr {}", on(target)),
        Call::RemoveXattr { target, .. } => format!("removexattr {}", on(target)),
        Call::Fsync { handle } => format!("fsync #{}", handle.0),
        Call::Fdatasync { handle } => format!("fdatasync #{}", handle.0),
        Call::SyncRange { handle, .. } => format!("sync_file_range #{}", handle.0),
        Call::DontNeed { handle, .. } => format!("posix_fadvise #{}", handle.0),
        Call::SyncFs { handle } => format!("syncfs #{}", handle.0),
        Call::SyncAll => "sync".to_owned(),
        Call::Ack { .. } => "ack".to_owned(),
        Call::Exit { .. } => "exit".to_owned(),
    }
}

#[cfg(test)]
mod tests;
