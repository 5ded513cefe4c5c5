//! The recording itself: it ends in time, can be cancelled, and keeps out of the way of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use record::{RecordError, record};

use testkit::Need;

use crate::common::{FIXTURE, Run, face, spec};

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

/// Programs have fixed paths: what is done there is done in the directory, under whichever of its names.
#[test]
fn the_directory_appears_at_another_path() {
    let (directory, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at_path = at.path().to_path_buf();
    if let Err(error) = mounts::Mounts::new(std::slice::from_ref(&at_path)).unwrap().probe() {
        return testkit::skip(Need::Namespaces, &error);
    }
    let link = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&at_path, link.path().join("link")).unwrap();
    let script = r#"id -u > "$1/user"; echo new > "$1/config.new"; sync "$1/config.new"; mv "$1/config.new" "$1/config"
        echo more >> config; echo last > "$2/link/linked"; chmod 600 "$2/link/linked"; rm "$1/user"; sync "$1""#;
    let words = ["sh", "-c", script, "sh", at_path.to_str().unwrap(), link.path().to_str().unwrap()];
    let spec = record::RecordSpec { at: vec![at_path.clone()], ..spec(words, directory.path()) };
    let run = Run { trace: record(&spec).unwrap(), directory };
    run.expect_complete();
    run.expect_in_order(&[
        r#"openat("user""#,
        r#"openat("config.new""#,
        "fsync(",
        r#"("config.new", "config""#,
        r#"openat("config""#,
        r#"openat("linked""#,
        r#"fchmodat("linked""#,
        r#""user""#,
        "fsync(",
    ]);
    assert_eq!(run.trace.outside, Vec::<String>::new(), "{}", run.text());
    assert_eq!(std::fs::read_dir(at.path()).unwrap().count(), 0);

    let nowhere = record::RecordSpec { at: vec!["/nonexistent/app".into()], ..spec };
    let error = record(&nowhere).unwrap_err().to_string();
    assert!(error.contains("cannot appear at /nonexistent/app") && error.ends_with("make an empty one"), "{error}");
}
