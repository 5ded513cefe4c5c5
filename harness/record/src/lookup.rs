//! What a descriptor of the program is, found out when it is first used.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libc::pid_t;
use program::{Call, Channel, Handle, RelPath};

use crate::files::Descriptor;
use crate::recorder::Recorder;
use crate::remote;

/// Flags of open(2) that only matter while opening, and `O_LARGEFILE` (zero in the C library), which the kernel adds by itself.
const CREATION: u32 =
    (libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC | libc::O_NOCTTY | libc::O_CLOEXEC) as u32 | 0o100_000;

impl Recorder<'_> {
    /// What a descriptor is, looked up if need be. `None`: it is not open.
    pub(crate) fn descriptor(&mut self, tid: pid_t, fd: i32) -> Option<Descriptor> {
        let table = self.table(tid);
        if let Some(descriptor) = self.files.get(table, fd) {
            return Some(descriptor);
        }
        let descriptor = self.look_up(tid, fd)?;
        if self.files.get(table, fd).is_none() {
            self.files.set(table, fd, descriptor);
        }
        Some(descriptor)
    }

    /// The recorded file of a descriptor; one that was open for reading only is recorded from now on.
    pub(crate) fn handle(&mut self, tid: pid_t, fd: i32) -> Option<Handle> {
        match self.descriptor(tid, fd)? {
            Descriptor::File(handle) => Some(handle),
            Descriptor::Reader => {
                let (_, flags) = self.seen(tid, "descriptor", remote::fd_info(tid, fd))?;
                let path = self.seen(tid, "descriptor", remote::fd_name(tid, fd))?;
                let path = self.inside(&path)?;
                if self.seen(tid, "descriptor", fs::metadata(remote::fd_link(tid, fd)))?.nlink() == 0 {
                    // Nothing that is done to it can matter after a crash.
                    return None;
                }
                Some(self.open_file(tid, "open", fd, path, flags & !CREATION, 0))
            }
            Descriptor::Name | Descriptor::Channel(_) | Descriptor::Outside(_) | Descriptor::Other => None,
        }
    }

    /// Remembers what a descriptor is from now on.
    pub(crate) fn set_descriptor(&mut self, tid: pid_t, syscall: &str, fd: i32, descriptor: Descriptor) {
        if let Some(closed) = self.files.set(self.table(tid), fd, descriptor) {
            self.push_closed(tid, syscall, closed);
        }
    }

    /// Writes down that a descriptor now stands for a newly opened file.
    pub(crate) fn open_file(
        &mut self,
        tid: pid_t,
        syscall: &str,
        fd: i32,
        path: RelPath,
        flags: u32,
        mode: u32,
    ) -> Handle {
        let (handle, closed) = self.files.open(self.table(tid), fd, path.clone(), flags);
        if let Some(closed) = closed {
            self.push_closed(tid, syscall, closed);
        }
        self.push(tid, syscall, Call::Open { handle, path, flags, mode }, i64::from(fd));
        handle
    }

    /// Writes down that a descriptor, which has a path outside, stands for a file of the directory, if so. `opened`: the flags of the
    /// call that gave it, if one did.
    pub(crate) fn open_inside(
        &mut self,
        tid: pid_t,
        syscall: &str,
        fd: i32,
        opened: Option<u32>,
        (path, metadata): (&Path, &fs::Metadata),
    ) -> Option<Handle> {
        match self.inside_by_number(metadata, path) {
            Ok(path) => {
                let path = path?;
                let flags = match opened {
                    Some(flags) => flags & !(libc::O_CREAT | libc::O_EXCL) as u32,
                    None => {
                        self.seen(tid, "descriptor", remote::fd_info(tid, fd))?.1 & !(CREATION | libc::O_TMPFILE as u32)
                    }
                };
                if flags & libc::O_PATH as u32 != 0 {
                    return None;
                }
                // It may be known by another descriptor.
                let known = if opened.is_none() { self.same_open_file(tid, fd) } else { None };
                Some(known.unwrap_or_else(|| self.open_file(tid, "open", fd, path, flags, 0)))
            }
            Err(path) => {
                self.unmodelled(
                    syscall,
                    format!("{path}, which was renamed, was opened by a name outside the directory"),
                );
                None
            }
        }
    }

    /// Remembers that a canonical path outside the directory was written.
    pub(crate) fn name_outside(&mut self, path: &Path) {
        // Nothing in these outlives a power failure.
        let volatile = ["/dev", "/proc", "/sys"].iter().any(|folder| path.starts_with(folder));
        if path.is_absolute() && !volatile {
            self.recorded.outside.insert(path.to_string_lossy().into_owned());
        }
    }

    /// Finds out what a descriptor is that was not seen before.
    fn look_up(&mut self, tid: pid_t, fd: i32) -> Option<Descriptor> {
        let path = self.seen(tid, "descriptor", remote::fd_name(tid, fd))?;
        if self.inside(&path).is_some() {
            return self.look_up_inside(tid, fd, path);
        }
        if path.is_absolute() {
            // Without a name, it may be no path but that of the object: `/memfd:x (deleted)`.
            let metadata = self.seen(tid, "descriptor", fs::metadata(remote::fd_link(tid, fd)))?;
            let is_file = metadata.is_file();
            if is_file && let Some(handle) = self.open_inside(tid, "descriptor", fd, None, (&path, &metadata)) {
                return Some(Descriptor::File(handle));
            }
            return Some(if is_file { Descriptor::Outside(self.outside.see(&metadata)) } else { Descriptor::Other });
        }
        let name = path.to_str().unwrap_or_default();
        if name.starts_with("socket:") {
            let paired = remote::inode("socket", name).is_some_and(|inode| self.paired.contains(&inode));
            return Some(if paired { Descriptor::Other } else { Descriptor::Channel(Channel::Socket) });
        }
        Some(match remote::inode("pipe", name) {
            Some(inode) if inode == self.scene.pipes[0] => Descriptor::Channel(Channel::Stdout),
            Some(inode) if inode == self.scene.pipes[1] => Descriptor::Channel(Channel::Stderr),
            _ => Descriptor::Other,
        })
    }

    fn look_up_inside(&mut self, tid: pid_t, fd: i32, path: PathBuf) -> Option<Descriptor> {
        let (_, flags) = self.seen(tid, "descriptor", remote::fd_info(tid, fd))?;
        let metadata = self.seen(tid, "descriptor", fs::metadata(remote::fd_link(tid, fd)))?;
        if flags & libc::O_PATH as u32 != 0 {
            return Some(Descriptor::Name);
        }
        if !metadata.is_file() && !metadata.is_dir() {
            return Some(Descriptor::Other);
        }
        if flags & libc::O_ACCMODE as u32 == libc::O_RDONLY as u32 {
            return Some(Descriptor::Reader);
        }
        // It came over a socket or from another process: maybe it is known there.
        if let Some(handle) = self.same_open_file(tid, fd) {
            return Some(Descriptor::File(handle));
        }
        if metadata.nlink() > 0
            && self.outside.has_arrived(&metadata)
            && let Some(path) = self.inside(&path)
        {
            return Some(Descriptor::File(self.open_file(tid, "open", fd, path, flags & !CREATION, 0)));
        }
        let shown = remote::without_deleted(path.clone());
        let shown = self.inside(&shown).map_or_else(|| shown.display().to_string(), |path| path.to_string());
        if metadata.nlink() == 0 {
            self.unmodelled("descriptor", format!("{shown} was opened in a way that is not followed, and has no name"));
            return Some(Descriptor::Other);
        }
        self.unmodelled("descriptor", format!("{shown} was opened for writing in a way that is not followed"));
        Some(match self.inside(&path) {
            Some(path) => {
                let handle = self.open_file(tid, "open", fd, path, flags & !CREATION, 0);
                Descriptor::File(handle)
            }
            None => Descriptor::Other,
        })
    }

    fn same_open_file(&self, tid: pid_t, fd: i32) -> Option<Handle> {
        self.files.descriptors().find_map(|(table, other, handle)| {
            let owner = *self.threads.iter().find(|(_, thread)| thread.table == table)?.0;
            remote::same_file((tid, fd), (owner, other)).then_some(handle)
        })
    }
}
