//! Processes and threads: how they begin and end, and what paths mean to them.

use std::io;

use super::{AtEntry, ExitAction};
use crate::recorder::Recorder;
use crate::remote;
use crate::stop::Asked;

/// `SECCOMP_SET_MODE_FILTER` (`include/uapi/linux/seccomp.h`).
const SET_MODE_FILTER: u64 = 1;

/// Said of `clone`, too, once there is a child.
pub(crate) const OTHER_MOUNTS: &str = "went into a mount namespace of its own: paths may mean other files there";

/// `fork` and `vfork`.
pub(super) fn fork(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(cloning(recorder, call, 0))
}

pub(super) fn clone(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    Ok(cloning(recorder, call, call.args[0]))
}

pub(super) fn clone3(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    // `struct clone_args` begins with the flags.
    let [flags] = remote::words(call.tid, call.args[0])?;
    Ok(cloning(recorder, call, flags))
}

fn cloning(recorder: &mut Recorder<'_>, call: &Asked, flags: u64) -> AtEntry {
    if flags & libc::CLONE_UNTRACED as u64 != 0 {
        recorder.unmodelled("clone", "a child was kept from being traced: its calls of interest fail with ENOSYS");
    }
    if let Some(thread) = recorder.threads.get_mut(&call.tid) {
        thread.clone_flags = flags;
    }
    AtEntry::Pass
}

pub(super) fn unshare(_: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let flags = call.flags(0);
    Ok(if flags & libc::CLONE_NEWNS != 0 {
        AtEntry::unmodelled(OTHER_MOUNTS)
    } else if flags & libc::CLONE_FILES != 0 {
        AtEntry::free(ExitAction::Unshare)
    } else {
        AtEntry::Pass
    })
}

pub(super) fn exit_group(_: &mut Recorder<'_>, _: &Asked) -> io::Result<AtEntry> {
    Ok(AtEntry::End)
}

pub(super) fn ptrace(_: &mut Recorder<'_>, _: &Asked) -> io::Result<AtEntry> {
    Ok(AtEntry::unmodelled("the program traces another: what it makes that one do may be missed"))
}

pub(super) fn seccomp(_: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    let listens = call.args[1] & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    Ok(if call.args[0] == SET_MODE_FILTER && listens {
        AtEntry::unmodelled("calls that a seccomp listener answers are not seen")
    } else {
        AtEntry::Pass
    })
}

/// `chroot`, `mount`, `setns` and their kin.
pub(super) fn changes_paths(_: &mut Recorder<'_>, _: &Asked) -> io::Result<AtEntry> {
    Ok(AtEntry::unmodelled("changed what paths mean: files may be taken for others"))
}
