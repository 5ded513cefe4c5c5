//! What cannot be followed is told, or refused as a kernel without it would.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use testkit::Need;

use record::{IoUring, exit_status, record};

use crate::common::{self, FIXTURE, Run, elsewhere_is_named, face, spec};

#[test]
fn what_cannot_be_followed_is_told() {
    let run = face(&["limits"]);
    assert_eq!(exit_status(&run.trace), Some(0), "{}", run.text());
    let told = |call: &str, detail: &str| {
        run.trace.limits.iter().any(|limit| limit.call == call && limit.detail.contains(detail))
    };
    assert!(told("ioctl", "on mapped"), "{}", run.text());
    assert_eq!(run.trace.outside.len(), usize::from(elsewhere_is_named()), "{}", run.text());
}

/// As under a kernel without it, or in a container that refuses it: programs fall back.
#[test]
fn asynchronous_io_is_refused_unless_it_is_allowed() {
    let run = face(&["asynchronous"]);
    run.expect_complete();
    assert_eq!(run.after("there"), b"[false, false, false]");
    let refused: Vec<String> = run.trace.refused.iter().map(ToString::to_string).collect();
    assert_eq!(refused, ["io_setup was refused (ENOSYS, 2 times)", "io_uring_setup was refused (ENOSYS)"]);

    let directory = tempfile::tempdir().unwrap();
    let spec = record::RecordSpec { io_uring: IoUring::Allow, ..spec([FIXTURE, "asynchronous"], directory.path()) };
    let run = Run { trace: record(&spec).unwrap(), directory };
    assert_eq!(exit_status(&run.trace), Some(0), "{}", run.text());
    assert_eq!(run.trace.refused, []);
    // Not everywhere there is any.
    let native = std::process::Command::new(FIXTURE).arg("asynchronous").current_dir(run.directory.path()).status();
    assert!(native.unwrap().success());
    assert_eq!(run.after("there"), std::fs::read(run.directory.path().join("there")).unwrap());
    if run.after("there").starts_with(b"[true") {
        let unmodelled: Vec<&str> = run.trace.limits.iter().map(|limit| limit.call.as_str()).collect();
        assert!(unmodelled.iter().all(|call| *call == "io_uring_setup"), "{unmodelled:?}");
    }
}

#[test]
fn a_mount_namespace_is_told_however_it_was_entered() {
    let run = face(&["mount-namespace"]);
    assert_eq!(exit_status(&run.trace), Some(0), "{}", run.text());
    let told = run.trace.limits.iter().any(|limit| limit.call == "clone" && limit.detail.contains("mount namespace"));
    // Where it is not permitted, nothing has happened.
    assert_eq!(told, !run.trace.after.0.contains_key(&"none".into()), "{}", run.text());
}

/// A sync that the recorder cannot see would be one that is missing.
#[test]
fn a_program_that_hides_is_told() {
    let recording = std::thread::spawn(|| {
        forgo(&[CAP_SYS_PTRACE]);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "x").unwrap();
        (record(&spec([FIXTURE, "hidden"], directory.path())).unwrap(), directory)
    });
    let (trace, directory) = recording.join().unwrap();
    let run = Run { trace, directory };
    assert_eq!(exit_status(&run.trace), Some(0), "{}", run.text());
    let hidden = run.trace.limits.iter().filter(|limit| limit.detail.contains("PR_SET_DUMPABLE"));
    // The sync, and the message.
    assert_eq!(hidden.map(|limit| limit.count).sum::<u64>(), 2, "{}", run.text());
}

/// A call that may not look where its path leads fails: nothing is missing.
#[test]
fn a_path_that_may_not_be_looked_at_is_no_limit() {
    let locked = tempfile::tempdir().unwrap();
    std::fs::create_dir(locked.path().join("d")).unwrap();
    let set_mode = |mode| std::fs::set_permissions(locked.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o000);
    let path = locked.path().join("d/x").into_os_string();
    let recording = std::thread::spawn(|| {
        forgo(&[CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH]);
        common::run(["mkdir".into(), path])
    });
    let run = recording.join().unwrap();
    set_mode(0o700);
    assert_eq!(exit_status(&run.trace), Some(1), "{}", run.text());
    run.expect_explained();
}

/// Whom it makes root, say, is somebody else when it is recorded.
#[test]
fn set_id_bits_without_effect_are_told() {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("id");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    // SAFETY: takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let natively = |path: &Path| {
        let mut command = std::process::Command::new(path);
        if is_root {
            command.uid(NOBODY);
        }
        String::from_utf8(command.arg("-u").output().unwrap().stdout).unwrap()
    };
    if !is_root || natively(&program) != "0\n" {
        testkit::skip(Need::Programs, &"set-ID bits have no effect here in any case, or are for root to give");
        return;
    }
    let recorded = program.clone();
    let run = std::thread::spawn(move || {
        become_nobody();
        common::run([recorded.into_os_string(), "-u".into()])
    });
    let run = run.join().unwrap();
    assert_eq!(run.lines("ack"), [format!("ack stdout \"{NOBODY}\\n\"")], "{}", run.text());
    let detail = format!("{} has the rights of user 0, which it does not get", program.display());
    assert!(run.trace.limits.iter().any(|limit| limit.detail.starts_with(&detail)), "{}", run.text());
    assert_eq!(common::run([program.into_os_string()]).trace.limits, [], "root loses nothing");
}

const NOBODY: u32 = 65_534;

/// This thread alone, and all that it starts.
fn become_nobody() {
    // SAFETY: these take numbers only.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY), 0);
        // Else nobody may trace what it starts, itself among them.
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    }
}

const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_SYS_PTRACE: u32 = 19;

/// Gives up capabilities, which root has, for this thread and all that it starts.
fn forgo(capabilities: &[u32]) {
    let kept = !capabilities.iter().fold(0, |set, capability| set | 1 << capability);
    // `struct __user_cap_header_struct` of version 3, and two of `struct __user_cap_data_struct`: effective, permitted,
    // inheritable, of the first 32 capabilities and of the others (capget(2)).
    let header = [0x2008_0522u32, 0];
    let mut data = [0u32; 6];
    // SAFETY: structures as the kernel expects them, which live through the calls.
    let result = unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()), 0);
        data[..3].iter_mut().for_each(|set| *set &= kept);
        libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr())
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
