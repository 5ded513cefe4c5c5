//! Processes and threads: how they begin and end, what they share, and in which order their calls come.

use std::time::{Duration, Instant};

use program::{Call, Handle};
use record::{exit_status, record};

use crate::common::{FIXTURE, Run, face, spec};

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

/// Memory shows only later what it held while the kernel read it.
#[test]
fn what_is_written_is_what_the_file_got() {
    let run = face(&["flip"]);
    run.expect_complete();
    let took = run.after("took");
    let written = run.trace.ops.iter().filter_map(|op| match &op.call {
        Call::Write { handle: Handle(0), data, .. } => Some(data.as_slice()),
        _ => None,
    });
    let written: Vec<&[u8]> = written.collect();
    assert_eq!(written.len(), 201, "{}", run.text());
    let other = written.iter().zip(took.chunks(4096)).filter(|(written, took)| *written != took);
    assert_eq!(other.count(), 0);
}

#[test]
fn waiting_at_a_fifo_keeps_nobody_waiting() {
    let run = face(&["fifo"]);
    run.expect_complete();
    assert_eq!(run.after("got"), b"through");
}

/// Else a busy disk would make every program with threads one whose order is not known.
#[test]
fn a_slow_write_keeps_its_turn() {
    let run = face(&["slow-write"]);
    run.expect_complete();
    if !run.trace.after.0.contains_key(&"none".into()) {
        run.expect_in_order(&["[1] write(h0 \"file\", \"ppp", "[2] write(h1 \"beside\", \"x\""]);
    }
}

#[test]
fn who_waits_for_a_lease_keeps_nobody_waiting() {
    let start = Instant::now();
    let run = face(&["lease"]);
    assert_eq!(exit_status(&run.trace), Some(0), "{}", run.text());
    // After 45 s the kernel takes a lease away (`/proc/sys/fs/lease-break-time`).
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let told = run.trace.limits.iter().any(|limit| limit.detail.contains("order is not known"));
    assert_eq!(told, !run.trace.after.0.contains_key(&"none".into()), "{}", run.text());
}

/// The recorder reads what the program writes, but has no file open that the program wants for itself.
#[test]
fn leases_are_given_as_ever() {
    let run = face(&["write-lease"]);
    run.expect_complete().expect_in_order(&["\"before\", 6, at 0", "\"within\", 6, at 6"]);
    let native = tempfile::tempdir().unwrap();
    let status = std::process::Command::new(FIXTURE).arg("write-lease").current_dir(native.path()).status();
    assert!(status.unwrap().success());
    assert_eq!(run.after("lease"), std::fs::read(native.path().join("lease")).unwrap());
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
