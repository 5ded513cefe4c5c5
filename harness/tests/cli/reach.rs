//! Programs with fixed paths, traces from elsewhere, programs that do now this and now that, servers: no guest is needed to see
//! what is recorded of them.

use std::fs;

use testkit::Need;

use crate::support::Place;

const KILLED: [&str; 3] = ["run", "--crash", "process"];

/// The trace of the first workload of a run with `--out results`.
fn trace(place: &Place) -> String {
    place.run(&["show", "results/workload-0.trace"]).stdout
}

#[test]
fn the_directory_appears_at_a_fixed_path() {
    let place = Place::new();
    let at = place.path("etc");
    fs::create_dir(&at).unwrap();
    if let Err(error) = mounts::Mounts::new(std::slice::from_ref(&at)).unwrap().probe() {
        return testkit::skip(Need::Namespaces, &error);
    }
    let at = at.to_str().unwrap();
    let manifest = format!(
        "at = '{at}'\nsetup = ['sh', '-c', 'echo old > {at}/data']\n\
         command = ['sh', '-c', 'echo new > {at}/data.new; mv {at}/data.new {at}/data']\n\
         check = ['sh', '-c', 'grep -q -e old -e new {at}/data']\n"
    );
    place.workload("fixed", &manifest);
    let ended = place.run(&[&KILLED[..], &["--out", "results", "fixed"]].concat());
    assert_eq!(ended.status, 0, "{}{}", ended.stdout, ended.stderr);
    let shown = trace(&place);
    assert!(shown.contains(r#"("data.new", "data")"#), "{shown}");
    assert_eq!(fs::read_dir(at).unwrap().count(), 0);

    let ended = place.run(&[&KILLED[..], &["--at", "/nonexistent/app", "--", "true"]].concat());
    assert_eq!(ended.status, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot appear at /nonexistent/app"), "{}", ended.stderr);
}

#[test]
fn a_trace_from_elsewhere_is_explored_and_nothing_in_it_is_run() {
    let place = Place::new();
    fs::create_dir(place.path("there")).unwrap();
    place.write("there/data", "old");
    let mut record =
        place.command(&["record", "-o", "../save.trace", "--", "sh", "-c", "echo new > data; touch ../ran"]);
    assert!(record.current_dir(place.path("there")).status().unwrap().success());
    fs::remove_file(place.path("ran")).unwrap();
    let ended = place.run(&[&KILLED[..], &["--trace", "save.trace", "--name", "saver"]].concat());
    assert_eq!(ended.status, 1, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("violation in saver") && ended.stdout.contains("data is empty"), "{}", ended.stdout);
    assert!(!place.path("ran").exists());
    // What must hold says the workload that is named.
    place.workload("w", "command = ['false']\n[[invariant]]\nkind = 'no-leftovers'\n");
    let ended = place.run(&[&KILLED[..], &["--trace", "save.trace", "--workload", "w"]].concat());
    assert_eq!(ended.status, 0, "{}{}", ended.stdout, ended.stderr);
    let ended = place.run(&[&KILLED[..], &["--trace", "there/data"]].concat());
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.contains("not a trace file"), "{}", ended.stderr);
}

#[test]
fn each_recording_that_differs_is_explored() {
    let place = Place::new();
    place.write("turn", "0");
    let script = "n=$(cat $0); echo $(( (n + 1) % 2 )) > $0; echo $n > f.new; mv f.new f; echo $n";
    let turn = place.path("turn");
    let words = ["--recordings", "5", "--name", "turns", "--", "sh", "-c", script, turn.to_str().unwrap()];
    let ended = place.run(&[&KILLED[..], &words].concat());
    assert_eq!(ended.status, 0, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("turns: 2 of 5 recordings are distinct"), "{}", ended.stderr);
    assert!(ended.stdout.contains("turns#2"), "{}", ended.stdout);
}

#[test]
fn a_server_is_recorded_with_its_client() {
    let place = Place::new();
    let ask = place.path("ask").display().to_string();
    let manifest = format!(
        "setup = ['sh', '-c', 'echo old > data']\n\
         command = ['sh', '-c', 'touch {ask}; while [ -e {ask} ]; do sleep 0.02; done; echo saved']\n\
         explore-from = {{ server = 'ready' }}\n\
         [server]\n\
         command = ['sh', '-c', '''echo begin > data; trap 'exit 0' TERM; echo it is up
             while [ ! -e {ask} ]; do sleep 0.02; done; echo new > data.new; mv data.new data; rm {ask}
             while :; do sleep 0.02; done''']\n\
         ready = {{ text = 'is up' }}\n"
    );
    place.workload("served", &manifest);
    let ended = place.run(&[&KILLED[..], &["--out", "results", "served"]].concat());
    // Before the server was ready, its file was empty.
    assert_eq!(ended.status, 0, "{}{}", ended.stdout, ended.stderr);
    let shown = trace(&place);
    let acks: Vec<&str> = shown.lines().filter_map(|line| line.split("ack ").nth(1)).collect();
    assert_eq!(acks, [r#"stdout "server ready\n""#, r#"stdout "saved\n""#], "{shown}");
    place.workload("failing", &manifest.replace("echo begin > data;", "echo no license >&2; exit 3;"));
    let ended = place.run(&[&KILLED[..], &["failing"]].concat());
    assert_eq!(ended.status, 4, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the server ended before it was ready") && ended.stderr.contains("no license"),
        "{}",
        ended.stderr
    );
}
