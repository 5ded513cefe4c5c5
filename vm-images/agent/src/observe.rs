//! Mounts a crash state and looks at it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use checker::{CHUNK, Entry, EntryKind, Mount, Observation, ReadPlan, Reading, Seen};
use nix::mount::{MntFlags, MsFlags, umount2};
use program::{RelPath, sparse};
use protocol::{AfterUnmount, Recipe, frame};

use crate::ahead::Ahead;
use crate::mailbox::Mailbox;
use crate::{MOUNT, WORK, settings};

/// Why the kernel refused a mount.
pub struct Refusal {
    /// The errno of mount(2).
    pub errno: i32,
    /// What the kernel wrote to its log meanwhile.
    pub log: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n{}", std::io::Error::from_raw_os_error(self.errno), self.log)
    }
}

/// Mounts `disk` with `options`, which are those of the recipe for what is done next.
///
/// The kernel's refusal says something about the disk, so it is a result. The error is that of a setting which has to be
/// made before and which failed: nothing was mounted, and nothing can be said about the disk.
pub fn mount(disk: &Path, filesystem: &Recipe, options: &str) -> Result<Result<(), Refusal>, String> {
    settings::prepare(filesystem)?;
    let log = kernel_log();
    let (flags, data) = split_options(options);
    let result = nix::mount::mount(Some(disk), MOUNT, Some(filesystem.name.as_str()), flags, Some(data.as_str()));
    Ok(result.map_err(|errno| Refusal { errno: errno as i32, log: log.map(new_lines).unwrap_or_default() }))
}

/// Splits what mount(8) takes in one list into what mount(2) wants in two places.
fn split_options(options: &str) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "defaults" | "rw" | "relatime" => {}
            "ro" => flags |= MsFlags::MS_RDONLY,
            "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
            "dirsync" => flags |= MsFlags::MS_DIRSYNC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "nodiratime" => flags |= MsFlags::MS_NODIRATIME,
            "strictatime" => flags |= MsFlags::MS_STRICTATIME,
            "lazytime" => flags |= MsFlags::MS_LAZYTIME,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

/// Unmounts, and does what has to follow (see [`AfterUnmount`]).
pub fn unmount(filesystem: &Recipe, disk: &Path) -> Result<(), String> {
    umount2(MOUNT, MntFlags::empty())
        .map_err(|error| format!("failed to unmount the {} file system: {error}", filesystem.name))?;
    after_unmount(filesystem, disk)
}

/// Does what has to follow an unmount, or a mount that was refused.
fn after_unmount(filesystem: &Recipe, disk: &Path) -> Result<(), String> {
    match filesystem.handling.after_unmount {
        AfterUnmount::Nothing => Ok(()),
        AfterUnmount::ForgetDevice => crate::calls::btrfs_forget(disk),
    }
}

/// One crash state: mount, look, unmount. `mailbox` is told when contents are to be read, and if `mark` says so, when the
/// mount has ended.
pub fn observe(
    disk: &Path,
    filesystem: &Recipe,
    read_plan: &ReadPlan,
    mark: bool,
    mailbox: &mut Mailbox,
) -> Result<Observation, String> {
    crate::calls::set_clock(crate::calls::Phase::Observe);
    if let Err(Refusal { errno, log }) = mount(disk, filesystem, &filesystem.observation)? {
        after_unmount(filesystem, disk)?;
        return Ok(Observation { mount: Mount::Refused { errno, log }, entries: BTreeMap::new() });
    }
    if mark {
        mailbox.mark(frame::MOUNTED, 0)?;
    }
    let root = Path::new(WORK);
    let mut entries = names(root);
    if entries.iter().any(|(path, entry)| reads_ahead(path, entry, read_plan)) {
        mailbox.mark(frame::CONTENTS, 0)?;
    }
    contents(root, &mut entries, read_plan);
    unmount(filesystem, disk)?;
    Ok(Observation { mount: Mount::Mounted, entries })
}

/// Everything below `root`: first all names and metadata, then contents as far as the read plan asks.
pub fn look(root: &Path, read_plan: &ReadPlan) -> BTreeMap<RelPath, Entry> {
    let mut entries = names(root);
    contents(root, &mut entries, read_plan);
    entries
}

/// All names and metadata below `root`.
fn names(root: &Path) -> BTreeMap<RelPath, Entry> {
    let mut entries = BTreeMap::new();
    let mut pending = vec![RelPath::root()];
    let mut inodes = BTreeMap::new();
    while let Some(path) = pending.pop() {
        let (entry, inode) = stat(root, &path, &mut pending);
        inodes.insert(path.clone(), inode);
        entries.insert(path, entry);
    }
    let mut first = HashMap::new();
    for (path, inode) in inodes {
        let Some(inode) = inode else { continue };
        let name = first.entry(inode).or_insert_with(|| path.clone());
        if *name != path
            && let Some(entry) = entries.get_mut(&path)
        {
            entry.same_as = Some(name.clone());
        }
    }
    entries
}

/// Reads contents.
fn contents(root: &Path, entries: &mut BTreeMap<RelPath, Entry>, read_plan: &ReadPlan) {
    for (path, entry) in entries {
        if let EntryKind::File { size, seen } = &mut entry.kind {
            *seen = read(root, path, *size, read_plan);
        }
    }
}

/// Whether a name stands for a file that is to be read, and is larger than what is read at least.
fn reads_ahead(path: &RelPath, entry: &Entry, read_plan: &ReadPlan) -> bool {
    match entry.kind {
        EntryKind::File { size, .. } if size > CHUNK as u64 => {
            read_plan.read_all_up_to >= size || Reading::begin(read_plan, path, size).is_some()
        }
        _ => false,
    }
}

/// Device and inode number.
type Inode = (u64, u64);

/// Kind and metadata, and the inode unless it is a directory's; the names below a directory are added to `pending`.
fn stat(root: &Path, path: &RelPath, pending: &mut Vec<RelPath>) -> (Entry, Option<Inode>) {
    let full = path.under(root);
    let metadata = match fs::symlink_metadata(&full) {
        Ok(metadata) => metadata,
        Err(error) => {
            let kind = EntryKind::Unreadable { errno: errno(&error) };
            return (Entry { kind, mode: 0, uid: 0, gid: 0, links: 0, same_as: None }, None);
        }
    };
    let kind = if metadata.is_dir() {
        EntryKind::Directory { error: list(&full, path, pending).err() }
    } else if metadata.is_file() {
        EntryKind::File { size: metadata.len(), seen: Seen::NotRead }
    } else if metadata.is_symlink() {
        match fs::read_link(&full) {
            Ok(target) => EntryKind::Symlink { target: target.as_os_str().as_bytes().to_vec() },
            Err(error) => EntryKind::Unreadable { errno: errno(&error) },
        }
    } else {
        EntryKind::Special { mode: metadata.mode() }
    };
    let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    let inode = (!metadata.is_dir()).then(|| (metadata.dev(), metadata.ino()));
    (Entry { kind, mode, uid, gid, links: metadata.nlink(), same_as: None }, inode)
}

fn list(full: &Path, path: &RelPath, pending: &mut Vec<RelPath>) -> Result<(), i32> {
    for entry in fs::read_dir(full).map_err(|error| errno(&error))? {
        let entry = entry.map_err(|error| errno(&error))?;
        pending.push(path.join(entry.file_name().as_bytes()));
    }
    Ok(())
}

fn read(root: &Path, path: &RelPath, size: u64, read_plan: &ReadPlan) -> Seen {
    let open = || {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOATIME | libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path.under(root))
    };
    if read_plan.read_all_up_to >= size && read_plan.read_all_up_to > 0 {
        let mut done = 0;
        return match open().and_then(|file| read_all(&file, size, &mut done)) {
            Ok(bytes) => Seen::Bytes(Arc::new(bytes)),
            Err(error) => Seen::Failed { candidates: Vec::new(), offset: done, errno: errno(&error) },
        };
    }
    let Some(mut reading) = Reading::begin(read_plan, path, size) else { return Seen::NotRead };
    let file = match open() {
        Ok(file) => file,
        Err(error) => return reading.fail(errno(&error)),
    };
    let mut ahead = Ahead::new(&file, size);
    while let Some(offset) = reading.next_offset() {
        match ahead.chunk(offset) {
            Ok(chunk) => {
                if let Some(seen) = reading.feed(chunk) {
                    return seen;
                }
            }
            Err(error) => return reading.fail(errno(&error)),
        }
    }
    reading.finish()
}

/// Reads a file of `size` bytes, whose zeros take no memory, to its end; `done` is how far it has come.
fn read_all(file: &File, size: u64, done: &mut u64) -> std::io::Result<Vec<u8>> {
    let mut ahead = Ahead::new(file, size);
    let mut bytes = vec![0; size as usize];
    loop {
        let chunk = ahead.chunk(*done)?;
        let start = *done as usize;
        let end = start + chunk.len();
        if chunk.is_empty() {
            bytes.truncate(end);
            return Ok(bytes);
        }
        if end > bytes.len() {
            sparse::resize(&mut bytes, end);
        }
        sparse::put(&mut bytes, start, chunk);
        *done = end as u64;
    }
}

fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// The kernel's log from here on.
fn kernel_log() -> Option<&'static File> {
    static LOG: OnceLock<Option<File>> = OnceLock::new();
    let open = || OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok();
    let mut log = LOG.get_or_init(open).as_ref()?;
    log.seek(SeekFrom::End(0)).ok()?;
    Some(log)
}

/// What has been logged since: the text of each record, without its prefix (Documentation/ABI/testing/dev-kmsg).
fn new_lines(mut log: &File) -> String {
    let mut lines = Vec::new();
    let mut record = [0; 8192];
    // Reading an empty log fails with EAGAIN; a record that was overwritten with EPIPE, which costs only that record.
    loop {
        match log.read(&mut record) {
            Ok(count) => {
                let text = String::from_utf8_lossy(&record[..count]);
                let message = text.split_once(';').map_or(&*text, |(_, message)| message);
                lines.push(message.lines().next().unwrap_or_default().to_owned());
            }
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => break,
        }
    }
    lines.join("\n")
}
