//! Stores through shared mappings: no call tells of them, so the files are looked at before each call that is written down.
//!
//! What is found changed was stored since the call before, and becomes an op of its own before this one. While something can be
//! stored to, all calls wait while one is under way whose order matters: so a sync never covers what was stored after it had
//! begun. A page may be caught half-way, with more to be found before the next call: to a crash, too, it could look so.

use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use libc::pid_t;
use program::{Call, Handle, Target};

use crate::mappings::{Area, FileId};
use crate::mirror::Mirror;
use crate::recorder::Recorder;
use crate::remote;

impl Recorder<'_> {
    /// Whether anything can be stored to.
    pub(crate) fn follows_stores(&self) -> bool {
        !self.mirrors.is_empty()
    }

    /// What a thread has mapped at these addresses.
    pub(crate) fn mapped(&self, tid: pid_t, addresses: &Range<u64>) -> Vec<Area> {
        self.threads.get(&tid).map(|thread| self.mappings.within(thread.space, addresses)).unwrap_or_default()
    }

    pub(crate) fn is_mapped(&self, tid: pid_t, addresses: &Range<u64>) -> bool {
        !self.mapped(tid, addresses).is_empty()
    }

    /// A recorded file is about to be mapped. `None`: it cannot be followed, which was told.
    pub(crate) fn map_soon(
        &mut self,
        tid: pid_t,
        name: &str,
        fd: i32,
        handle: Handle,
        writable: bool,
    ) -> io::Result<Option<FileId>> {
        let link = remote::fd_link(tid, fd);
        let metadata = fs::metadata(&link)?;
        let file = FileId { device: metadata.dev(), inode: metadata.ino() };
        if writable && let Err(error) = self.follow(file, &link) {
            let path = self.files.file(handle).map(|file| file.path.to_string()).unwrap_or_default();
            let detail = format!("shared mapping of {path}: what is written through it is not followed ({error})");
            self.unmodelled(name, detail);
            return Ok(None);
        }
        Ok(Some(file))
    }

    /// Looks, from now on, for what is stored to a file that `link` leads to.
    fn follow(&mut self, file: FileId, link: &Path) -> io::Result<()> {
        if let Entry::Vacant(free) = self.mirrors.entry(file) {
            // A lease that somebody else holds is not waited for.
            let options = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).to_owned();
            free.insert(Mirror::new(options.open(link)?)?);
        }
        Ok(())
    }

    /// What is mapped at these addresses is about to become writable.
    pub(crate) fn protect_soon(&mut self, tid: pid_t, name: &str, addresses: &Range<u64>) -> io::Result<()> {
        for area in self.mapped(tid, addresses).into_iter().filter(|area| !area.writable) {
            // By any descriptor that is open; else by what the kernel shows of the mapping.
            let link = match self.descriptor_of(area.handle) {
                Some((tid, fd)) => remote::fd_link(tid, fd),
                None => remote::mapped_link(tid, area.addresses.start)?,
            };
            if let Err(error) = self.follow(area.file, &link) {
                self.unmodelled(name, format!("what is written through a mapping is not followed ({error})"));
            }
        }
        Ok(())
    }

    /// A call has mapped a file at `address`.
    pub(crate) fn map(&mut self, tid: pid_t, area: Area) {
        if let Some(thread) = self.threads.get(&tid) {
            self.mappings.map(thread.space, area);
        }
        self.mappings_changed(tid, "mmap");
    }

    /// A call has unmapped something.
    pub(crate) fn unmap(&mut self, tid: pid_t, addresses: &Range<u64>) {
        self.catch_stores(tid);
        if let Some(thread) = self.threads.get(&tid) {
            self.mappings.unmap(thread.space, addresses);
        }
        self.mappings_changed(tid, "munmap");
    }

    /// A call has moved, or resized, a mapping.
    pub(crate) fn remap(&mut self, tid: pid_t, from: &Range<u64>, to: &Range<u64>) {
        self.catch_stores(tid);
        if let Some(thread) = self.threads.get(&tid) {
            self.mappings.remap(thread.space, from, to);
        }
        self.mappings_changed(tid, "mremap");
    }

    /// What is mapped there can be stored to.
    pub(crate) fn make_writable(&mut self, tid: pid_t, addresses: &Range<u64>) {
        if let Some(thread) = self.threads.get(&tid) {
            self.mappings.make_writable(thread.space, addresses);
        }
        self.mappings_changed(tid, "mprotect");
    }

    /// A thread leaves its address space: it is gone, or runs another program.
    pub(crate) fn leave_space(&mut self, tid: pid_t, name: &str) {
        let Some(space) = self.threads.get(&tid).map(|thread| thread.space) else { return };
        let ends = self.mappings.ends_with_thread(space);
        if ends {
            self.catch_stores(tid);
        }
        self.mappings.leave(space);
        if ends {
            self.mappings_changed(tid, name);
        }
    }

    /// Forgets what is not mapped any more, and closes what nothing else holds open.
    fn mappings_changed(&mut self, tid: pid_t, name: &str) {
        let mapped = self.mappings.handles();
        for closed in self.files.keep_mapped(&mapped) {
            self.push_closed(tid, name, closed);
        }
        let writable = self.mappings.writable();
        self.mirrors.retain(|file, _| writable.contains_key(file));
    }

    /// Writes down what was stored since the last look.
    pub(crate) fn catch_stores(&mut self, tid: pid_t) {
        if self.mirrors.is_empty() {
            return;
        }
        for (file, (handle, ranges)) in self.mappings.writable() {
            let Some(mirror) = self.mirrors.get_mut(&file) else { continue };
            let stored = match mirror.stored(&ranges) {
                Ok(stored) => stored,
                Err(error) => {
                    self.unmodelled("store", format!("cannot see what was stored through a mapping ({error})"));
                    continue;
                }
            };
            for stored in stored {
                let length = stored.data.len() as u64;
                if let Err(stop) = self.recorded.kept.count_written(length) {
                    return self.shared.set_stop(stop);
                }
                let start = self.recorded.kept.next();
                if let Err(stop) = self.recorded.kept.append(&stored.data) {
                    self.shared.set_stop(stop);
                }
                self.recorded.kept.were_seen(self.recorded.ops.len(), start, length);
                let call = Call::Store { handle, offset: stored.offset, data: Arc::default() };
                self.push(tid, "store", call, length as i64);
            }
        }
    }

    /// A descriptor of an open file, and a thread that has it.
    fn descriptor_of(&self, handle: Handle) -> Option<(pid_t, i32)> {
        self.files.descriptors().filter(|(.., known)| *known == handle).find_map(|(table, fd, _)| {
            let owner = *self.threads.iter().find(|(_, thread)| thread.table == table)?.0;
            Some((owner, fd))
        })
    }

    /// The mirror of the file that a call changed, if there is one.
    fn mirror_of(&mut self, target: &Target) -> Option<&mut Mirror> {
        if self.mirrors.is_empty() {
            return None;
        }
        let path = match target {
            Target::Handle(handle) => {
                let (tid, fd) = self.descriptor_of(*handle)?;
                remote::fd_link(tid, fd)
            }
            Target::Path(path) | Target::NoFollow(path) => self.scene.root.join(path.as_path()),
        };
        let metadata = fs::metadata(path).ok()?;
        self.mirrors.get_mut(&FileId { device: metadata.dev(), inode: metadata.ino() })
    }

    /// A call put these bytes into a file.
    pub(crate) fn mirror_wrote(&mut self, handle: Handle, offset: u64, data: &[u8]) {
        let kept = self.mirror_of(&Target::Handle(handle)).map(|mirror| mirror.wrote(offset, data));
        self.mirrored("write", kept);
    }

    /// A call that is being written down is over: takes over what it did to a file that is followed. What a write put there,
    /// [`Self::mirror_wrote`] knows.
    pub(crate) fn mirror(&mut self, call: &Call) {
        const COLLAPSE_OR_INSERT: u32 = 0x28;
        const PUNCH_OR_ZERO: u32 = 0x92;
        let (name, kept) = match call {
            Call::Truncate { target, length } => {
                ("truncate", self.mirror_of(target).map(|mirror| mirror.truncated(*length)))
            }
            Call::Open { handle, flags, .. } if flags & libc::O_TRUNC as u32 != 0 => {
                ("open", self.mirror_of(&Target::Handle(*handle)).map(|mirror| mirror.truncated(0)))
            }
            Call::Allocate { handle, mode, offset, length } => {
                let range = *offset..offset.saturating_add(*length);
                let kept = self.mirror_of(&Target::Handle(*handle)).map(|mirror| match *mode {
                    mode if mode & COLLAPSE_OR_INSERT != 0 => mirror.refresh(0..u64::MAX),
                    mode if mode & PUNCH_OR_ZERO != 0 => mirror.zero(range),
                    _ => Ok(()),
                });
                ("fallocate", kept)
            }
            Call::CopyRange { to, to_offset, length, .. } => {
                let range = *to_offset..to_offset.saturating_add(*length);
                ("copy_file_range", self.mirror_of(&Target::Handle(*to)).map(|mirror| mirror.refresh(range)))
            }
            _ => return,
        };
        self.mirrored(name, kept);
    }

    fn mirrored(&mut self, name: &str, kept: Option<io::Result<()>>) {
        if let Some(Err(error)) = kept {
            self.unmodelled(name, format!("what is stored through a mapping cannot be followed any more ({error})"));
        }
    }
}
