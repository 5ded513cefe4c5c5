//! From a directory to a tree in memory.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::SFlag;
use nix::unistd::{Whence, lseek};
use program::{Content, Holes, Kind, Node, RelPath, Tree, sparse};

use crate::path_fd::PathFd;
use crate::resolver::Resolver;
use crate::walk::{Walk, WalkEntry, WalkEvent};
use crate::{Action, Error, Root};

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The longest file, bytes; a longer one is an error.
    pub largest_file: u64,
    /// The most that all files may have together, bytes, each counted once; more are an error.
    pub most_bytes: u64,
    /// How many names there may be beneath the root; more are an error.
    pub most_names: usize,
}

impl Default for ReadOptions {
    /// No bounds.
    fn default() -> Self {
        Self { largest_file: u64::MAX, most_bytes: u64::MAX, most_names: usize::MAX }
    }
}

/// Reads everything beneath a directory, and the directory itself as the root entry: contents, permissions, owners,
/// hard links, and extended attributes of the namespaces `user` and (for the privileged) `trusted`.
///
/// Inodes are numbered from 0 in the order of their first names: a copy of a tree is the same tree.
///
/// Who changes the tree meanwhile gets a tree that never was, or an error, and nothing that is outside.
///
/// # Errors
/// What cannot be read (this user may not, or it is beyond the bounds), by its path.
pub fn read(root: &Root, options: &ReadOptions) -> Result<Tree, Error> {
    read_at(root, &RelPath::root(), options)
}

/// Reads what `at` names, a symbolic link itself, and all that is beneath it. Paths in the tree begin there: that one is the root
/// entry, whatever it is.
///
/// # Errors
/// As [`read`]; paths in them begin at `root`.
pub fn read_at(root: &Root, at: &RelPath, options: &ReadOptions) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    let mut inodes = Inodes::default();
    for event in Walk::new(root, at.clone(), options.most_names) {
        let (WalkEvent::Enter(entry) | WalkEvent::Leaf(entry)) = event? else { continue };
        let node = inodes.node(&entry, options)?;
        let below = entry.path.as_path().strip_prefix(at.as_path()).ok().and_then(RelPath::new);
        tree.0.insert(below.unwrap_or(entry.path), node);
    }
    let mut numbers = HashMap::new();
    for node in tree.0.values_mut() {
        let next = numbers.len() as u64;
        node.inode = *numbers.entry(node.inode).or_insert(next);
    }
    Ok(tree)
}

/// What is known of inodes that were met, by device and number. Their own number here is that of the meeting.
#[derive(Default)]
struct Inodes {
    numbers: HashMap<(u64, u64), u64>,
    /// Of files with several names.
    contents: HashMap<u64, Content>,
    /// Of all files so far.
    bytes: u64,
}

impl Inodes {
    fn node(&mut self, entry: &WalkEntry, options: &ReadOptions) -> Result<Node, Error> {
        let WalkEntry { path, inode, metadata } = entry;
        let next = self.numbers.len() as u64;
        let number = *self.numbers.entry((metadata.dev(), metadata.ino())).or_insert(next);
        Ok(Node {
            kind: self.kind(entry, number, options)?,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            inode: number,
            xattrs: inode.xattrs().map_err(Error::of(Action::ReadXattrs, path))?,
        })
    }

    fn kind(&mut self, entry: &WalkEntry, number: u64, options: &ReadOptions) -> Result<Kind, Error> {
        let WalkEntry { path, inode, metadata } = entry;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Ok(Kind::Directory);
        }
        if kind.is_symlink() {
            return Ok(Kind::Symlink(inode.target().map_err(Error::of(Action::ReadLink, path))?));
        }
        if !kind.is_file() {
            let device = if kind.is_char_device() || kind.is_block_device() { metadata.rdev() } else { 0 };
            return Ok(Kind::Special { mode: type_bits(metadata), device });
        }
        if let Some(known) = self.contents.get(&number) {
            return Ok(Kind::File(known.clone()));
        }
        self.bytes = self.bytes.saturating_add(metadata.len());
        // A file that is too large by itself is told of as such.
        if self.bytes > options.most_bytes && metadata.len() <= options.largest_file {
            let (bytes, most) = (self.bytes, options.most_bytes);
            let problem = format!("with it, the files have {bytes} bytes together, more than {most}");
            return Err(Error::of(Action::ReadFile, path)(io::Error::other(problem)));
        }
        let content = content(inode, metadata.len(), options.largest_file);
        let content = Arc::new(content.map_err(Error::of(Action::ReadFile, path))?);
        if metadata.nlink() > 1 {
            self.contents.insert(number, content.clone());
        }
        Ok(Kind::File(content))
    }
}

/// The type bits of `st_mode` (inode(7)).
pub(crate) fn type_bits(metadata: &Metadata) -> u32 {
    metadata.mode() & SFlag::S_IFMT.bits()
}

/// The content of a regular file of at most `limit` bytes, though it grows while it is read.
fn content(inode: &PathFd, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    let bounded = |size: u64| match size > limit {
        true => Err(io::Error::other(format!("it has {size} bytes, more than {limit}"))),
        false => Ok(()),
    };
    bounded(size)?;
    let mut file = inode.open_file()?;
    // What is a hole is not read, and zeros that are read are not written to memory.
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    let mut from = 0;
    for hole in holes_of(&file, size) {
        if !put_data(&file, &mut bytes, from..hole.start)? {
            break;
        }
        from = hole.end;
    }
    if put_data(&file, &mut bytes, from..size)? {
        // What it has grown by.
        file.seek(SeekFrom::Start(size))?;
        file.take(limit.saturating_add(1).saturating_sub(size)).read_to_end(&mut bytes)?;
    }
    bounded(bytes.len() as u64)?;
    Ok(bytes)
}

/// Reads a range into its place in `bytes`. False if the file ends before it does: then the bytes end there, too.
fn put_data(file: &File, bytes: &mut Vec<u8>, range: Range<u64>) -> io::Result<bool> {
    let mut buffer = vec![0; (range.end.saturating_sub(range.start)).min(PIECE) as usize];
    let mut at = range.start;
    while at < range.end {
        let part = &mut buffer[..(range.end - at).min(PIECE) as usize];
        match file.read_at(part, at) {
            Ok(0) => {
                bytes.truncate(at as usize);
                return Ok(false);
            }
            Ok(read) => {
                sparse::put(bytes, at as usize, &part[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// How much is read at a time, bytes.
const PIECE: u64 = 256 << 10;

/// Where the regular files of `tree`, which was read from there, hold no data. A file system that cannot tell has no holes.
///
/// # Errors
/// A file that can no longer be read.
pub fn holes(root: &Root, tree: &Tree) -> Result<Holes, Error> {
    let mut resolver = Resolver::new(root);
    let mut found = Holes::new();
    for (path, node) in &tree.0 {
        let Kind::File(content) = &node.kind else { continue };
        let file = open_regular(&mut resolver, path).map_err(Error::of(Action::ReadFile, path))?;
        let holes = holes_of(&file, content.len() as u64);
        if !holes.is_empty() {
            found.insert(path.clone(), holes);
        }
    }
    Ok(found)
}

fn open_regular(resolver: &mut Resolver<'_>, path: &RelPath) -> io::Result<File> {
    let inode = resolver.inode(path)?;
    if inode.metadata()?.is_file() {
        inode.open_file()
    } else {
        Err(io::Error::other("it is no regular file any more"))
    }
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
