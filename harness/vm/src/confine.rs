//! What a machine may do to the host if it gets out of its own hands.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

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
    for capability in CapabilitySet::all().difference(CapabilitySet::DAC_OVERRIDE).iter() {
        // Refused to those who have no privileges, and for what the kernel does not know.
        let _ = remove_capability_from_bounding_set(capability);
    }
    Ok(())
}
