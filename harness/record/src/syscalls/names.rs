//! Calls that make, move and remove names.

use std::io;

use libc::pid_t;
use program::{Call, RelPath, Target};

use super::arguments::PathArgument;
use super::paths::Destination;
use super::{AtEntry, ExitAction, PERMISSIONS};
use crate::recorder::Recorder;
use crate::remote::{self, Span};
use crate::resolve::Last;
use crate::stop::Asked;

const ROOT_CHANGED: &str = "moved or removed the recorded directory itself";

pub(super) fn rename(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    renaming(recorder, call.tid, call.path(0), call.path(1), 0)
}

pub(super) fn renameat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    renaming(recorder, call.tid, call.path_at(0, 1), call.path_at(2, 3), 0)
}

pub(super) fn renameat2(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    renaming(recorder, call.tid, call.path_at(0, 1), call.path_at(2, 3), call.u32(4))
}

pub(super) fn link(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    linking(recorder, call.tid, call.path(0), call.path(1), 0)
}

pub(super) fn linkat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    linking(recorder, call.tid, call.path_at(0, 1), call.path_at(2, 3), call.flags(4))
}

pub(super) fn symlink(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    symlinking(recorder, call, call.path(1))
}

pub(super) fn symlinkat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    symlinking(recorder, call, call.path_at(1, 2))
}

pub(super) fn unlink(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    on_name(recorder, call.tid, call.path(0), |path| Call::Unlink { path })
}

pub(super) fn unlinkat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let is_directory = call.flags(2) & libc::AT_REMOVEDIR != 0;
    on_name(recorder, call.tid, call.path_at(0, 1), |path| match is_directory {
        true => Call::Rmdir { path },
        false => Call::Unlink { path },
    })
}

pub(super) fn rmdir(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    on_name(recorder, call.tid, call.path(0), |path| Call::Rmdir { path })
}

pub(super) fn mkdir(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    making_directory(recorder, call.tid, call.path(0), call.u32(1))
}

pub(super) fn mkdirat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    making_directory(recorder, call.tid, call.path_at(0, 1), call.u32(2))
}

pub(super) fn mknod(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    making_node(recorder, call.tid, call.path(0), call.u32(1), call.args[2])
}

pub(super) fn mknodat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    making_node(recorder, call.tid, call.path_at(0, 1), call.u32(2), call.args[3])
}

/// A Unix socket that is bound to a path is a file.
pub(super) fn bind(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let [_, address, length, ..] = call.args;
    let length = length.min(size_of::<libc::sockaddr_un>() as u64);
    let data = remote::bytes(call.tid, &[Span { address, length }], length as usize)?;
    let Some((family, name)) = data.split_at_checked(2) else { return Ok(AtEntry::Pass) };
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    if family != (libc::AF_UNIX as u16).to_ne_bytes() || name.is_empty() {
        return Ok(AtEntry::Pass);
    }
    Ok(match recorder.destination_of(call.tid, libc::AT_FDCWD, name, Last::Name)? {
        Destination::Inside(path) => {
            let mode = libc::S_IFSOCK | (0o777 & !remote::umask(call.tid)?);
            AtEntry::record(Call::Mknod { path, mode, device: 0 })
        }
        other => other.elsewhere(),
    })
}

/// A call that makes or removes one name.
fn on_name(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    path: PathArgument,
    make: impl FnOnce(RelPath) -> Call,
) -> io::Result<AtEntry> {
    Ok(match recorder.destination(tid, path, Last::Name)? {
        Destination::Inside(path) if path.is_root() => AtEntry::unmodelled(ROOT_CHANGED),
        Destination::Inside(path) => AtEntry::record(make(path)),
        other => other.elsewhere(),
    })
}

fn making_directory(recorder: &mut Recorder<'_>, tid: pid_t, path: PathArgument, mode: u32) -> io::Result<AtEntry> {
    // "mode & ~umask & 0777", and the sticky bit (mkdir(2)).
    let mode = mode & 0o1777 & !remote::umask(tid)?;
    on_name(recorder, tid, path, |path| Call::Mkdir { path, mode })
}

fn making_node(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    path: PathArgument,
    mode: u32,
    device: u64,
) -> io::Result<AtEntry> {
    // "Zero file type is equivalent to type S_IFREG" (mknod(2)).
    let kind = if mode & libc::S_IFMT == 0 { libc::S_IFREG } else { mode & libc::S_IFMT };
    let mode = kind | (mode & PERMISSIONS & !remote::umask(tid)?);
    on_name(recorder, tid, path, |path| Call::Mknod { path, mode, device })
}

fn symlinking(recorder: &mut Recorder<'_>, call: &Asked, path: PathArgument) -> io::Result<AtEntry> {
    let target = remote::string(call.tid, call.args[0])?;
    on_name(recorder, call.tid, path, |path| Call::Symlink { path, target })
}

fn renaming(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    from: PathArgument,
    to: PathArgument,
    flags: u32,
) -> io::Result<AtEntry> {
    let (from, to) = (recorder.destination(tid, from, Last::Name)?, recorder.destination(tid, to, Last::Name)?);
    Ok(match (from, to) {
        (Destination::Inside(from), Destination::Inside(to)) if from.is_root() || to.is_root() => {
            AtEntry::unmodelled(ROOT_CHANGED)
        }
        (Destination::Inside(from), Destination::Inside(to)) => AtEntry::record(Call::Rename { from, to, flags }),
        (Destination::Inside(path), Destination::Outside(_)) | (Destination::Outside(_), Destination::Inside(path))
            if path.is_root() =>
        {
            AtEntry::unmodelled(ROOT_CHANGED)
        }
        // The two change places.
        (Destination::Inside(path), Destination::Outside(outside)) if flags & libc::RENAME_EXCHANGE != 0 => {
            AtEntry::exclusive(ExitAction::Arrive { from: Some(outside), to: path, flags })
        }
        (Destination::Inside(path), Destination::Outside(_)) if flags & libc::RENAME_WHITEOUT != 0 => {
            AtEntry::unmodelled(format!("{path} left the recorded directory, and a whiteout was made for it"))
        }
        (Destination::Inside(path), Destination::Outside(to)) => AtEntry::exclusive(ExitAction::Leave { path, to }),
        (Destination::Outside(from), Destination::Inside(to)) => {
            // A whiteout is made outside.
            let flags = flags & !libc::RENAME_WHITEOUT;
            AtEntry::exclusive(ExitAction::Arrive { from: Some(from), to, flags })
        }
        (Destination::Outside(from), Destination::Outside(to)) => AtEntry::outside([from, to]),
        (Destination::Nowhere(detail), _) | (_, Destination::Nowhere(detail)) => AtEntry::nowhere(detail),
        (Destination::Fd(_), _) | (_, Destination::Fd(_)) => AtEntry::Pass,
    })
}

fn linking(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    from: PathArgument,
    to: PathArgument,
    flags: i32,
) -> io::Result<AtEntry> {
    let text = remote::string(tid, from.address)?;
    let from = if text.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
        Destination::Fd(from.dirfd)
    } else {
        let last = if flags & libc::AT_SYMLINK_FOLLOW != 0 { Last::Follow } else { Last::Name };
        recorder.destination_of(tid, from.dirfd, &text, last)?
    };
    let from = match from {
        Destination::Fd(fd) => recorder.target_of_fd(tid, fd),
        // Resolved as far as the kernel does.
        Destination::Inside(path) => Some(Target::NoFollow(path)),
        Destination::Outside(_) => None,
        Destination::Nowhere(detail) => return Ok(AtEntry::nowhere(detail)),
    };
    Ok(match (from, recorder.destination(tid, to, Last::Name)?) {
        (Some(from), Destination::Inside(to)) => AtEntry::record(Call::Link { from, to }),
        (None, Destination::Inside(to)) => {
            AtEntry::exclusive(ExitAction::Arrive { from: None, to, flags: libc::RENAME_NOREPLACE })
        }
        (Some(from), Destination::Outside(to)) => {
            let path = match from {
                Target::Path(path) | Target::NoFollow(path) => path,
                Target::Handle(handle) => recorder.files.file(handle).map(|file| file.path.clone()).unwrap_or_default(),
            };
            AtEntry::exclusive(ExitAction::LinkOutside { path, to })
        }
        (_, to) => to.elsewhere(),
    })
}
