//! What a path or a descriptor that a call names is to the recorded directory.

use std::io;
use std::path::PathBuf;

use libc::pid_t;
use program::{Handle, RelPath, Target};

use super::AtEntry;
use super::arguments::PathArgument;
use crate::files::Descriptor;
use crate::recorder::Recorder;
use crate::remote;
use crate::resolve::{self, Last, Resolved};
use crate::stop::Asked;

/// Where a path leads, seen from the recorded directory.
pub(super) enum Destination {
    Inside(RelPath),
    Fd(i32),
    /// Canonical.
    Outside(PathBuf),
    /// Nowhere that the recorder can see, as the call will find too; and what to tell if that one succeeds.
    Nowhere(String),
}

impl Destination {
    /// What to do about a call that changes what is there, if it is nothing for the trace.
    pub(super) fn elsewhere(self) -> AtEntry {
        match self {
            Self::Outside(path) => AtEntry::outside([path]),
            Self::Nowhere(detail) => AtEntry::nowhere(detail),
            Self::Inside(_) | Self::Fd(_) => AtEntry::Pass,
        }
    }
}

impl Recorder<'_> {
    pub(super) fn destination(&self, tid: pid_t, path: PathArgument, last: Last) -> io::Result<Destination> {
        let text = remote::string(tid, path.address)?;
        self.destination_of(tid, path.dirfd, &text, last)
    }

    pub(super) fn destination_of(&self, tid: pid_t, dirfd: i32, text: &[u8], last: Last) -> io::Result<Destination> {
        Ok(match resolve::resolve(|text| self.spell(tid, dirfd, text), tid, text, last) {
            Ok(Resolved::At(path)) => self.inside(&path).map_or(Destination::Outside(path), Destination::Inside),
            Ok(Resolved::Fd(fd)) => Destination::Fd(fd),
            Ok(Resolved::Nowhere) => {
                Destination::Nowhere("its path led nowhere when it began, and still it succeeded".to_owned())
            }
            // Most often the program may not look there either, and the call fails.
            Err(error) => {
                let text = String::from_utf8_lossy(text);
                Destination::Nowhere(format!("cannot see where {text:?} leads ({error}), and it succeeded"))
            }
        })
    }

    /// What a call that changes metadata is about, by name or (without one) by descriptor. `Err`: nothing of ours, and what
    /// to do about the call then.
    pub(super) fn target(&mut self, tid: pid_t, path: PathArgument, flags: i32) -> io::Result<Result<Target, AtEntry>> {
        let text = path_text(tid, path)?;
        if text.is_empty() && path.dirfd != libc::AT_FDCWD {
            return Ok(self.target_of_fd(tid, path.dirfd).ok_or(AtEntry::Pass));
        }
        let text = if text.is_empty() { b".".to_vec() } else { text };
        let keep = flags & libc::AT_SYMLINK_NOFOLLOW != 0;
        let last = if keep { Last::Keep } else { Last::Follow };
        Ok(match self.destination_of(tid, path.dirfd, &text, last)? {
            Destination::Inside(path) if keep => Ok(Target::NoFollow(path)),
            Destination::Inside(path) => Ok(Target::Path(path)),
            Destination::Fd(fd) => self.target_of_fd(tid, fd).ok_or(AtEntry::Pass),
            other => Err(other.elsewhere()),
        })
    }

    pub(super) fn target_of_fd(&mut self, tid: pid_t, fd: i32) -> Option<Target> {
        match self.descriptor(tid, fd)? {
            Descriptor::Name => {
                let path = self.seen(tid, "descriptor", remote::fd_name(tid, fd))?;
                Some(Target::NoFollow(self.inside(&path)?))
            }
            _ => self.handle(tid, fd).map(Target::Handle),
        }
    }

    /// A call on what a path, or without one a descriptor, leads to.
    pub(super) fn on_target(
        &mut self,
        tid: pid_t,
        path: PathArgument,
        flags: i32,
        make: impl FnOnce(Target) -> AtEntry,
    ) -> io::Result<AtEntry> {
        Ok(self.target(tid, path, flags)?.map_or_else(|instead| instead, make))
    }

    /// A call on the open file that its first argument names.
    pub(super) fn on_handle(&mut self, call: &Asked, make: impl FnOnce(Handle) -> AtEntry) -> AtEntry {
        self.handle(call.tid, call.fd(0)).map_or(AtEntry::Pass, make)
    }

    /// As [`Recorder::on_handle`], for a call that changes the file's data, which may be one outside the directory.
    pub(super) fn changing(&mut self, call: &Asked, make: impl FnOnce(Handle) -> AtEntry) -> AtEntry {
        match self.descriptor(call.tid, call.fd(0)) {
            Some(Descriptor::Outside(id)) => {
                self.outside.change(id);
                AtEntry::Pass
            }
            None => AtEntry::Pass,
            Some(_) => self.on_handle(call, make),
        }
    }

    /// The file of a path argument, followed; without a path that of the descriptor.
    pub(super) fn host_path(&self, tid: pid_t, path: PathArgument) -> io::Result<PathBuf> {
        let text = path_text(tid, path)?;
        Ok(match text.is_empty() {
            true => remote::fd_link(tid, path.dirfd),
            false => self.spell(tid, path.dirfd, &text),
        })
    }
}

/// What a path argument says: nothing, if there is none.
fn path_text(tid: pid_t, path: PathArgument) -> io::Result<Vec<u8>> {
    if path.address == 0 { Ok(Vec::new()) } else { remote::string(tid, path.address) }
}
