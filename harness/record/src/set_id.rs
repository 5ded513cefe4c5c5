//! Set-user-ID and set-group-ID bits, which have no effect on a recorded program: a seccomp filter takes `no_new_privs`, without
//! which only the privileged may install one (seccomp(2)).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use libc::pid_t;
use nix::sys::statvfs::{FsFlags, statvfs};

/// The bits of a set-group-ID program: without the second one it is something else (inode(7)).
const SET_GROUP_ID: u32 = 0o2010;
const SET_USER_ID: u32 = 0o4000;

/// The rights that the program which a stopped thread has just begun does not get, in words: "/usr/bin/su has the rights of
/// user 0". `None`: it gets what it would get otherwise, or cannot be looked at.
pub(crate) fn lost(tid: pid_t) -> Option<String> {
    let link = format!("/proc/{tid}/exe");
    let program = fs::metadata(&link).ok()?;
    let mode = program.permissions().mode();
    if mode & SET_USER_ID == 0 && mode & SET_GROUP_ID != SET_GROUP_ID {
        return None;
    }
    // Effective IDs (proc(5), `/proc/pid`).
    let process = fs::metadata(format!("/proc/{tid}")).ok()?;
    let rights = rights(mode, [program.uid(), program.gid()], [process.uid(), process.gid()])?;
    let never = is_unprivileged_for_good()
        || statvfs(Path::new(&link)).is_ok_and(|disk| disk.flags().contains(FsFlags::ST_NOSUID));
    (!never).then(|| format!("{} has {rights}", fs::read_link(&link).unwrap_or_default().display()))
}

/// Of the user and group of a program and of the process that begins it.
fn rights(mode: u32, [user, group]: [u32; 2], [own_user, own_group]: [u32; 2]) -> Option<String> {
    if own_user == 0 {
        // Those that it has are all there are.
        return None;
    }
    let user = (mode & SET_USER_ID != 0 && user != own_user).then(|| format!("the rights of user {user}"));
    let group =
        (mode & SET_GROUP_ID == SET_GROUP_ID && group != own_group).then(|| format!("the rights of group {group}"));
    match (user, group) {
        (Some(user), Some(group)) => Some(format!("{user} and {group}")),
        (one, other) => one.or(other),
    }
}

/// Whether this process has `no_new_privs` itself, as in some containers.
fn is_unprivileged_for_good() -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rights_that_are_missing_are_told() {
        let own = [1000, 100];
        assert_eq!(rights(0o4755, [0, 0], own).as_deref(), Some("the rights of user 0"));
        assert_eq!(rights(0o6755, [0, 4], own).as_deref(), Some("the rights of user 0 and the rights of group 4"));
        assert_eq!(rights(0o2755, [0, 4], own).as_deref(), Some("the rights of group 4"));
        assert_eq!(rights(0o2745, [0, 4], own), None);
        assert_eq!(rights(0o6755, own, own), None);
        assert_eq!(rights(0o6755, [0, 4], [0, 0]), None);
    }
}
