//! Results that were made elsewhere: they are data, and are read without trust.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Ended, Place, on_uml, uml};

/// The command that is printed works as it is printed, and says so if it shows what another kernel makes of a state.
#[test]
fn replayed_from_results_elsewhere() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let results = ["--budget=20mounts", "--out", "my results"];
    let ended = place.run(&on_uml(&[&results[..], &["--", "sh", "-c", "echo x > f"]].concat()));
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    let line = ended.stdout.lines().find_map(|line| line.trim_start().strip_prefix("token ")).unwrap();
    let arguments = line.trim().strip_prefix("harness ").unwrap();
    let replay = || {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" {arguments}"), env!("CARGO_BIN_EXE_harness")]);
        command.current_dir(place.here.path()).env("TMPDIR", place.temporary.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ended::of(command.spawn().unwrap())
    };
    let same = replay();
    assert_eq!((same.status, same.stderr.as_str()), (1, ""), "{line}");
    let release = fs::read_to_string(place.path("my results/kernel")).unwrap();
    place.write("my results/kernel", "5.10.0");
    let other = replay();
    let warning = format!("warning: this guest has Linux {release}, and those of the run had Linux 5.10.0: ");
    assert!(other.stderr.starts_with(&warning), "{}", other.stderr);
    assert_eq!((other.status, other.stdout), (1, same.stdout));
    let diff = place.run(&["diff", "my results/report.json", "my results"]);
    assert_eq!((diff.status, diff.stdout.contains("unchanged  ")), (0, true), "{}", diff.stdout);
}

/// The results of a run that was cut short, as somebody else may have made them: with a check that leaves a trace of
/// itself in `place`, and one kept execution of what `sh` does.
fn results_from_elsewhere(place: &Place) {
    use engine::store::{Kept, KeptCell, KeptWorkload, Store, VERSION};
    assert_eq!(place.run(&["record", "-o", "trace", "--", "sh", "-c", "echo x > f"]).status, 0);
    let bytes = fs::read(place.path("trace")).unwrap();
    let canary = place.path("executed").display().to_string();
    let check = serde_json::json!({
        "directory": place.here.path(), "command": ["sh", "-c", "touch \"$CANARY\""], "env": { "CANARY": canary },
        "files": ""
    });
    let (store, _lock) = Store::create(&place.path("foreign")).unwrap();
    store.keep_trace(0, &program::Trace::from_bytes(&bytes).unwrap()).unwrap();
    let kept = Kept {
        version: VERSION,
        machine: "uml".into(),
        spec: Default::default(),
        cells: vec![KeptCell {
            workload: 0,
            fs: "ext4".into(),
            mount_options: String::new(),
            mkfs_options: String::new(),
        }],
        workloads: vec![KeptWorkload::new("w", &Default::default(), Some(serde_json::from_value(check).unwrap()))],
        tools: Default::default(),
    };
    store.keep("0a1b2c3d", &kept).unwrap();
    store.keep_execution(0, 0, (&storage::Image::zeroed(1 << 20), &storage::BlockLog::default()), &[]).unwrap();
}

/// A results directory is data.
#[test]
fn no_command_of_a_results_directory_is_run_unasked() {
    let place = Place::new();
    results_from_elsewhere(&place);
    let names = || {
        let mut names: Vec<_> = fs::read_dir(place.path("foreign")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::remove_file(place.path("foreign/lock")).unwrap();
    let before = names();
    let refused = place.run(&["run", "--resume", "foreign"]);
    assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{}", refused.stderr);
    let shown = format!("\n  CANARY={} sh -c 'touch \"$CANARY\"'\n", place.path("executed").display());
    assert!(refused.stderr.contains(&shown) && refused.stderr.contains("--run-check"), "{}", refused.stderr);
    assert_eq!(names(), before, "refused before anything was written");
    // A workload of that name with another check is not the same.
    place.workload("workloads/w", "command = ['true']\ncheck = ['true']");
    assert_eq!(place.run(&["run", "--resume", "foreign"]).status, 2);
    for token in ["0a1b2c3d.c0.s0.e9", "0a1b2c3d.c0.s99.e0", "0a1b2c3d.c0.s0.e0.l7"] {
        for more in [&[][..], &["--run-check"]] {
            let ended = place.run(&[&["reproduce", "--results", "foreign", token], more].concat());
            assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
        }
    }
    assert!(!place.path("executed").exists());
}

#[test]
fn results_are_not_read_through_links_and_fifos() {
    let place = Place::new();
    place.write("victim", "mine");
    for kind in ["../victim", "/dev/zero", "fifo"] {
        let _ = fs::remove_dir_all(place.path("foreign"));
        results_from_elsewhere(&place);
        let swap = |name: &str| {
            let path = place.path("foreign").join(name);
            let _ = fs::remove_file(&path);
            match kind {
                "fifo" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                target => std::os::unix::fs::symlink(target, path).unwrap(),
            }
        };
        let refuses = |arguments: &[&str]| {
            let ended = place.run(arguments);
            assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{kind} {arguments:?}: {}", ended.stderr);
        };
        let replay = ["reproduce", "--results", "foreign", "0a1b2c3d.c0.s0.e0"];
        swap("report.json");
        refuses(&["diff", "foreign", "foreign"]);
        for name in ["cell-0-schedule-0.image", "cell-0-schedule-0.log", "workload-0.trace", "run.json", "run-id"] {
            swap(name);
            refuses(&replay);
        }
        refuses(&["run", "--resume", "foreign", "--run-check"]);
        refuses(&["show", "foreign/workload-0.trace"]);
    }
    assert_eq!(fs::read_to_string(place.path("victim")).unwrap(), "mine");
    assert!(!place.path("executed").exists());
}
