//! Guests that are killed: what ran in them goes with them, and another does what they were to do.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::wait::{WaitPidFlag, WaitStatus};

use crate::support::{Ended, Place, uml, wait, wait_for_line};

/// What runs in a guest of User Mode Linux are processes of the host. If they outlived the guest, the host would carry
/// out the calls that they are at: the agent's, with the agent's idea of where it is.
#[test]
fn nothing_of_a_guest_outlives_it() {
    if !uml() {
        return;
    }
    // What loses its parent becomes ours.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let place = Place::new();
    let script = "echo new > f; for i in 1 2 3 4 5 6 7 8; do echo x > f$i; done";
    let manifest = format!("setup = ['sh', '-c', 'echo old > f']\ncommand = ['sh', '-c', '{script}']\n");
    place.workload("saver", &manifest);
    let mut child =
        place.command(&["run", "--vm=uml", "--fs=ext4", "--budget=300mounts", "-j1", "saver"]).spawn().unwrap();
    wait_for_line(&mut child, " schedules, ");
    let field = |pid: &str, name: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let processes = place.guest_processes();
    let (kernel, traced): (Vec<_>, Vec<_>) =
        processes.iter().map(|(pid, _)| pid).partition(|pid| field(pid, "TracerPid:").as_deref() == Some("0"));
    assert!(!traced.is_empty(), "{processes:?}");
    // And if it could not be ended, it would not be where the user is, nor have any power.
    for (pid, _) in &processes {
        let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert!(directory.file_name().unwrap().to_str().unwrap().starts_with("guest"), "{directory:?}");
        let capabilities = u64::from_str_radix(&field(pid, "CapEff:").unwrap(), 16).unwrap();
        assert_eq!(capabilities, 0, "{capabilities:x}");
    }
    let signal = |name: &str, pid: &str| {
        let arguments = ["-c", &format!("kill -{name} {pid}")];
        assert!(Command::new("sh").args(arguments).status().unwrap().success());
    };
    // So that it does not tidy up.
    signal("STOP", &child.id().to_string());
    kernel.iter().for_each(|pid| signal("KILL", pid));
    wait("the kernel to end", || {
        kernel.iter().all(|pid| field(pid, "State:").is_none_or(|state| state.starts_with('Z')))
    });
    // How each of them ended is told to us, now that its parent has: killed, and not of its own accord.
    let mut ends = Vec::new();
    wait("what ran in the guest to end", || {
        for pid in &traced {
            let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
            match nix::sys::wait::waitpid(pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::StillAlive) | Err(_) => {}
                Ok(end) => ends.push(end),
            }
        }
        ends.len() == traced.len()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = |end: &WaitStatus| matches!(end, WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGKILL, _));
    assert!(ends.iter().all(killed), "{ends:?}");
}

/// A host that is short of memory kills what is large. A guest that goes so is replaced, whatever it was doing, and what
/// it did is done again.
#[test]
fn a_killed_guest_is_replaced() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let script = "echo new > f; for i in 1 2 3 4 5 6 7 8; do echo x > f$i; done";
    let manifest = format!("setup = ['sh', '-c', 'echo old > f']\ncommand = ['sh', '-c', '{script}']\n");
    place.workload("saver", &manifest);
    // With a budget of mounts, all schedules are executed before anything is explored, and there are some hundreds: it
    // is an execution that is hit.
    let begin = |out| ["run", "--vm=uml", "--fs=ext4", "--budget=300mounts", "-j1", "--out", out, "saver"];
    let undisturbed = place.run(&begin("undisturbed"));
    assert_eq!(undisturbed.status, 1, "{}", undisturbed.stderr);
    let mut child = place.command(&begin("disturbed")).spawn().unwrap();
    wait_for_line(&mut child, " schedules, ");
    let guests = place.guest_processes();
    assert!(!guests.is_empty());
    for (pid, _) in guests {
        let _ = Command::new("sh").args(["-c", &format!("kill -KILL {pid}")]).stderr(Stdio::null()).status().unwrap();
    }
    let disturbed = Ended::of(child);
    assert_eq!(disturbed.status, 1, "{}", disturbed.stdout);
    let report = |name: &str| fs::read_to_string(place.path(name).join("report.json")).unwrap();
    assert_eq!(report("disturbed"), report("undisturbed"));
}
