//! Open files: open(2), close(2), and what a handle leads to.

use super::inodes::{Body, Inode, inode};
use super::{Vfs, Why};
use crate::{Content, Handle, RelPath};

/// `open(2)` flags, x86-64 (`include/uapi/asm-generic/fcntl.h`).
pub(super) mod o {
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

impl Vfs {
    pub(super) fn open(&mut self, handle: Handle, path: &RelPath, flags: u32, mode: u32) -> Result<(), Why> {
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
                    // fs/namei.c, `may_open` and `open_last_lookups`.
                    Body::Directory(_) if flags & o::PATH == 0 && flags & (o::ACCMODE | o::CREAT | o::TRUNC) != 0 => {
                        return Err(Why::IsADirectory);
                    }
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

    pub(super) fn close(&mut self, handle: Handle) -> Result<(), Why> {
        let (id, _) = self.handles.remove(&handle).ok_or(Why::BadHandle)?;
        self.node(id).open -= 1;
        self.forget_if_unused(id);
        Ok(())
    }

    fn hold(&mut self, handle: Handle, id: u64, flags: u32) {
        self.node(id).open += 1;
        if let Some((previous, _)) = self.handles.insert(handle, (id, flags)) {
            self.node(previous).open -= 1;
            self.forget_if_unused(previous);
        }
    }

    pub(super) fn handle(&self, handle: Handle) -> Result<u64, Why> {
        self.handles.get(&handle).map(|(id, _)| *id).ok_or(Why::BadHandle)
    }

    pub(super) fn open_file(&self, handle: Handle) -> Result<u64, Why> {
        let id = self.handle(handle)?;
        self.content(id)?;
        Ok(id)
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
}
