//! Directory trees of the host, read and written.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{Whence, lseek};
use program::{Holes, Kind, Node, RelPath, Tree};

/// Trees are held in memory whole: a larger (sparse) file is refused.
const LARGEST_FILE: u64 = 1 << 30;

/// Why a directory tree could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {source}", path.display())]
pub struct SnapshotError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    move |source| SnapshotError { what, path: path.to_path_buf(), source }
}

/// Reads everything below `directory`, and the directory itself as the root entry: contents, permissions, owners,
/// hard links, and extended attributes of the namespaces `user` and (for the privileged) `trusted`.
///
/// Inodes are numbered from 0 in the order of their first names.
///
/// Nobody may change the tree meanwhile. Errors name the path: above all files that this user may not read, and files
/// beyond 1 GiB.
pub fn snapshot(directory: &Path) -> Result<Tree, SnapshotError> {
    let mut tree = Tree::default();
    let metadata = fs::metadata(directory).map_err(failed("look at", directory))?;
    read_node(directory, RelPath::root(), &metadata, &mut HashMap::new(), &mut tree)?;
    // A copy of a tree is the same tree, and a trace of it the same trace.
    let mut numbers = HashMap::new();
    for node in tree.0.values_mut() {
        let next = numbers.len() as u64;
        node.inode = *numbers.entry(node.inode).or_insert(next);
    }
    Ok(tree)
}

/// Where the regular files of `tree`, which was read from `directory`, hold no data. A file system that cannot tell has no holes.
pub(crate) fn holes(directory: &Path, tree: &Tree) -> Result<Holes, SnapshotError> {
    let mut found = Holes::new();
    for (name, node) in &tree.0 {
        let Kind::File(content) = &node.kind else { continue };
        let path = name.under(directory);
        let file = File::open(&path).map_err(failed("read", &path))?;
        let holes = holes_of(&file, content.len() as u64);
        if !holes.is_empty() {
            found.insert(name.clone(), holes);
        }
    }
    Ok(found)
}

fn holes_of(file: &File, length: u64) -> Vec<Range<u64>> {
    let seek = |from: u64, whence| lseek(file, from as i64, whence).map(|at| (at as u64).min(length));
    let mut holes = Vec::new();
    let mut from = 0;
    while from < length {
        let Ok(start) = seek(from, Whence::SeekHole) else { break };
        from = match seek(start, Whence::SeekData) {
            Ok(data) => data,
            // No data beyond it.
            Err(Errno::ENXIO) => length,
            Err(_) => break,
        };
        if from <= start {
            break;
        }
        holes.push(start..from);
    }
    holes
}

fn read_node(
    path: &Path,
    name: RelPath,
    metadata: &Metadata,
    contents: &mut HashMap<u64, Kind>,
    tree: &mut Tree,
) -> Result<(), SnapshotError> {
    let kind = read_kind(path, metadata, contents)?;
    let node = Node {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        inode: metadata.ino(),
        xattrs: read_xattrs(path).map_err(failed("read the extended attributes of", path))?,
    };
    tree.0.insert(name.clone(), node);
    if !metadata.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(failed("list", path))? {
        let entry = entry.map_err(failed("list", path))?;
        let path = entry.path();
        let metadata = fs::symlink_metadata(&path).map_err(failed("look at", &path))?;
        read_node(&path, name.join(entry.file_name().as_bytes()), &metadata, contents, tree)?;
    }
    Ok(())
}

fn read_kind(path: &Path, metadata: &Metadata, contents: &mut HashMap<u64, Kind>) -> Result<Kind, SnapshotError> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Ok(Kind::Directory);
    }
    if kind.is_symlink() {
        let target = fs::read_link(path).map_err(failed("read the link", path))?;
        return Ok(Kind::Symlink(target.into_os_string().into_vec()));
    }
    if !kind.is_file() {
        let device = if kind.is_char_device() || kind.is_block_device() { metadata.rdev() } else { 0 };
        return Ok(Kind::Special { mode: metadata.mode() & libc::S_IFMT, device });
    }
    if let Some(known) = contents.get(&metadata.ino()) {
        return Ok(known.clone());
    }
    if metadata.len() > LARGEST_FILE {
        let source = io::Error::other(format!("it has {} bytes, more than {LARGEST_FILE}", metadata.len()));
        return Err(failed("read", path)(source));
    }
    let file = Kind::File(Arc::new(fs::read(path).map_err(failed("read", path))?));
    if metadata.nlink() > 1 {
        contents.insert(metadata.ino(), file.clone());
    }
    Ok(file)
}

fn read_xattrs(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(found),
        Err(error) => return Err(error),
    };
    for name in names {
        let bytes = name.as_bytes();
        if !bytes.starts_with(b"user.") && !bytes.starts_with(b"trusted.") {
            continue;
        }
        if let Some(value) = xattr::get(path, &name)? {
            found.insert(bytes.to_vec(), value);
        }
    }
    Ok(found)
}

/// Writes `tree` into the existing, empty `directory`, which gets the root entry's permissions.
///
/// Owners are set where they differ from this user, which takes privileges, as devices do.
pub fn restore(tree: &Tree, directory: &Path) -> Result<(), SnapshotError> {
    let mut inodes: HashMap<u64, PathBuf> = HashMap::new();
    for (name, node) in &tree.0 {
        let path = name.under(directory);
        if let Some(first) = inodes.get(&node.inode).filter(|_| node.kind != Kind::Directory) {
            fs::hard_link(first, &path).map_err(failed("link", &path))?;
            continue;
        }
        write_kind(node, &path, name.is_root()).map_err(failed("write", &path))?;
        inodes.insert(node.inode, path);
    }
    // Backwards, so that a directory is made unwritable after what is in it.
    for (name, node) in tree.0.iter().rev() {
        let path = name.under(directory);
        write_metadata(node, &path).map_err(failed("set the owner and permissions of", &path))?;
    }
    Ok(())
}

fn write_kind(node: &Node, path: &Path, is_root: bool) -> io::Result<()> {
    match &node.kind {
        Kind::Directory if is_root => Ok(()),
        Kind::Directory => fs::create_dir(path),
        Kind::File(content) => fs::write(path, content.as_slice()),
        Kind::Symlink(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), path),
        Kind::Special { mode, device } => {
            Ok(mknod(path, SFlag::from_bits_truncate(*mode), Mode::S_IRUSR | Mode::S_IWUSR, *device)?)
        }
    }
}

fn write_metadata(node: &Node, path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if (metadata.uid(), metadata.gid()) != (node.uid, node.gid) {
        std::os::unix::fs::lchown(path, Some(node.uid), Some(node.gid))?;
    }
    for (name, value) in &node.xattrs {
        xattr::set(path, OsStr::from_bytes(name), value)?;
    }
    // After the owner: changing that drops set-user-ID.
    if !metadata.is_symlink() {
        fs::set_permissions(path, Permissions::from_mode(node.mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_survives_being_written_and_read() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = one.path();
        fs::create_dir_all(root.join("deep/er")).unwrap();
        fs::write(root.join("deep/file"), b"content").unwrap();
        fs::hard_link(root.join("deep/file"), root.join("again")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
        mknod(&root.join("fifo"), SFlag::S_IFIFO, Mode::S_IRUSR, 0).unwrap();
        fs::write(root.join("odd \u{1F980}"), vec![0; 70_000]).unwrap();
        fs::set_permissions(root.join("again"), Permissions::from_mode(0o4711)).unwrap();
        fs::set_permissions(root.join("deep/er"), Permissions::from_mode(0o1700)).unwrap();
        let tagged = xattr::set(root.join("again"), "user.tag", b"value").is_ok();
        let tree = snapshot(root).unwrap();
        assert_eq!(tree.0.len(), 8);
        assert_eq!(tree.file(&"again".into()).unwrap().as_slice(), b"content");
        assert_eq!(tree.0[&RelPath::from("again")].xattrs.len(), usize::from(tagged));
        assert_eq!(tree.0[&RelPath::from("again")].inode, tree.0[&RelPath::from("deep/file")].inode);
        restore(&tree, two.path()).unwrap();
        let copy = snapshot(two.path()).unwrap();
        let links = |tree: &Tree| tree.0[&RelPath::from("again")].inode == tree.0[&RelPath::from("deep/file")].inode;
        assert!(links(&copy));
        assert_eq!(copy, tree);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = snapshot(Path::new("/nonexistent/dir")).unwrap_err();
        assert_eq!(error.to_string(), "cannot look at /nonexistent/dir: No such file or directory (os error 2)");
    }
}
