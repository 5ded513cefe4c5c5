//! What a machine may do to the host if it gets out of its own hands.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::libc;

/// Has `command` start in `directory`, and without the privileges of root but one: to open files whatever their mode,
/// since its own files may lie in the cache of another user, on whose behalf root runs this.
///
/// Guest processes of User Mode Linux are processes of the host. What they ask for reaches the host only if it lets
/// them go, which it must not ([`vm_images::UML_PTRACE`]). If it does all the same, the agent's relative names meet
/// nothing of the user's, and it can neither set the clock nor switch the host off.
///
/// An execve(2) by root grants no more than the bounding set (capabilities(7), "Capabilities and execution of programs
/// by root").
pub(crate) fn confine(command: &mut Command, directory: &Path) {
    command.current_dir(directory);
    // SAFETY: between fork and execve only calls that are safe in a signal handler are allowed (signal-safety(7)); these
    // are bare system calls, and nothing is allocated.
    unsafe { command.pre_exec(drop_privileges) };
}

fn drop_privileges() -> std::io::Result<()> {
    for capability in (0..CAPABILITIES).filter(|&capability| capability != CAP_DAC_OVERRIDE) {
        // prctl(2) refuses this to those who have no privileges, and for a capability that the kernel does not know.
        // SAFETY: PR_CAPBSET_DROP takes a number and no pointer.
        let _ = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    Ok(())
}

/// The number of the one capability that is kept (include/uapi/linux/capability.h).
const CAP_DAC_OVERRIDE: libc::c_ulong = 1;

/// How many capabilities there can be: a set of them has 64 bits (capget(2), `_LINUX_CAPABILITY_VERSION_3`).
const CAPABILITIES: libc::c_ulong = 64;
