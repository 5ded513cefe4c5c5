//! Executes a trace by real calls in a fresh directory: an independent check of what was written down.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use program::{Arrival, ArrivalKind, Call, Handle, Kind, RelPath, Target, Trace, Tree};
use record::{restore, snapshot};
use tempfile::TempDir;

struct Execution {
    root: PathBuf,
    /// For what is outside.
    outside: TempDir,
    files: HashMap<Handle, File>,
}

/// The tree that the ops of `trace` make of what was there before.
pub fn execute(trace: &Trace) -> Tree {
    let directory = tempfile::tempdir().unwrap();
    restore(&trace.before, directory.path()).unwrap();
    let mut execution = Execution {
        root: directory.path().to_path_buf(),
        outside: tempfile::tempdir().unwrap(),
        files: HashMap::new(),
    };
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        execution.apply(&op.call).unwrap_or_else(|error| panic!("op {index} ({op}): {error}"));
    }
    snapshot(directory.path()).unwrap()
}

/// Fails if two trees differ in anything but inode numbers and the directory's own permissions at the start.
#[track_caller]
pub fn assert_same(one: &Tree, other: &Tree, listing: &str) {
    let describe = |tree: &Tree| -> BTreeMap<RelPath, String> {
        let mut first: HashMap<u64, &RelPath> = HashMap::new();
        tree.0
            .iter()
            .map(|(path, node)| {
                let link = *first.entry(node.inode).or_insert(path);
                let content = match &node.kind {
                    Kind::File(bytes) => format!("file of {} bytes, {:?}", bytes.len(), digest(bytes)),
                    kind => format!("{kind:?}"),
                };
                let rest = (node.mode, node.uid, node.gid, &node.xattrs);
                (path.clone(), format!("{content} {rest:?} first seen as {link}"))
            })
            .collect()
    };
    assert_eq!(describe(one), describe(other), "\n{listing}");
}

fn digest(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn c(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap()
}

fn rename(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let c = |path: &Path| c(path.as_os_str().as_bytes());
    let (from, to, at) = (c(from), c(to), libc::AT_FDCWD);
    // SAFETY: paths that live through the call.
    check(unsafe { libc::syscall(libc::SYS_renameat2, at, from.as_ptr(), at, to.as_ptr(), flags) })
}

impl Execution {
    /// A name outside that is free.
    fn fresh(&self) -> PathBuf {
        let at = |number: u32| self.outside.path().join(number.to_string());
        (0..).map(at).find(|path| path.symlink_metadata().is_err()).unwrap()
    }

    fn build(&self, entry: &Arrival, place: &Path) -> io::Result<()> {
        match &entry.kind {
            ArrivalKind::Directory => fs::create_dir(place)?,
            ArrivalKind::Symlink(target) => return std::os::unix::fs::symlink(OsStr::from_bytes(target), place),
            ArrivalKind::Special { mode, device } => {
                let path = c(place.as_os_str().as_bytes());
                // SAFETY: a path that lives through the call.
                check(i64::from(unsafe { libc::mknod(path.as_ptr(), *mode, *device) }))?;
            }
            ArrivalKind::File(handle) => {
                let from = c(self.follow(&Target::Handle(*handle)).as_os_str().as_bytes());
                let (to, at) = (c(place.as_os_str().as_bytes()), libc::AT_FDCWD);
                // SAFETY: paths that live through the call.
                check(i64::from(unsafe { libc::linkat(at, from.as_ptr(), at, to.as_ptr(), libc::AT_SYMLINK_FOLLOW) }))?;
            }
        }
        if let Some((user, group)) = entry.owner {
            std::os::unix::fs::lchown(place, Some(user), Some(group))?;
        }
        for (name, value) in &entry.xattrs {
            xattr::set(place, OsStr::from_bytes(name), value)?;
        }
        fs::set_permissions(place, Permissions::from_mode(entry.mode))
    }

    fn at(&self, path: &RelPath) -> PathBuf {
        path.under(&self.root)
    }

    fn c(&self, path: &RelPath) -> CString {
        c(self.at(path).as_os_str().as_bytes())
    }

    fn file(&self, handle: &Handle) -> &File {
        self.files.get(handle).unwrap_or_else(|| panic!("{handle} is not open"))
    }

    /// A path for calls that follow links.
    fn follow(&self, target: &Target) -> PathBuf {
        match target {
            Target::Path(path) | Target::NoFollow(path) => self.at(path),
            Target::Handle(handle) => PathBuf::from(format!("/proc/self/fd/{}", self.file(handle).as_raw_fd())),
        }
    }

    fn open(&mut self, handle: Handle, path: &Path, flags: u32, mode: u32) -> io::Result<()> {
        let nameless = flags & 0o20000000 != 0;
        let made = nameless || !path.exists();
        let access = flags as i32 & libc::O_ACCMODE;
        let mut options = OpenOptions::new();
        options.read(access != libc::O_WRONLY).write(access != libc::O_RDONLY).mode(mode);
        let creation = libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC;
        // O_APPEND would move the writes, which say where they landed; the standard library has its own O_CREAT.
        let custom = flags as i32 & !libc::O_ACCMODE & !libc::O_APPEND;
        let path = c(path.as_os_str().as_bytes());
        // SAFETY: a path that lives through the call.
        let fd = unsafe { libc::open(path.as_ptr(), access | custom, 0o600) };
        check(i64::from(fd))?;
        // SAFETY: just opened, owned by no one else.
        let file: File = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) };
        if made && (nameless || custom & creation != 0) {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        assert!(self.files.insert(handle, file).is_none(), "{handle} was open already");
        Ok(())
    }

    fn apply(&mut self, call: &Call) -> io::Result<()> {
        match call {
            Call::Open { handle, path, flags, mode } => self.open(*handle, &self.at(path), *flags, *mode),
            Call::Close { handle } => {
                assert!(self.files.remove(handle).is_some(), "{handle} is not open");
                Ok(())
            }
            Call::Write { handle, offset, data, .. } => self.file(handle).write_all_at(data, *offset),
            Call::Store { handle, offset, data } => self.file(handle).write_all_at(data, *offset),
            Call::CopyRange { from, from_offset, to, to_offset, length } => {
                let mut data = vec![0; *length as usize];
                self.file(from).read_exact_at(&mut data, *from_offset)?;
                self.file(to).write_all_at(&data, *to_offset)
            }
            Call::Truncate { target, length } => {
                OpenOptions::new().write(true).open(self.follow(target))?.set_len(*length)
            }
            Call::Allocate { handle, mode, offset, length } => {
                let fd = self.file(handle).as_raw_fd();
                // SAFETY: numbers only.
                check(unsafe { libc::syscall(libc::SYS_fallocate, fd, *mode, *offset, *length) })
            }
            Call::Mkdir { path, mode } => {
                fs::create_dir(self.at(path))?;
                fs::set_permissions(self.at(path), Permissions::from_mode(*mode))
            }
            Call::Mknod { path, mode, device } => {
                // SAFETY: a path that lives through the call.
                check(i64::from(unsafe { libc::mknod(self.c(path).as_ptr(), *mode, *device) }))?;
                fs::set_permissions(self.at(path), Permissions::from_mode(mode & 0o7777))
            }
            Call::Symlink { path, target } => std::os::unix::fs::symlink(OsStr::from_bytes(target), self.at(path)),
            Call::Link { from, to } => {
                let flags = if matches!(from, Target::Handle(_)) { libc::AT_SYMLINK_FOLLOW } else { 0 };
                let (from, to) = (c(self.follow(from).as_os_str().as_bytes()), self.c(to));
                let at = libc::AT_FDCWD;
                // SAFETY: paths that live through the call.
                check(i64::from(unsafe { libc::linkat(at, from.as_ptr(), at, to.as_ptr(), flags) }))
            }
            Call::Rename { from, to, flags } => rename(&self.at(from), &self.at(to), *flags),
            Call::Arrive { entries, to, flags } => {
                let top = self.fresh();
                entries.iter().try_for_each(|entry| self.build(entry, &entry.path.under(&top)))?;
                rename(&top, &self.at(to), *flags)
            }
            Call::Leave { path } => rename(&self.at(path), &self.fresh(), 0),
            Call::Unlink { path } => fs::remove_file(self.at(path)),
            Call::Rmdir { path } => fs::remove_dir(self.at(path)),
            Call::Chmod { target, mode } => fs::set_permissions(self.follow(target), Permissions::from_mode(*mode)),
            Call::Chown { target, uid, gid } => {
                let id = |id: u32| (id != u32::MAX).then_some(id);
                match target {
                    Target::NoFollow(path) => std::os::unix::fs::lchown(self.at(path), id(*uid), id(*gid)),
                    target => std::os::unix::fs::chown(self.follow(target), id(*uid), id(*gid)),
                }
            }
            Call::SetXattr { target, name, value, .. } => {
                xattr::set_deref(self.follow(target), OsStr::from_bytes(name), value)
            }
            Call::RemoveXattr { target, name } => xattr::remove_deref(self.follow(target), OsStr::from_bytes(name)),
            Call::SetTimes { .. }
            | Call::Fsync { .. }
            | Call::Fdatasync { .. }
            | Call::SyncRange { .. }
            | Call::DontNeed { .. }
            | Call::Msync { .. }
            | Call::SyncFs { .. }
            | Call::SyncAll
            | Call::Ack { .. }
            | Call::Exit { .. } => Ok(()),
        }
    }
}
