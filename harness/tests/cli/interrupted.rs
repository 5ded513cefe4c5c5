//! Signals to the harness: each ends it, and what was found by then is kept.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::support::{Ended, Place, long, shown, signal, sleeping, uml, wait, wait_for_line};

/// A signal while nothing has been found yet.
#[test]
fn interrupted_early() {
    let place = Place::new();
    let wait = &format!("touch \"$0\"; sleep {0} & sleep {0}", long(3));
    let marker = place.path("marker").display().to_string();
    place.workload("build", &format!("command = ['true']\nbuild = ['sh', '-c', '''{wait}''', '{marker}']\n"));
    place.workload("setup", &format!("command = ['true']\nsetup = ['sh', '-c', '''{wait}''', '{marker}']\n"));
    place.workload("command", &format!("command = ['sh', '-c', '''{wait}''', '{marker}']\n"));
    let record = ["record", "-o", "trace", "--", "sh", "-c", wait, &marker];
    let commands: [&[&str]; 4] = [&["run", "build"], &["run", "setup"], &["run", "command"], &record];
    for (arguments, (name, status)) in
        commands.into_iter().zip([("INT", 130), ("TERM", 143), ("HUP", 129), ("INT", 130)])
    {
        let child = place.command(arguments).spawn().unwrap();
        self::wait("the program", || Path::new(&marker).exists());
        signal(&child, name);
        let ended = Ended::of(child);
        assert_eq!((ended.status, ended.stdout.as_str()), (status, ""), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("error: interrupted"), "{}", ended.stderr);
        assert_eq!(place.left(), Vec::<String>::new());
        fs::remove_file(&marker).unwrap();
    }
    self::wait("the programs to be gone", || !sleeping(&long(3)));
    assert!(!place.path("trace").exists() && !place.path("results").exists());
}

/// A signal while the program's crash points are checked one by one.
#[test]
fn interrupted_between_process_crashes() {
    let place = Place::new();
    let marker = place.path("marker").display().to_string();
    // It holds on what was there before the command and on what it left, or it would not be used.
    let check = format!(
        "if [ ! -e \"$0.1\" ]; then touch \"$0.1\"; elif [ ! -e \"$0.2\" ]; then touch \"$0.2\"; \
         else touch \"$0\"; sleep {}; fi",
        long(4)
    );
    place.workload(
        "w",
        &format!("command = ['sh', '-c', 'echo x > f']\ncheck = ['sh', '-c', '''{check}''', '{marker}']\n"),
    );
    let child = place.command(&["run", "--crash=process", "w"]).spawn().unwrap();
    wait("the check", || Path::new(&marker).exists());
    signal(&child, "INT");
    let ended = Ended::of(child);
    assert_eq!(ended.status, 130, "{}", ended.stderr);
    assert!(ended.stderr.contains("error: interrupted"), "{}", ended.stderr);
    wait("the check to be gone", || !sleeping(&long(4)));
    assert_eq!(place.left(), Vec::<String>::new());
}

/// A run that takes long: ten files, so that there are many schedules.
fn long_run(place: &Place) -> Child {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do echo x > f$i; done";
    let arguments = ["run", "--vm=uml", "--fs=ext4", "--fs=xfs", "--budget=none", "--jobs=2", "--", "sh", "-c", script];
    place.command(&arguments).spawn().unwrap()
}

fn run_name(place: &Place) -> String {
    place.results().file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn interrupted_at_work() {
    if !uml() {
        return;
    }
    let place = Place::new();
    // While guests boot.
    let mut child = long_run(&place);
    wait_for_line(&mut child, "starts (uml)");
    signal(&child, "TERM");
    assert_eq!(shown(child.wait().unwrap()), 143);
    assert_eq!(place.left(), Vec::<String>::new());
    fs::remove_dir_all(place.path("results")).unwrap();

    // While they explore: what was found is kept and printed.
    let child = long_run(&place);
    // What it says is read at the end.
    // What is found are visits: executions stand in the journal before them.
    let found = |run: fs::DirEntry| {
        fs::read_to_string(run.path().join("journal.jsonl")).is_ok_and(|journal| journal.contains(r#""line":"visit""#))
    };
    let runs = || fs::read_dir(place.path("results/runs")).into_iter().flatten().flatten();
    wait("something to be found", || runs().any(found));
    signal(&child, "INT");
    let ended = Ended::of(child);
    assert_eq!(ended.status, 130);
    assert!(ended.stdout.contains("note: the run was cut short: interrupted"), "{}", ended.stdout);
    let go_on = format!("to go on with it: harness run --resume results/runs/{}", run_name(&place));
    assert!(ended.stderr.ends_with(&(go_on + "\n")), "{}", ended.stderr);
    assert_eq!(place.left(), Vec::<String>::new());
    let report = place.report();
    let cells = report["cells"].as_array().unwrap();
    assert!(cells.iter().any(|cell| cell["crash_states"]["mounts"].as_u64() > Some(0)), "{report}");
    assert!(cells.iter().all(|cell| cell["exhaustive"] == false && cell["verdict"] != "pass"), "{report}");
    assert!(place.path("results/latest/report.json").exists());
    fs::remove_dir_all(place.path("results")).unwrap();

    // Twice: at once, and as clean.
    let mut child = long_run(&place);
    wait_for_line(&mut child, "starts (uml)");
    signal(&child, "INT");
    signal(&child, "INT");
    assert_eq!(shown(child.wait().unwrap()), 130);
    wait("guests to be gone", || place.guests().is_empty());
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Even if the harness has no chance to clean up, its guests go.
#[test]
fn killed() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let mut child = long_run(&place);
    wait_for_line(&mut child, " schedules, ");
    assert_ne!(place.guests(), Vec::<String>::new());
    signal(&child, "KILL");
    assert_eq!(shown(child.wait().unwrap()), 128 + 9);
    wait("guests to be gone", || place.guests().is_empty());
}

/// One signal is enough, whatever is waited for: here, somebody who does not read the report.
#[test]
fn one_signal_ends_what_would_wait_for_ever() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let place = Place::new();
    let (_reader, writer) = nix::unistd::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(&writer, &[0; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let mut command = place.command(&["run", "--crash=process", "--", "sh", "-c", "echo x > f"]);
    let mut child = command.stdout(writer).spawn().unwrap();
    wait_for_line(&mut child, "results are in");
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, "TERM");
    assert_eq!(shown(child.wait().unwrap()), 143);
    assert_eq!(place.left(), Vec::<String>::new());
}
