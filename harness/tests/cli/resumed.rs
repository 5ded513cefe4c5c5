//! `harness run --resume`: a run goes on where it was, and only as what it was.

use std::fs;
use std::time::Duration;

use crate::support::{Place, assert_tells, on_uml, signal, uml, wait};

/// Killed or interrupted again and again, at moments that fall anywhere, and gone on with each time: the report is the one of a run
/// that nobody disturbed.
#[test]
fn a_killed_run_goes_on() {
    if !uml() {
        return;
    }
    let place = Place::new();
    place.workload("saver", "setup = ['sh', '-c', 'echo old > f']\ncommand = ['sh', '-c', 'echo new > f']\n");
    let begin = |out| ["run", "--vm=uml", "--fs=ext4", "--fs=xfs", "--tear=one", "--out", out, "saver"];
    let undisturbed = place.run(&begin("undisturbed"));
    assert_eq!(undisturbed.status, 1, "{}", undisturbed.stderr);
    let mut kills = 0;
    for (delay, name) in
        [50, 400, 700, 900, 1000, 1100, 1200, 1300, 1400, 1500].into_iter().zip(["KILL", "INT"].iter().cycle())
    {
        let begun = place.path("killed/run.json").exists();
        let arguments = if begun { vec!["run", "--resume", "killed"] } else { begin("killed").to_vec() };
        let mut child = place.command(&arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        if child.try_wait().unwrap().is_none() {
            signal(&child, name);
        }
        kills += u32::from(!child.wait().unwrap().success());
    }
    assert!(kills > 0);
    let ended = place.run(&["run", "--resume", "killed"]);
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    let report = |name: &str| fs::read_to_string(place.path(name).join("report.json")).unwrap();
    assert_eq!(report("killed"), report("undisturbed"));
    // What it had found, it did not look for again: a run that is over has nothing left to do but to confirm.
    let visits = |name: &str| {
        let journal = fs::read_to_string(place.path(name).join("journal.jsonl")).unwrap();
        journal.lines().filter(|line| line.contains("\"line\":\"visit\"")).count()
    };
    assert_eq!(visits("killed"), visits("undisturbed"));
    wait("guests to end", || place.guests().is_empty());
}

/// A journal of one kernel's states is of no use on another, and a refusal leaves the run as it is.
#[test]
fn a_run_goes_on_with_its_own_kernel_only() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let begun = place.run(&on_uml(&["--budget=20mounts", "--out", "begun", "--", "sh", "-c", "echo x > f"]));
    assert!(begun.status <= 1, "{}", begun.stderr);
    let report = || fs::read_to_string(place.path("begun/report.json")).unwrap();
    let first = report();
    let release = fs::read_to_string(place.path("begun/kernel")).unwrap();
    let cells: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(cells["cells"][0]["kernel"], release.as_str());
    let resume = ["run", "--resume", "begun"];
    let mut text = String::new();
    fs::write(place.path("begun/kernel"), "5.10.0").unwrap();
    text += &place.tell(&[&resume]);
    fs::remove_file(place.path("begun/kernel")).unwrap();
    text += &place.tell(&[&resume]);
    assert_tells!(place, text.replace(&release, "[RELEASE]"));
    assert_eq!(report(), first);
    fs::write(place.path("begun/kernel"), &release).unwrap();
    let ended = place.run(&resume);
    assert_eq!((ended.status, report()), (begun.status, first), "{}", ended.stderr);
    // Where nothing has been found, nothing can be of another kernel.
    fs::remove_file(place.path("begun/kernel")).unwrap();
    place.write("begun/journal.jsonl", "");
    let ended = place.run(&resume);
    assert_eq!(ended.status, begun.status, "{}", ended.stderr);
    assert_eq!(fs::read_to_string(place.path("begun/kernel")).unwrap(), release);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// What one check has found is not reported together with what another finds, nor what other tools would have found.
#[test]
fn a_run_goes_on_with_its_own_checks_and_tools_only() {
    if !uml() {
        return;
    }
    let place = Place::new();
    place.write(
        "w/workload.toml",
        "command = [\"sh\", \"-c\", \"echo x > f\"]\ncheck = [\"sh\", \"{workload}/check\"]\n",
    );
    place.write("w/check", "exit 0");
    let begun = place.run(&on_uml(&["--fs=ext4", "--budget=2mounts", "--out", "begun", "w"]));
    assert!(begun.status <= 1, "{}", begun.stderr);
    let refuses = |what: &str| {
        let refused = place.run(&["run", "--resume", "begun", "--workload", "w"]);
        assert_eq!(refused.status, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains(&format!("was begun with another {what} (")), "{}", refused.stderr);
    };
    place.write("w/check", "exit 0 # mended");
    refuses("check of w");
    place.write("w/check", "exit 0");
    let kept = fs::read_to_string(place.path("begun/run.json")).unwrap();
    for tool in ["build of the harness", "mkfs.ext4"] {
        let mut other: serde_json::Value = serde_json::from_str(&kept).unwrap();
        assert!(other["tools"][tool].is_string(), "{kept}");
        other["tools"][tool] = "another".into();
        engine::sum::seal(&mut other);
        place.write("begun/run.json", other.to_string());
        refuses(tool);
    }
    place.write("begun/run.json", kept);
    let ended = place.run(&["run", "--resume", "begun", "--workload", "w"]);
    assert_eq!(ended.status, begun.status, "{}", ended.stderr);
}

/// What the check of a workload says is not said where it was not run; what somebody took out of the journal is missed.
#[test]
fn checks_are_run_for_those_who_have_them() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let check = "test ! -s $HARNESS_ACKS || test -s f || { echo nothing left; exit 1; }";
    place.workload("w", &format!("command = ['sh', '-c', 'echo x > f; echo done']\ncheck = ['sh', '-c', '{check}']"));
    let begun = place.run(&on_uml(&["--budget=20mounts", "--format=json", "--out", "begun", "w"]));
    assert_eq!(begun.status, 1, "{}", begun.stderr);
    let report: serde_json::Value = serde_json::from_str(&begun.stdout).unwrap();
    let token = report["cells"][0]["violations"][0]["token"].as_str().unwrap().to_owned();
    let replay = |more: &[&str]| place.run(&[&["reproduce", "--vm=uml", "--results", "begun", &token], more].concat());
    let unchecked = replay(&[]);
    assert_eq!(unchecked.status, 70, "{}", unchecked.stdout);
    for line in [
        "check not run, since it stands in the results: sh -c ",
        "the report says of this state: the check fails: exit 1: nothing left",
    ] {
        assert!(unchecked.stdout.lines().any(|found| found.starts_with(line)), "{}", unchecked.stdout);
    }
    assert!(!unchecked.stdout.contains("holds"), "{}", unchecked.stdout);
    for more in [&["--workload", "w"][..], &["--run-check"]] {
        let checked = replay(more);
        assert_eq!(checked.status, 1, "{}", checked.stdout);
        assert_eq!(checked.stderr.starts_with("running the check of w: sh -c "), more == ["--run-check"]);
    }
    // With right checksums: only looking at the states again tells.
    let id = fs::read_to_string(place.path("begun/run-id")).unwrap();
    let journal = fs::read_to_string(place.path("begun/journal.jsonl")).unwrap();
    place.write("begun/journal.jsonl", journal.replace("\"size\"", "\"sise\""));
    let refused = place.run(&["run", "--resume", "begun", "--workload", "w"]);
    assert_eq!(refused.status, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("journal.jsonl is damaged"), "{}", refused.stderr);
    place.write("begun/journal.jsonl", whitewashed(&journal, id.trim()));
    let refused = place.run(&["run", "--resume", "begun", "--workload", "w"]);
    assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("the journal of this run does not hold what is found now"), "{}", refused.stderr);
    place.write("begun/journal.jsonl", journal);
    let resumed = place.run(&["run", "--resume", "begun", "--workload", "w"]);
    assert_eq!(resumed.status, 1, "{}", resumed.stderr);
}

/// The journal of the run `id`, with eight of its visits, all in which `f` was empty: they are said to have seen what a
/// state looks like in which it was not.
fn whitewashed(journal: &str, id: &str) -> String {
    let lines = || journal.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let seen = |size: u64| {
        let is = |line: &serde_json::Value| line["line"] == "observation" && line["entries"]["f"]["size"] == size;
        lines().filter(is).map(|line| line["id"].clone()).collect::<Vec<_>>()
    };
    let (empty, whole) = (seen(0), seen(2));
    let seal = |mut line: serde_json::Value| {
        if line["line"] == "visit" {
            line["observation"] = whole[0].clone();
        }
        line.as_object_mut().unwrap().remove("checksum");
        engine::journal::seal(id, &line.to_string())
    };
    let (visits, others): (Vec<_>, Vec<_>) = lines().partition(|line| line["line"] == "visit");
    let empty = visits.into_iter().filter(|visit| empty.contains(&visit["observation"])).take(8);
    others.into_iter().chain(empty).map(seal).collect()
}
