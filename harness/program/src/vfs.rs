//! A file system in memory: what each call does to names, inodes and contents.
//!
//! Only calls that succeeded are applied, so what a process may do (permissions, quotas, mount flags) is not modelled;
//! what a call *does* is. Where the model cannot follow, [`Vfs::apply`] says so and changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{Call, Handle, RelPath, State, Target, Time};
use inodes::{Body, Inode};

mod crossing;
mod data;
mod divergence;
mod handles;
mod inodes;
mod metadata;
mod names;
mod trees;

pub use divergence::{Divergence, Why};

const ROOT: u64 = 0;

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
    /// See [`data::MAX_GROWN`].
    grown: u64,
}

impl Vfs {
    /// Does what `call` does. On an error nothing has changed.
    ///
    /// `O_APPEND` needs nothing here: [`Call::Write`] says where its bytes landed.
    pub fn apply(&mut self, call: &Call) -> Result<(), Divergence> {
        self.events.clear();
        self.try_apply(call).map_err(|why| Divergence { what: divergence::describe(call), why })
    }

    fn try_apply(&mut self, call: &Call) -> Result<(), Why> {
        match call {
            Call::Open { handle, path, flags, mode } => self.open(*handle, path, *flags, *mode),
            Call::Close { handle } => self.close(*handle),
            Call::Write { handle, offset, data, flags } => self.write_through(*handle, *offset, data, *flags),
            Call::Store { handle, offset, data } => self.store(*handle, *offset, data),
            Call::CopyRange { from, from_offset, to, to_offset, length } => {
                self.copy_range((*from, *from_offset), (*to, *to_offset), *length)
            }
            Call::Truncate { target, length } => {
                let id = self.target(target)?;
                self.truncate(id, *length)
            }
            Call::Allocate { handle, mode, offset, length } => {
                let id = self.open_file(*handle)?;
                self.allocate(id, *mode, *offset, *length)
            }
            Call::Mkdir { path, mode } => self.mkdir(path, *mode),
            Call::Mknod { path, mode, device } => self.mknod(path, *mode, *device),
            Call::Symlink { path, target } => self.symlink(path, target),
            Call::Link { from, to } => self.link(from, to),
            Call::Rename { from, to, flags } => self.rename(from, to, *flags),
            Call::Unlink { path } => self.unlink(path),
            Call::Rmdir { path } => self.rmdir(path),
            Call::Chmod { target, mode } => self.chmod(target, *mode),
            Call::Chown { target, uid, gid } => self.chown(target, *uid, *gid),
            // "If both tv_nsec fields are set to UTIME_OMIT", nothing is looked at (fs/utimes.c, `do_utimes`).
            Call::SetTimes { access: Time::Keep, modification: Time::Keep, .. } => Ok(()),
            Call::SetTimes { target, .. } => self.target(target).map(|_| ()),
            Call::SetXattr { target, name, value, flags } => self.set_xattr(target, name, value, *flags),
            Call::RemoveXattr { target, name } => self.remove_xattr(target, name),
            Call::Fsync { handle } | Call::Fdatasync { handle } => self.sync(*handle),
            Call::Msync { handle, offset, length } => self.sync_range(*handle, *offset, *length),
            Call::SyncRange { handle, .. } | Call::DontNeed { handle, .. } => self.handle(*handle).map(|_| ()),
            Call::SyncFs { handle } => self.sync_fs(*handle),
            Call::SyncAll => {
                self.dirty.clear();
                Ok(())
            }
            Call::Arrive { entries, to, flags } => self.arrive(entries, to, *flags),
            Call::Leave { path } => self.leave(path),
            Call::Ack { .. } | Call::Exit { .. } => Ok(()),
        }
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
}

#[cfg(test)]
mod tests;
