//! Modes, owners and extended attributes.

use super::inodes::{Body, S_ISGID, S_ISUID, S_IXGRP};
use super::{Vfs, Why};
use crate::{RelPath, Target};

impl Vfs {
    pub(super) fn chmod(&mut self, target: &Target, mode: u32) -> Result<(), Why> {
        let id = self.target(target)?;
        let node = self.node(id);
        (node.mode, node.data_changed) = (mode & 0o7777, false);
        Ok(())
    }

    pub(super) fn chown(&mut self, target: &Target, uid: u32, gid: u32) -> Result<(), Why> {
        let id = self.target(target)?;
        let node = self.node(id);
        // Whoever calls it (`chown_common` in fs/open.c).
        if !matches!(node.body, Body::Directory(_)) {
            node.mode &= !set_ids(node.mode);
        }
        let owner = &mut node.owner;
        // chown(2): -1 leaves that one as it is.
        if uid != u32::MAX {
            owner.0 = Some(uid);
        }
        if gid != u32::MAX {
            owner.1 = Some(gid);
        }
        Ok(())
    }

    /// setxattr(2): of `flags`, 1 is `XATTR_CREATE` and 2 is `XATTR_REPLACE`.
    pub(super) fn set_xattr(&mut self, target: &Target, name: &[u8], value: &[u8], flags: u32) -> Result<(), Why> {
        let id = self.target(target)?;
        let xattrs = &mut self.node(id).xattrs;
        match (flags & 1 != 0, flags & 2 != 0, xattrs.contains_key(name)) {
            (true, _, true) => Err(Why::Exists),
            (_, true, false) => Err(Why::NoAttribute),
            _ => {
                xattrs.insert(name.to_vec(), value.to_vec());
                Ok(())
            }
        }
    }

    pub(super) fn remove_xattr(&mut self, target: &Target, name: &[u8]) -> Result<(), Why> {
        let id = self.target(target)?;
        self.node(id).xattrs.remove(name).map(|_| ()).ok_or(Why::NoAttribute)
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
}

/// The set-ID bits that a change of owner takes from a file with this mode, and so does a change of its data without
/// privileges. Set-gid without the right of the group to execute is none (`setattr_should_drop_sgid` in fs/attr.c).
fn set_ids(mode: u32) -> u32 {
    mode & if mode & S_IXGRP != 0 { S_ISUID | S_ISGID } else { S_ISUID }
}
