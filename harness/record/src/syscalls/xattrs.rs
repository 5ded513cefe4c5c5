//! Extended attributes, and access lists, which are kept in some of them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use libc::pid_t;
use program::Call;

use super::AtEntry;
use super::arguments::PathArgument;
use super::metadata::target_of_chmod;
use crate::recorder::Recorder;
use crate::remote::{self, Span};
use crate::stop::Asked;

/// Where the kernel keeps an access list (acl(5)).
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
/// `XATTR_SIZE_MAX` (`include/uapi/linux/limits.h`).
const LONGEST_VALUE: u64 = 65_536;

/// What a call sets an attribute to.
struct Value {
    span: Span,
    /// `XATTR_CREATE` and `XATTR_REPLACE`.
    flags: u32,
}

impl Value {
    /// Arguments 2 to 4 of `setxattr` and its kin.
    fn of(call: &Asked) -> Self {
        Self { span: call.span(2, 3), flags: call.u32(4) }
    }
}

pub(super) fn setxattr(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    setting(recorder, call.tid, call.path(0), 0, call.args[1], &Value::of(call))
}

pub(super) fn lsetxattr(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    setting(recorder, call.tid, call.path(0), libc::AT_SYMLINK_NOFOLLOW, call.args[1], &Value::of(call))
}

pub(super) fn fsetxattr(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    setting(recorder, call.tid, call.no_path(0), 0, call.args[1], &Value::of(call))
}

pub(super) fn setxattrat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    // `struct xattr_args`: value, then size and flags of 32 bits each.
    let [address, rest] = remote::words(call.tid, call.args[4])?;
    let value = Value { span: Span { address, length: rest & 0xffff_ffff }, flags: (rest >> 32) as u32 };
    setting(recorder, call.tid, call.path_at(0, 1), call.flags(2), call.args[3], &value)
}

pub(super) fn removexattr(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    removing(recorder, call.tid, call.path(0), 0, call.args[1])
}

pub(super) fn lremovexattr(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    removing(recorder, call.tid, call.path(0), libc::AT_SYMLINK_NOFOLLOW, call.args[1])
}

pub(super) fn fremovexattr(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    removing(recorder, call.tid, call.no_path(0), 0, call.args[1])
}

pub(super) fn removexattrat(recorder: &mut Recorder<'_>, call: &Asked) -> io::Result<AtEntry> {
    removing(recorder, call.tid, call.path_at(0, 1), call.flags(2), call.args[3])
}

fn setting(
    recorder: &mut Recorder<'_>,
    tid: pid_t,
    path: PathArgument,
    at_flags: i32,
    name: u64,
    Value { span, flags }: &Value,
) -> io::Result<AtEntry> {
    let target = match recorder.target(tid, path, at_flags)? {
        Ok(target) => target,
        Err(instead) => return Ok(instead),
    };
    if span.length > LONGEST_VALUE {
        return Ok(AtEntry::Pass);
    }
    let name = remote::string(tid, name)?;
    let value = remote::bytes(tid, &[*span], span.length as usize)?;
    if name == ACCESS_ACL
        && let Some(permissions) = plain_acl(&value)
    {
        let special = fs::metadata(recorder.host_path(tid, path)?)?.mode() & 0o7000;
        let target = target_of_chmod(target);
        return Ok(AtEntry::record(Call::Chmod { target, mode: special | permissions }));
    }
    Ok(AtEntry::record(Call::SetXattr { target, name, value, flags: *flags }))
}

fn removing(recorder: &mut Recorder<'_>, tid: pid_t, path: PathArgument, flags: i32, name: u64) -> io::Result<AtEntry> {
    let target = match recorder.target(tid, path, flags)? {
        Ok(target) => target,
        Err(instead) => return Ok(instead),
    };
    let name = remote::string(tid, name)?;
    // Removing an access list that is not there succeeds, and does nothing.
    let is_acl = name.starts_with(b"system.posix_acl_");
    if is_acl && xattr::get_deref(recorder.host_path(tid, path)?, OsStr::from_bytes(&name))?.is_none() {
        return Ok(AtEntry::Pass);
    }
    Ok(AtEntry::record(Call::RemoveXattr { target, name }))
}

/// The permissions that an access list stands for if it grants nothing beyond them: the kernel then stores only those.
/// Format: `include/uapi/linux/posix_acl_xattr.h`.
fn plain_acl(value: &[u8]) -> Option<u32> {
    const VERSION: [u8; 4] = 2u32.to_le_bytes();
    let mut mode = 0;
    for entry in value.strip_prefix(&VERSION)?.chunks(8) {
        let (tag, permissions) = (u16::from_le_bytes(*entry.first_chunk()?), u32::from(*entry.get(2)?));
        mode |= match tag {
            // ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_OTHER.
            0x01 => permissions << 6,
            0x04 => permissions << 3,
            0x20 => permissions,
            _ => return None,
        };
    }
    Some(mode)
}
