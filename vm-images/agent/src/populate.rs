//! Builds the durable start state.

use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::FsFlags;
use program::{Holes, Kind, Node, RelPath, Tree};
use protocol::{Conditions, Recipe, Reply};

use crate::commit::{COMMIT_FILE, Commit};
use crate::{MOUNT, WORK, calls, observe, rest};

/// Mounts, builds `tree`, unmounts cleanly.
pub fn populate(disk: &Path, filesystem: &Recipe, tree: &Tree, holes: &Holes) -> Result<Reply, String> {
    calls::set_clock(calls::Phase::Populate);
    let Recipe { name, options, .. } = filesystem;
    let not =
        |reason| Ok(Reply::NotMounted(format!("cannot mount a fresh {name} with the options \"{options}\": {reason}")));
    if let Err(refusal) = observe::mount(disk, filesystem, options)? {
        return not(refusal.to_string());
    }
    let flags = nix::sys::statvfs::statvfs(MOUNT).map(|about| about.flags());
    if flags.is_ok_and(|flags| flags.contains(FsFlags::ST_RDONLY)) {
        observe::unmount(filesystem, disk)?;
        return not("then nothing can be written to it".to_owned());
    }
    let built = settle(disk, filesystem).and_then(|()| build(tree, holes)).and_then(|()| store(disk, filesystem, tree));
    // Whatever happened, the disk must be free for the next command.
    let unmounted = observe::unmount(filesystem, disk);
    built.and(unmounted).map(|()| Reply::Done)
}

/// Mounts and unmounts once: what a file system does only at its first mount, in the background and therefore now
/// before and now after the files are built, is done before anything that matters.
fn settle(disk: &Path, filesystem: &Recipe) -> Result<(), String> {
    File::create(COMMIT_FILE).map_err(|error| format!("failed to make {COMMIT_FILE} in {MOUNT}: {error}"))?;
    rest::warm_up(disk, filesystem, &mut Commit::open(disk, filesystem, Conditions::default())?)?;
    observe::unmount(filesystem, disk)?;
    observe::mount(disk, filesystem, &filesystem.options)?
        .map_err(|refusal| format!("failed to mount again: {refusal}"))?;
    rest::warm_up(disk, filesystem, &mut Commit::open(disk, filesystem, Conditions::default())?)
}

/// Writes everything out, one thing after the other, and leaves nothing to unmounting.
fn store(disk: &Path, filesystem: &Recipe, tree: &Tree) -> Result<(), String> {
    let files = tree.0.iter().filter(|(_, node)| matches!(node.kind, Kind::File(_)));
    for (path, _) in files {
        let fail = |error| format!("failed to write {path} of the start state out in the guest: {error}");
        let file = File::open(path.under(Path::new(WORK))).map_err(fail)?;
        rest::write_out(disk, file.as_fd()).map_err(fail)?;
    }
    Commit::open(disk, filesystem, Conditions::default())?
        .force()
        .map_err(|error| format!("failed to commit the start state: {error}"))?;
    rest::quiesce(disk);
    Ok(())
}

fn build(tree: &Tree, holes: &Holes) -> Result<(), String> {
    let fail = |what: &RelPath, error: std::io::Error| {
        format!("failed to build {what} of the start state in the guest: {error}")
    };
    fs::create_dir(WORK).map_err(|error| format!("failed to make the workload's directory {WORK}: {error}"))?;
    let mut inodes: HashMap<u64, PathBuf> = HashMap::new();
    // In the order of paths: a directory comes before what is in it.
    for (path, node) in &tree.0 {
        let full = path.under(Path::new(WORK));
        if node.kind != Kind::Directory {
            if let Some(first) = inodes.get(&node.inode) {
                fs::hard_link(first, &full).map_err(|error| fail(path, error))?;
                continue;
            }
            inodes.insert(node.inode, full.clone());
        }
        let holes = holes.get(path).map_or(&[][..], Vec::as_slice);
        make(&full, node, holes).map_err(|error| fail(path, error))?;
        dress(&full, node).map_err(|error| fail(path, error))?;
    }
    Ok(())
}

fn make(full: &Path, node: &Node, holes: &[Range<u64>]) -> std::io::Result<()> {
    match &node.kind {
        Kind::Directory if full == Path::new(WORK) => Ok(()),
        Kind::Directory => fs::create_dir(full),
        Kind::File(content) => write(&File::create(full)?, content, holes),
        Kind::Symlink(target) => symlink(std::ffi::OsStr::from_bytes(target), full),
        Kind::Special { mode, device } => calls::mknod(full, mode | node.mode, *device).map_err(std::io::Error::from),
    }
}

/// Writes what is data. Zeros in the place of a hole would be blocks that the workload overwrites in place, where a write may
/// be torn; what is written into a hole goes to new ones.
fn write(file: &File, content: &[u8], holes: &[Range<u64>]) -> std::io::Result<()> {
    let mut from = 0;
    for hole in holes {
        let data = content.get(from..hole.start as usize).ok_or(std::io::ErrorKind::InvalidInput)?;
        file.write_all_at(data, from as u64)?;
        from = hole.end as usize;
    }
    let data = content.get(from..).ok_or(std::io::ErrorKind::InvalidInput)?;
    file.write_all_at(data, from as u64)?;
    // Not where there is no hole: it could free what was allocated ahead.
    if data.is_empty() && !holes.is_empty() { file.set_len(content.len() as u64) } else { Ok(()) }
}

/// Owner before mode: chown(2) clears the set-user-ID bits.
fn dress(full: &Path, node: &Node) -> std::io::Result<()> {
    lchown(full, Some(node.uid), Some(node.gid))?;
    if !matches!(node.kind, Kind::Symlink(_)) {
        fs::set_permissions(full, fs::Permissions::from_mode(node.mode))?;
    }
    for (name, value) in &node.xattrs {
        calls::set_xattr(full, name, value)?;
    }
    Ok(())
}
