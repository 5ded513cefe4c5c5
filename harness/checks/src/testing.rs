//! What the tests of this crate share.

use std::collections::BTreeMap;
use std::sync::Arc;

use program::{Kind, Node, RelPath, Tree};

/// A directory in which the file `f` holds this.
pub fn tree(content: &str) -> Tree {
    let node = |kind, inode| Node { kind, mode: 0o755, uid: 0, gid: 0, inode, xattrs: BTreeMap::new() };
    let names =
        [(RelPath::root(), node(Kind::Directory, 1)), ("f".into(), node(Kind::File(Arc::new(content.into())), 2))];
    Tree(names.into())
}
