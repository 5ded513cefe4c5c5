//! From a tree to the model that holds it, and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::inodes::{Body, Inode, S_IFBLK, S_IFCHR, S_IFMT, inode};
use super::names::components;
use super::{ROOT, Vfs};
use crate::{Kind, Node, RelPath, State, Tree};

impl Vfs {
    /// The file system that holds `tree`, nothing open, nothing dirty. Missing parents are made.
    pub fn new(tree: &Tree) -> Self {
        let mut vfs = Self {
            inodes: HashMap::new(),
            next: ROOT + 1,
            handles: BTreeMap::new(),
            dirty: BTreeSet::new(),
            events: Vec::new(),
            grown: 0,
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

    /// What is there now. Where the user or the group is not known, the root directory's is shown.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        self.collect(ROOT, RelPath::root(), &mut tree.0);
        tree
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

    pub(super) fn state_of(&self, id: u64) -> State {
        match &self.inodes[&id].body {
            Body::File(content) => State::File(content.clone()),
            Body::Directory(_) => State::Directory,
            Body::Symlink(target) => State::Symlink(target.clone()),
            Body::Special { mode, .. } => State::Special { mode: *mode },
        }
    }
}
