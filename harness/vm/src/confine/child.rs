//! What a process does between fork(2) and execve(2) to give up all that a machine does not need.
//!
//! Only bare system calls are allowed here, and nothing may be allocated: another thread of the harness may have held the
//! allocator's lock when it was forked (signal-safety(7)). So whatever takes more was made ready before.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::libc::{self, c_long};

use super::identity::Identity;
use super::root::Root;

/// What is to be done, in the order of [`Steps::take`].
pub(super) struct Steps {
    pub(super) identity: Option<Identity>,
    pub(super) root: Root,
    /// Of landlock(7); none where the kernel has none.
    pub(super) ruleset: Option<OwnedFd>,
    /// Descriptors that stay open.
    pub(super) inherited: Vec<RawFd>,
    /// The most that a file may grow to, bytes.
    pub(super) file_size: u64,
}

/// Namespaces but that of users. Not of processes: what unshares it has one for its children only, the first of which must
/// outlive the others (pid_namespaces(7)), and those of User Mode Linux do not.
const NAMESPACES: c_long = (libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWNS | libc::CLONE_NEWUTS) as c_long;

/// How many capabilities there can be: a set of them has 64 bits (capget(2), `_LINUX_CAPABILITY_VERSION_3`).
const CAPABILITIES: c_long = 64;

impl Steps {
    /// Takes them all. Those that some hosts refuse, and those that make up for them, may fail: namespaces, the root
    /// that needs one, and what only the privileged can give up.
    pub(super) fn take(&self) -> io::Result<()> {
        limit(libc::RLIMIT_CORE, 0)?;
        limit(libc::RLIMIT_FSIZE, self.file_size)?;
        // What root may do without a user namespace, which the host may refuse to whom it becomes.
        let unshared = call(libc::SYS_unshare, [NAMESPACES, 0, 0]).is_ok();
        if unshared {
            // Before it becomes somebody who may not.
            let _ = self.root.enter();
        }
        drop_bounding_set();
        if let Some(Identity { user, group }) = self.identity {
            let (user, group) = (c_long::from(user), c_long::from(group));
            call(libc::SYS_setgroups, [0, 0, 0])?;
            call(libc::SYS_setresgid, [group; 3])?;
            call(libc::SYS_setresuid, [user; 3])?;
        }
        let others = if unshared { 0 } else { NAMESPACES };
        // Nobody has a name in it, and root is not mapped either: an execve(2) gives nothing back.
        let alone = call(libc::SYS_unshare, [c_long::from(libc::CLONE_NEWUSER) | others, 0, 0]).is_ok();
        if alone && !unshared {
            let _ = self.root.enter();
        }
        // A new user namespace has them all (user_namespaces(7)).
        drop_bounding_set();
        drop_capabilities()?;
        // Also those that this process was itself started with; kernels before 5.11 have no such call.
        let (first, last) = (3, c_long::from(u32::MAX));
        let _ = call(libc::SYS_close_range, [first, last, libc::CLOSE_RANGE_CLOEXEC.into()]);
        for &descriptor in &self.inherited {
            call(libc::SYS_fcntl, [descriptor.into(), libc::F_SETFD.into(), 0])?;
        }
        call5(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS.into(), 1, 0, 0, 0])?;
        if let Some(ruleset) = &self.ruleset {
            call(libc::SYS_landlock_restrict_self, [ruleset.as_raw_fd().into(), 0, 0])?;
        }
        Ok(())
    }
}

/// An execve(2) by root, or of a program that has capabilities, grants no more than what is in this set (capabilities(7),
/// "Transformation of capabilities during execve()").
fn drop_bounding_set() {
    for capability in 0..CAPABILITIES {
        // prctl(2) refuses this to those who have no privileges, and for a capability that the kernel does not know.
        let _ = call5(libc::SYS_prctl, [libc::PR_CAPBSET_DROP.into(), capability, 0, 0, 0]);
    }
    let _ = call5(libc::SYS_prctl, [libc::PR_CAP_AMBIENT.into(), libc::PR_CAP_AMBIENT_CLEAR_ALL.into(), 0, 0, 0]);
}

/// Empties the sets of effective, permitted and inheritable capabilities.
fn drop_capabilities() -> io::Result<()> {
    /// `struct __user_cap_header_struct` of include/uapi/linux/capability.h.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    // Two times effective, permitted, inheritable.
    let sets = [0u32; 6];
    // SAFETY: capset(2) reads a header and, for this version, twice three words; both outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets a limit that cannot be raised again.
fn limit(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes a `rlimit`, which outlives the call.
    if unsafe { libc::getrlimit(resource, &raw mut limits) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let most = most.min(limits.rlim_max);
    limits = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: setrlimit(2) reads a `rlimit`, which outlives the call.
    if unsafe { libc::setrlimit(resource, &raw const limits) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A system call whose arguments are numbers.
fn call(number: c_long, arguments: [c_long; 3]) -> io::Result<()> {
    let [first, second, third] = arguments;
    call5(number, [first, second, third, 0, 0])
}

/// A system call whose arguments are numbers, with all five that prctl(2) looks at.
fn call5(number: c_long, arguments: [c_long; 5]) -> io::Result<()> {
    let [first, second, third, fourth, fifth] = arguments;
    // SAFETY: the callers pass numbers, and no call that takes a pointer (setgroups(2) takes none where it is told of no
    // groups).
    let result = unsafe { libc::syscall(number, first, second, third, fourth, fifth) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
