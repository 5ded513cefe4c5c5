//! Command lines and workloads: what is refused, and with which words.

use std::fs;

use crate::support::{Place, assert_tells};

#[test]
fn help() {
    let place = Place::new();
    assert_tells!(place, place.tell(&[&["--help"], &["run", "-h"], &["record", "-h"], &["reproduce", "-h"]]));
}

#[test]
fn wrong_usage() {
    let place = Place::new();
    place.write("plain", "");
    place.workload("set/one", "command = ['true']");
    place.workload("other/one", "command = ['true']");
    place.write("boot/kernel", "not a run's");
    assert_tells!(
        place,
        place.tell(&[
            &[],
            &["run"],
            &["run", "set/onne"],
            &["run", "set"],
            &["run", "plain"],
            &["run", "set/one", "other/one"],
            &["run", "set/one", "--", "true"],
            &["run", "--from", "set", "set/one"],
            &["run", "--from", "nowhere", "--", "true"],
            &["run", "--fs", "zfs", "set/one"],
            &["run", "--budget", "50", "set/one"],
            &["run", "--budget", "0s", "set/one"],
            &["run", "--budget", "0mounts", "set/one"],
            &["run", "--budget", "-5m", "set/one"],
            &["run", "--schedules", "-1", "set/one"],
            &["run", "--seed", "-1", "set/one"],
            &["run", "--jobs", "-1", "set/one"],
            &["run", "--time-limit", "-1", "--", "true"],
            &["run", "--name", "", "--", "true"],
            &["run", "--name", "two", "set/one"],
            &["run", "sh", "save me.sh"],
            &["run", "sh", "-c", "echo new > f"],
            &["run", "--jobs", "0", "set/one"],
            &["run", "--vm", "uml", "--kernel", "plain", "set/one"],
            &["run", "--kernel", "nowhere", "set/one"],
            &["reproduce", "--vm", "uml", "--kernel", "plain", "00000000.c0.s0.e0"],
            &["reproduce", "--kernel", "nowhere", "00000000.c0.s0.e0"],
            &["run", "--out", "plain", "set/one"],
            &["run", "--out", "plain/below", "set/one"],
            &["run", "--out", "boot", "set/one"],
            &["run", "--out", "set", "set/one"],
            &["run", "--", ""],
            &["record", "-o", "trace"],
            &["record", "-o", "nowhere/trace", "--", "true"],
            &["record", "-o", "set", "--", "true"],
            &["diff", "plain", "plain"],
            &["diff", "set", "nowhere"],
        ])
    );
    assert!(!place.path("results").exists());
}

#[test]
fn malformed_workloads() {
    let place = Place::new();
    place.workload("unclosed", "description = 'x'\ncommand = ['true'");
    place.workload("misspelt", "comand = ['true']");
    place.workload("nothing", "");
    place.workload("kind", "command = ['true']\n[[invariant]]\nkind = 'atomic'\npath = 'f'\n");
    place.workload("key", "command = ['true']\n[[invariant]]\nkind = 'atomic-replace'\npaht = 'f'\n");
    place.workload("underscore", "command = ['true']\ntime_limit = 3\n");
    place.workload("unlike", "command = ['true']\nfrobnicate = 3\n");
    place.workload("early", "command = ['true']\nbuild = ['cc', '-o', '{run}/save', 'save.c']\n");
    place.workload("check", "command = ['true']\ncheck = ['no-such-checker']\n");
    assert_tells!(
        place,
        place.tell(&[
            &["run", "unclosed"],
            &["run", "misspelt"],
            &["run", "nothing"],
            &["run", "kind"],
            &["run", "key"],
            &["run", "underscore"],
            &["run", "unlike"],
            &["run", "early"],
            &["run", "check"],
        ])
    );
}

/// Two bare commands of one interpreter can be told apart; two runs do not share a directory, and that is the user's to mend.
#[test]
fn a_name_of_ones_own_and_a_busy_directory() {
    let place = Place::new();
    let run = |arguments: &[&str]| {
        let command = ["--", "sh", "-c", "echo x > f.new; mv f.new f"];
        place.run(&[&["run", "--crash=process", "--out", "here"], arguments, &command].concat())
    };
    let ended = run(&["--name", "my save"]);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("| my save |"), "{}", ended.stdout);
    let lock = fs::File::open(place.path("here/lock")).unwrap();
    lock.lock().unwrap();
    let ended = run(&[]);
    assert_eq!(ended.status, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("error: another run is at work in here:"), "{}", ended.stderr);
}

/// What has no effect is said, and nothing is said of what has.
#[test]
fn options_of_machines_where_none_crashes() {
    let place = Place::new();
    let run = |crash| {
        let options = ["run", "--fs", "ext4", "--budget", "5mounts", "--exhaustive", "--out", "results", crash];
        place.run(&[&options[..], &["--", "sh", "-c", "echo x > f.new; mv f.new f"]].concat())
    };
    let ended = run("--crash=process");
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let warnings: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("warning:")).collect();
    assert_eq!(warnings, ["warning: --crash process needs no machine that crashes, so without effect: --fs, --budget"]);
}
