//! From a directory to another one, so that a program cannot tell the difference.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::SFlag;
use nix::sys::time::TimeSpec;
use program::RelPath;

use crate::read::type_bits;
use crate::walk::{Walk, WalkEntry, WalkEvent};
use crate::write::{Attributes, Writer};
use crate::{Action, Error, Root};

/// Copies the content of a directory into an empty one: contents, permission bits, times, symbolic links as such, names
/// of one file as names of one file, FIFOs, sockets and (which takes privileges) devices. Not: owners, extended
/// attributes, holes. No content is held in memory. In a fixed order, so that two copies are laid out alike.
///
/// # Errors
/// At the first thing that cannot be copied; what was copied by then stays. The path is that of both trees.
pub fn copy(from: &Root, to: &Root) -> Result<(), Error> {
    let mut writer = Writer::new(to);
    let mut copied = HashMap::new();
    // Of the directories that the walk is in.
    let mut within = Vec::new();
    for event in Walk::new(from, RelPath::root(), usize::MAX) {
        match event? {
            WalkEvent::Enter(WalkEntry { path, metadata, .. }) => {
                if !path.is_root() {
                    writer.directory(&path)?;
                }
                within.push(metadata);
            }
            WalkEvent::Leaf(entry) => leaf(&mut writer, &mut copied, entry)?,
            // Last, since a directory that must not be written to could not be filled, and filling changes its times.
            WalkEvent::Leave(path) => {
                if let Some(metadata) = within.pop() {
                    writer.finish(&path, &attributes(&metadata))?;
                }
            }
        }
    }
    Ok(())
}

/// Copies anything but a directory. `copied` has the first name of each file with several, by device and inode.
fn leaf(
    writer: &mut Writer<'_>,
    copied: &mut HashMap<(u64, u64), RelPath>,
    WalkEntry { path, inode, metadata }: WalkEntry,
) -> Result<(), Error> {
    if metadata.nlink() > 1 {
        let key = (metadata.dev(), metadata.ino());
        if let Some(first) = copied.get(&key) {
            return writer.hard_link(first, &path);
        }
        copied.insert(key, path.clone());
    }
    let made = if metadata.is_symlink() {
        let target = inode.target().map_err(Error::of(Action::ReadLink, &path))?;
        writer.symlink(&path, &target)?
    } else if metadata.is_file() {
        let mut source = inode.open_file().map_err(Error::of(Action::ReadFile, &path))?;
        writer.file(&path, |file| io::copy(&mut source, file).map(drop))?
    } else {
        writer.special(&path, SFlag::from_bits_truncate(type_bits(&metadata)), metadata.rdev())?
    };
    attributes(&metadata).set(&made, &path)
}

fn attributes(metadata: &Metadata) -> Attributes<'static> {
    let access = TimeSpec::new(metadata.atime(), metadata.atime_nsec());
    let modification = TimeSpec::new(metadata.mtime(), metadata.mtime_nsec());
    Attributes { owner: None, xattrs: None, times: Some((access, modification)), mode: metadata.mode() & 0o7777 }
}
