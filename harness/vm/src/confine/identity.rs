//! As whom a machine runs.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// The user and the group that guests of root run as: neither has a name or a file anywhere. Debian reserves the range
/// 65000 to 65533 (Debian Policy, 9.2.2), systemd gives nobody those from 65520 on (its UIDS-GIDS), and containers, whose
/// users are 65536 of the host's, have them all.
const NOBODY_ELSE: u32 = 65533;

/// chown(2), setgid(2) and setuid(2): the capabilities that another identity takes (include/uapi/linux/capability.h).
const NEEDED: u64 = (1 << 0) | (1 << 6) | (1 << 7);

/// A user to become, who owns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Identity {
    /// Whom a machine becomes that needs these devices and runs this program; `None` if it stays who it is: it is not
    /// root's, or nobody else may use them. Root without any capability still owns most of the host's files.
    pub(super) fn of(devices: &[PathBuf], program: &Path) -> Option<Self> {
        let root = nix::unistd::geteuid().is_root() && capabilities().is_some_and(|own| own & NEEDED == NEEDED);
        let fits = |path: &PathBuf| Some(group_for(fs::metadata(path).ok()?));
        let groups: Vec<Group> = devices.iter().filter_map(fits).collect();
        let found = (root && everyone_reaches(program)).then(|| among(&groups)).flatten()?;
        found.is_known().then_some(found)
    }

    /// Whether this user namespace has such a user and group, and lets a process give up its other groups.
    fn is_known(self) -> bool {
        let read = |name: &str| fs::read_to_string(Path::new("/proc/self").join(name)).unwrap_or_default();
        is_mapped(&read("uid_map"), self.user)
            && is_mapped(&read("gid_map"), self.group)
            && read("setgroups").trim() != "deny"
    }

    /// Gives it a directory, and what is in that.
    pub(super) fn take(self, directory: &Path) -> io::Result<()> {
        let take = |path: &Path| chown(path, Some(self.user), Some(self.group));
        for entry in fs::read_dir(directory)? {
            take(&entry?.path())?;
        }
        take(directory)
    }
}

/// Who, beside its owner, may read and write a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Anyone,
    Only(u32),
    None,
}

fn group_for(metadata: fs::Metadata) -> Group {
    match (metadata.mode() & 0o006, metadata.mode() & 0o060) {
        (0o006, _) => Group::Anyone,
        // The group of root owns much of the host, too.
        (_, 0o060) if metadata.gid() != 0 => Group::Only(metadata.gid()),
        _ => Group::None,
    }
}

/// The identity that may use all of these devices.
fn among(groups: &[Group]) -> Option<Identity> {
    let mut group = NOBODY_ELSE;
    for asked in groups {
        match asked {
            Group::Anyone => {}
            Group::Only(id) if group == NOBODY_ELSE || group == *id => group = *id,
            Group::Only(_) | Group::None => return None,
        }
    }
    Some(Identity { user: NOBODY_ELSE, group })
}

/// Whether a map of user_namespaces(7) has this number: lines of the first one inside, the first outside, and how many.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        let (Some(Some(first)), Some(Some(count))) = (numbers.next(), numbers.nth(1)) else { return false };
        (first..first.saturating_add(count)).contains(&u64::from(id))
    })
}

/// Whether everyone may execute a program, and enter the directories that lead to it.
fn everyone_reaches(program: &Path) -> bool {
    program.ancestors().all(|path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}

/// The effective capabilities of this process, as proc(5) tells them.
fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn who_may_use_all_devices_is_nobody_with_their_group() {
        let one = |group| Some(Identity { user: NOBODY_ELSE, group });
        assert_eq!(among(&[]), one(NOBODY_ELSE));
        assert_eq!(among(&[Group::Anyone]), one(NOBODY_ELSE));
        assert_eq!(among(&[Group::Anyone, Group::Only(107), Group::Only(107)]), one(107));
        assert_eq!(among(&[Group::Only(107), Group::Only(108)]), None);
        assert_eq!(among(&[Group::Anyone, Group::None]), None);
    }

    #[test]
    fn an_identity_must_be_in_the_map() {
        assert!(is_mapped("         0          0 4294967295\n", NOBODY_ELSE));
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", NOBODY_ELSE));
        assert!(!is_mapped("0 1000 1\n", NOBODY_ELSE) && !is_mapped("", 0) && !is_mapped("0 0\n", 0));
    }

    #[test]
    fn a_program_in_a_closed_directory_is_out_of_reach() {
        let closed = tempfile::tempdir().expect("a directory");
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).expect("its mode");
        let program = closed.path().join("program");
        fs::copy("/bin/sh", &program).expect("a program");
        assert!(!everyone_reaches(&program), "it is its owner's");
        assert!(everyone_reaches(&Path::new("/bin/sh").canonicalize().expect("a shell")));
    }
}
