//! Small makers for this crate's tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Call, Kind, Node, Op, RelPath, Tree};

/// A tree of plain files, each its own inode, owned by 0:0, mode 644.
pub fn tree(files: &[(&str, &[u8])]) -> Tree {
    let node = |kind, mode, inode| Node { kind, mode, uid: 0, gid: 0, inode, xattrs: BTreeMap::new() };
    let mut tree = Tree::default();
    tree.0.insert(RelPath::root(), node(Kind::Directory, 0o755, 1));
    for (inode, (path, content)) in (2..).zip(files) {
        let path = RelPath::from(*path);
        let mut parent = path.parent();
        while let Some(dir) = parent.filter(|dir| !dir.is_root()) {
            let number = 1000 + tree.0.len() as u64;
            tree.0.entry(dir.clone()).or_insert_with(|| node(Kind::Directory, 0o755, number));
            parent = dir.parent();
        }
        tree.0.insert(path, node(Kind::File(Arc::new(content.to_vec())), 0o644, inode));
    }
    tree
}

/// A call that succeeded.
pub fn op(call: Call) -> Op {
    Op { call, syscall: "test".to_owned(), result: 0, thread: 0 }
}
