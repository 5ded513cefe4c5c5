//! Inodes: what there is besides names. They live as long as a name or an open handle leads to them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, ROOT, Vfs, Why};
use crate::Content;

// Bits of `st_mode` (inode(7)).
pub(super) const S_IFMT: u32 = 0o170000;
pub(super) const S_IFCHR: u32 = 0o020000;
pub(super) const S_IFBLK: u32 = 0o060000;
pub(super) const S_IFREG: u32 = 0o100000;
pub(super) const S_ISUID: u32 = 0o4000;
pub(super) const S_ISGID: u32 = 0o2000;
pub(super) const S_IXGRP: u32 = 0o010;

#[derive(Clone, Debug)]
pub(super) enum Body {
    File(Content),
    Directory(BTreeMap<Vec<u8>, u64>),
    Symlink(Vec<u8>),
    Special { mode: u32, device: u64 },
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) mode: u32,
    /// User and group, each `None` while unknown: calls do not tell who makes what they create.
    pub(super) owner: (Option<u32>, Option<u32>),
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Each (directory, name) bound to it.
    pub(super) names: BTreeSet<(u64, Vec<u8>)>,
    /// Open handles on it.
    pub(super) open: u32,
    /// Its data were changed since its mode was last set.
    pub(super) data_changed: bool,
    /// Made by `O_TMPFILE` without `O_EXCL`: may be linked although it has no name (open(2)).
    pub(super) linkable: bool,
}

pub(super) fn inode(body: Body, mode: u32) -> Inode {
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

impl Vfs {
    pub(super) fn add(&mut self, inode: Inode) -> u64 {
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, inode);
        id
    }

    /// Adds what a call makes in `dir`: a set-gid directory hands its group on, and directories in it are such themselves
    /// (`inode_init_owner` in fs/inode.c).
    pub(super) fn add_in(&mut self, dir: u64, mut new: Inode) -> u64 {
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
    pub(super) fn node(&mut self, id: u64) -> &mut Inode {
        self.inodes.get_mut(&id).expect("a name or handle keeps its inode")
    }

    pub(super) fn entries(&self, id: u64) -> Result<&BTreeMap<Vec<u8>, u64>, Why> {
        match &self.inodes[&id].body {
            Body::Directory(entries) => Ok(entries),
            _ => Err(Why::NotADirectory),
        }
    }

    pub(super) fn is_directory(&self, id: u64) -> bool {
        matches!(self.inodes[&id].body, Body::Directory(_))
    }

    pub(super) fn changed(&mut self, id: u64) {
        let touched = self.names(id).into_iter().map(Event::Touched);
        self.events.extend(touched);
    }

    pub(super) fn forget_if_unused(&mut self, id: u64) {
        let node = &self.inodes[&id];
        if id != ROOT && node.open == 0 && node.names.is_empty() {
            self.inodes.remove(&id);
            self.dirty.remove(&id);
        }
    }
}
