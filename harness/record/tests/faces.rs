//! The recorder on a program made for it: each family of calls, descriptors, processes, threads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Run, elsewhere_is_named, face, spec};
use program::{Call, Channel};
use record::{IoUring, RecordError, exit_status, record};
use testkit::Need;

const FIXTURE: &str = env!("CARGO_BIN_EXE_record-fixture");

fn acked(run: &Run, wanted: Channel) -> String {
    let data = run.trace.ops.iter().filter_map(|op| match &op.call {
        Call::Ack { channel, data } if *channel == wanted => Some(data.as_slice()),
        _ => None,
    });
    String::from_utf8(data.collect::<Vec<_>>().concat()).unwrap()
}

#[test]
fn writes_land_where_they_did() {
    insta::assert_snapshot!(face(&["writes"]).expect_complete().text());
}

#[test]
fn bytes_moved_by_the_kernel_are_recorded_too() {
    insta::assert_snapshot!(face(&["transfers"]).expect_complete().text());
}

#[test]
fn names_are_resolved() {
    insta::assert_snapshot!(face(&["names"]).expect_complete().text());
}

#[test]
fn metadata_changes_are_recorded() {
    let run = face(&["metadata"]);
    run.expect_complete();
    // SAFETY: getuid and getgid take nothing and cannot fail.
    let (user, group) = unsafe { (libc::getuid(), libc::getgid()) };
    let text = run.text().replace(&format!(", {user}, {group})"), ", USER, GROUP)");
    let text =
        text.replace(&format!(", {user}, -1)"), ", USER, -1)").replace(&format!(", -1, {group})"), ", -1, GROUP)");
    // Not on every file system.
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("xattr")).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let probe = run.directory.path().join("file");
    if xattr::set(probe, "user.probe", b"").is_ok() {
        insta::assert_snapshot!("xattrs", run.lines("xattr").join("\n"));
    } else {
        testkit::skip(Need::Xattrs, &"the file system of the directory for temporary files has no extended attributes");
    }
}

#[test]
fn syncs_are_recorded_and_directories_opened_for_them() {
    insta::assert_snapshot!(face(&["syncs"]).expect_complete().text());
}

#[test]
fn files_close_with_their_last_descriptor() {
    insta::assert_snapshot!(face(&["descriptors"]).expect_complete().text());
}

#[test]
fn nameless_files_are_linked_by_their_handle() {
    let run = face(&["tmpfile"]);
    run.expect_complete();
    // Not every kernel lets everyone link by AT_EMPTY_PATH.
    let lines: Vec<String> = run.text().lines().filter(|line| !line.contains("second")).map(str::to_owned).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn sockets_are_acks_and_their_names_are_files() {
    let (_place, path, _listener) = outsider();
    insta::assert_snapshot!(face(&["sockets", &path]).expect_complete().text());
}

/// Somebody outside who listens at this path.
fn outsider() -> (tempfile::TempDir, String, UnixListener) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("outside");
    let listener = UnixListener::bind(&path).unwrap();
    (place, path.to_str().unwrap().to_owned(), listener)
}

#[test]
fn what_threads_and_processes_tell_each_other_is_no_ack() {
    let run = face(&["among-themselves"]);
    run.expect_complete();
    assert_eq!(run.lines("ack"), ["ack stdout \"done\\n\""], "{}", run.text());
}

#[test]
fn what_is_told_to_somebody_outside_is_an_ack() {
    let (_place, path, _listener) = outsider();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [path, tcp.local_addr().unwrap().to_string()] {
        let run = face(&["tell", &address]);
        run.expect_complete();
        assert_eq!(acked(&run, Channel::Socket), "told", "{address}");
    }
    // A server answers to clients outside.
    let directory = tempfile::tempdir().unwrap();
    let spec = spec([FIXTURE, "serve"], directory.path());
    let run = std::thread::scope(|scope| {
        let recorded = scope.spawn(|| record(&spec).unwrap());
        let place = |former: &str| loop {
            match std::fs::read_to_string(directory.path().join("place")) {
                Ok(place) if place != former => break place,
                _ if recorded.is_finished() => panic!("the server ended"),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut answer = String::new();
        let port = place("");
        let mut client = TcpStream::connect(&port).unwrap();
        client.write_all(b"ask").unwrap();
        client.read_to_string(&mut answer).unwrap();
        let path = place(&port);
        let mut client = UnixStream::connect(directory.path().join(path)).unwrap();
        client.write_all(b"ask").unwrap();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answeranswer");
        recorded.join().unwrap()
    });
    let run = Run { trace: run, directory };
    run.expect_complete();
    assert_eq!(acked(&run, Channel::Socket), "answeranswer");
}

#[test]
fn the_end_of_a_line_belongs_to_the_line() {
    let run = face(&["lines"]);
    run.expect_complete();
    insta::assert_snapshot!(run.text());
    assert_eq!(acked(&run, Channel::Stdout), "line 1\nline 2\nline 3\r\n\n");
}

#[test]
fn what_a_program_tells_itself_is_no_ack() {
    let run = face(&["socketpair"]);
    run.expect_complete();
    assert_eq!((acked(&run, Channel::Socket), acked(&run, Channel::Stdout)), (String::new(), "saved\n".to_owned()));
}

#[test]
fn everything_printed_is_an_ack() {
    let run = face(&["acks"]);
    insta::assert_snapshot!(run.expect_complete().text());
    assert_eq!(acked(&run, Channel::Stdout), "printed\nsaved by splice by name\n");
}

#[test]
fn what_cannot_be_followed_is_told() {
    let run = face(&["limits"]);
    assert_eq!(exit_status(&run.trace), Some(0), "{}", run.text());
    let told = |call: &str, detail: &str| {
        run.trace.limits.iter().any(|limit| limit.call == call && limit.detail.contains(detail))
    };
    assert!(told("mmap", "shared mapping of mapped"), "{}", run.text());
    assert!(told("changed from outside", "mapped has another content"), "{}", run.text());
    assert_eq!(run.trace.limits.iter().filter(|limit| limit.call == "mmap").map(|limit| limit.count).sum::<u64>(), 1);
    if run.trace.after.0.contains_key(&"linked in too".into()) {
        assert!(told("linkat", "outside the recorded directory"), "{}", run.text());
    }
    assert_eq!(run.trace.outside.len(), usize::from(elsewhere_is_named()), "{}", run.text());
}

#[test]
fn times_of_open_files_are_recorded() {
    let run = face(&["times"]);
    insta::assert_snapshot!(run.expect_complete().lines("utim").join("\n"));
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
fn much_output_is_drained() {
    let run = face(&["much-output"]);
    run.expect_complete();
    assert_eq!(acked(&run, Channel::Stdout).len(), 1 << 20);
}

#[test]
fn descriptors_are_shared_with_children() {
    let run = face(&["inherit"]);
    insta::assert_snapshot!(run.expect_complete().text());
    assert_eq!(run.after("shared"), b"parent child parent again");
}

#[test]
fn every_way_to_fork_is_followed() {
    face(&["vfork"]).expect_complete().expect_in_order(&[
        "[1] write(h0 \"spawned\", \"spawned\\n\", 8, at 0) = 8",
        "[1] close(h0 \"spawned\")",
        "[2] write(h1 \"forked\", \"once \", 5, at 0) = 5",
        "[3] write(h1 \"forked\", \"twice\", 5, at 5) = 5",
        "[2] close(h1 \"forked\")",
        "exit 0",
    ]);
}

#[test]
fn descriptors_that_come_over_a_socket_are_recognised() {
    let run = face(&["pass-descriptor"]);
    assert_eq!(exit_status(&run.trace), Some(0), "{}", run.text());
    // The one that nobody held open any more is adopted, and told of.
    assert_eq!(run.trace.limits.len(), 1, "{}", run.text());
    assert!(run.trace.limits[0].detail.starts_with("closed was opened"), "{}", run.text());
    insta::assert_snapshot!(run.text());
}

#[test]
fn exec_in_a_thread_takes_over_the_process() {
    let run = face(&["exec-in-thread"]);
    run.expect_complete();
    assert_eq!(run.after("bare"), b"2");
    assert_eq!(run.lines("by execve").len(), 1, "{}", run.text());
}

#[test]
fn a_program_without_any_argument_runs() {
    let run = face(&["exec-bare"]);
    run.expect_complete();
    // Since Linux 5.18 the kernel puts one in.
    assert!([b"0".as_slice(), b"1"].contains(&run.after("bare").as_slice()));
}

#[test]
fn descriptor_tables_can_part() {
    let run = face(&["unshare-files"]);
    run.expect_complete();
    assert_eq!(run.after("file"), b"still open here");
}

#[test]
fn children_may_outlive_the_program() {
    face(&["outlive"]).expect_complete().expect_in_order(&[
        "ack stdout \"early\\n\"",
        "exit 0",
        "[1] ack stdout \"late\\n\"",
        "[1] write(h0 \"late\", \"late\\n\", 5, at 0) = 5",
    ]);
}

#[test]
fn signals_and_job_control_work_as_ever() {
    let run = face(&["stop-and-go"]);
    run.expect_complete();
    assert_eq!(run.after("got"), b"got\n");
}

#[test]
fn racing_threads_leave_an_exact_order() {
    let run = face(&["race", "60"]);
    run.expect_complete();
    assert!(run.trace.ops.iter().any(|op| op.thread == 4));
}

#[test]
fn waiting_at_a_fifo_keeps_nobody_waiting() {
    let run = face(&["fifo"]);
    run.expect_complete();
    assert_eq!(run.after("got"), b"through");
}

#[test]
fn the_first_thread_may_end_first() {
    let run = face(&["leader-exits"]);
    run.expect_explained();
    assert_eq!(exit_status(&run.trace), Some(7));
    assert_eq!(run.after("file"), b"written by the one that stayed");
}

#[test]
fn a_process_may_end_while_its_threads_write() {
    for _ in 0..5 {
        let run = face(&["exit-beside-writer"]);
        run.expect_explained();
        assert_eq!(exit_status(&run.trace), Some(3));
    }
}

/// The recorder may find a thread that was killed while it waited, before it is told of the end.
#[test]
fn a_thread_may_end_the_process_while_others_write() {
    for _ in 0..10 {
        let run = face(&["exit-from-thread"]);
        run.expect_explained();
        assert_eq!(exit_status(&run.trace), Some(3));
    }
}

#[test]
fn names_that_change_meanwhile_are_resolved_in_order() {
    let run = face(&["names-race", "300"]);
    run.expect_complete();
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

#[test]
fn random_programs_are_explained_by_their_traces() {
    for seed in 0..12 {
        face(&["chaos", &seed.to_string(), "400"]).expect_complete();
    }
}

#[test]
fn a_trace_begins_with_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("d")).unwrap();
    std::fs::write(directory.path().join("d/a"), b"old").unwrap();
    let trace = record(&spec([FIXTURE, "chaos", "99", "300"], directory.path())).unwrap();
    let run = Run { trace, directory };
    run.expect_complete();
    assert_eq!(run.trace.before.file(&"d/a".into()).unwrap().as_slice(), b"old");
}

#[test]
fn a_program_that_hangs_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let spec =
        record::RecordSpec { time_limit: Duration::from_millis(700), ..spec([FIXTURE, "hang"], directory.path()) };
    let error = record(&spec).unwrap_err();
    assert!(matches!(error, RecordError::TimeOut { .. }), "{error}");
    assert!(error.to_string().starts_with("the command was still running after 0.7 s"), "{error}");
}

/// What it had printed until then may say what it hangs on, unless the user has seen that already.
#[test]
fn the_last_words_of_a_program_that_hangs_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let script = "seq 30; printf 'no \\033[1mnetwork\\n' >&2; sleep 1000";
    let spec =
        record::RecordSpec { time_limit: Duration::from_secs(3), ..spec(["sh", "-c", script], directory.path()) };
    insta::assert_snapshot!(record(&spec).unwrap_err());
    let spec = record::RecordSpec { time_limit: Duration::from_millis(100), echo: true, ..spec };
    let echoed = record(&spec).unwrap_err().to_string();
    assert!(echoed.ends_with("or make it end by itself"), "{echoed}");
}

#[test]
fn a_recording_can_be_cancelled_and_leaves_nothing_running() {
    let directory = tempfile::tempdir().unwrap();
    let cancel = Arc::new(AtomicBool::new(false));
    let spec = record::RecordSpec { cancel: Some(cancel.clone()), ..spec([FIXTURE, "hang"], directory.path()) };
    let recording = std::thread::spawn(move || record(&spec));
    let ready = directory.path().join("ready");
    while !ready.exists() && !recording.is_finished() {
        std::thread::sleep(Duration::from_millis(5));
    }
    cancel.store(true, Ordering::Relaxed);
    let error = recording.join().unwrap().unwrap_err();
    assert!(matches!(error, RecordError::Cancelled), "{error}");
    let pid = std::fs::read_to_string(ready).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // Where nobody reaps orphans it stays as a zombie.
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn recordings_can_run_side_by_side() {
    std::thread::scope(|scope| {
        for seed in 100..103 {
            scope.spawn(move || face(&["chaos", &seed.to_string(), "100"]).expect_complete().trace.ops.len());
        }
        // A child of the harness itself is nobody else's to wait for.
        let status = std::process::Command::new("sh").args(["-c", "sleep 0.05; exit 9"]).status().unwrap();
        assert_eq!(status.code(), Some(9));
    });
}
