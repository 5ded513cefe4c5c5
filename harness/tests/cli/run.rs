//! `harness run` from a command to its report: odd files and disks, budgets, output that nobody reads.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::Need;

use crate::support::{Ended, Place, assert_tells, on_uml, shown, uml};

/// Results cannot be written, whichever disk is full; an older trace stays.
#[test]
fn full_disks() {
    let place = Place::new();
    if !uml() {
        return;
    }
    // Mounts of a namespace go with it, and in one of their own ordinary users may mount.
    let own = ["-r", "-m", "sh", "-c", r#"mount -t tmpfs -o size=64k none "$0" && exec "$@""#];
    let on_full_disk = |full: &Path, command: &Command| {
        let mut inside = Command::new("unshare");
        inside.args(own).arg(full).arg(command.get_program()).args(command.get_args());
        inside.current_dir(command.get_current_dir().unwrap()).envs(command.get_envs().map(|(k, v)| (k, v.unwrap())));
        inside.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ended::of(inside.spawn().unwrap())
    };
    let full = place.path("full");
    fs::create_dir(&full).unwrap();
    if on_full_disk(&full, Command::new("true").current_dir("/")).status != 0 {
        return testkit::skip(Need::Namespaces, &"this machine lets nobody mount a disk that could be full");
    }
    let mut text = String::new();
    let mut tell = |what: &str, ended: Ended| {
        let last = ended.stderr.lines().filter(|line| !line.contains("states")).collect::<Vec<_>>().join("\n");
        writeln!(text, "{what}: {}\n{last}\n", ended.status).unwrap();
        ended.stdout
    };
    // The image that a token needs does not fit, the report does.
    let violating = on_uml(&["--out", "full/results", "--", "sh", "-c", "echo x > f"]);
    let printed = tell("results", on_full_disk(&full, &place.command(&violating)));
    assert!(printed.contains("f is empty"), "{printed}");
    let mut command = place.command(&on_uml(&["--", "sh", "-c", "echo x > f"]));
    tell("temporary files", on_full_disk(&full, command.env("TMPDIR", &full)));
    let twice = r#"cd full; "$0" record -o t -- true; "$0" record -o t -- sh -c "head -c 40000 /dev/zero > f";
        echo $?; ls; exec "$0" show t"#;
    let mut command = Command::new("sh");
    command.args(["-c", twice, env!("CARGO_BIN_EXE_harness")]).current_dir(place.here.path());
    let shown = tell("a trace", on_full_disk(&full, &command));
    assert_eq!(shown, "3\nf\nt\nexit 0\n");
    assert_tells!(place, text);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// A mount option that one of the kernels does not know is told before anything is explored.
#[test]
fn unknown_mount_options() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let filesystems = ["--fs", "ext4", "--fs", "xfs:bogus=1"];
    let arguments = [&["run", "--vm=uml", "--jobs=1"], &filesystems[..], &["--", "sh", "-c", "echo x > f"]].concat();
    let ended = place.run(&arguments);
    assert_tells!(place, format!("{}{}-> {}", ended.stdout, ended.stderr, ended.status));
    let report = place.report();
    let cells = report["cells"].as_array().unwrap().iter();
    assert_eq!(cells.map(|cell| cell["verdict"].as_str().unwrap()).collect::<Vec<_>>(), ["incomplete", "invalid"]);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// A bare command in a copy of a directory with all kinds of names and files; the budget runs out; `--format json`; tokens.
#[test]
fn bare_command_and_its_tokens() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let bytes = |name: &[u8]| place.here.path().join("old state").join(std::ffi::OsStr::from_bytes(name));
    place.write("old state/a/b/c/d/e/f/g/h/deep", "deep");
    for name in [&b"not \xff utf-8"[..], b"new\nline", b"-dash", b"'quote\"", b"\x1b[31m"] {
        fs::write(bytes(name), "old").unwrap();
    }
    fs::write(bytes(b"empty"), "").unwrap();
    fs::hard_link(bytes(b"-dash"), bytes(b"hard")).unwrap();
    std::os::unix::fs::symlink("-dash", bytes(b"soft")).unwrap();
    std::os::unix::fs::symlink("nowhere", bytes(b"dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(bytes(b"fifo")).status().unwrap().success());
    (0..1000).for_each(|index| fs::write(bytes(format!("many{index}").as_bytes()), "old").unwrap());
    // Saved rightly, so that only what is not durable shows.
    let script = r#"for name in "$(printf 'not \377 utf-8')" "$(printf 'new\nline')"
        do printf new > new; sync new; mv new "$name"; done
        mv hard a; rm many7; echo x > "$0""#;
    let outside = place.path("outside").display().to_string();
    let budget = ["--budget", "10mounts", "--format", "json", "--exhaustive", "--from", "old state"];
    let ended = place.run(&on_uml(&[&budget[..], &["--", "sh", "-c", script, &outside]].concat()));
    assert_eq!(ended.status, 5, "{}", ended.stderr);
    assert_eq!(ended.stdout, fs::read_to_string(place.results().join("report.json")).unwrap());
    let cell = &place.report()["cells"][0];
    assert_eq!((&cell["verdict"], &cell["crash_states"]["mounts"]), (&"incomplete".into(), &10.into()));
    let note = serde_json::json!({ "note": "written-outside", "path": outside });
    assert!(cell["notes"].as_array().unwrap().contains(&note), "{cell}");

    let token = cell["not_durable"][0]["token"].as_str().unwrap().to_owned();
    let (run, _) = token.split_once('.').unwrap();
    let wrong = ["", "x", "c0.s0.e0", "00000000.c0.s0.e0", "../../tmp.c0.s0.e0"].map(str::to_owned);
    let wrong = wrong.into_iter().chain(
        ["", ".c0.s0", ".c9.s0.e0", ".c0.s99.e0", ".c0.s1.e0", ".c0.s0.e99", ".c0.s0.e0.l999", ".c0.s0.e0.l3-1"]
            .map(|rest| format!("{run}{rest}")),
    );
    let mut text = String::new();
    for token in wrong {
        let ended = place.run(&["reproduce", "--", &token]);
        writeln!(text, "{}{}-> {}", ended.stdout, ended.stderr, ended.status).unwrap();
    }
    let ended = place.run(&["reproduce", "--results", "nowhere", &token]);
    writeln!(text, "{}-> {}", ended.stderr, ended.status).unwrap();
    assert_tells!(place, text.replace(run, "[HASH]"));
    let ended = place.run(&["reproduce", "--vm=uml", "--image", "disk", &token]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, "the disk is in disk\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("not durable: "), "{}", ended.stdout);
    let again = place.run(&["reproduce", "--vm=uml", "--image", "disk", &token]);
    assert_eq!((again.status, again.stdout.as_str()), (2, ""), "{}", again.stderr);
    assert!(again.stderr.ends_with("(--force overwrites it)\n"), "{}", again.stderr);
    // Names give the terminal no orders, and are no lines of their own.
    assert!(!ended.stdout.contains('\x1b'), "{}", ended.stdout);
    assert!(ended.stdout.contains("\n  new ⏎ line: "), "{}", ended.stdout);
    // A kernel that is none is given to the machine, and not passed over.
    place.write("none/boot/vmlinuz-0", "");
    fs::create_dir_all(place.path("none/lib/modules/0")).unwrap();
    let ended = place.run(&["reproduce", "--vm=qemu", "--kernel", "none/boot/vmlinuz-0", &token]);
    assert_eq!((ended.status, ended.stdout.as_str()), (3, ""), "{}", ended.stderr);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Files of 20 MiB, old and new, in a workload whose directory has a space in its name.
#[test]
fn large_files() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let script = "head -c 20971520 /dev/zero | tr '\\\\0' '\\\\$1' > large";
    let [old, new] = ["141", "142"].map(|byte| format!("['sh', '-c', \"{}\"]", script.replace("$1", byte)));
    place.workload("in here/large file", &format!("setup = {old}\ncommand = {new}\n"));
    let ended = place.run(&on_uml(&["--budget=2mounts", "--format=json", "in here/large file"]));
    // It is written in place, and the first commit shows it.
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    let cell = &place.report()["cells"][0];
    assert_eq!((&cell["workload"], &cell["crash_states"]["mounts"]), (&"large file".into(), &2.into()), "{cell}");
    assert_eq!(place.left(), Vec::<String>::new());
}

/// The reader of the output goes away: no error, and no panic. Two runs in one directory get a directory each.
#[test]
fn closed_output_and_two_at_once() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let arguments = on_uml(&["--budget=1mount", "--", "sh", "-c", "echo x > f"]);
    let deaf = |arguments: &[&str]| {
        let mut child = place.command(arguments).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        child
    };
    let (mut one, mut other) = (deaf(&arguments), deaf(&arguments));
    assert_eq!((shown(one.wait().unwrap()), shown(other.wait().unwrap())), (0, 0));
    let runs = fs::read_dir(place.path("results/runs")).unwrap().map(|run| run.unwrap().path());
    let runs: Vec<_> = runs.map(|run| run.join("report.json")).collect();
    assert_eq!(runs.len(), 2);
    assert_eq!(fs::read(&runs[0]).unwrap(), fs::read(&runs[1]).unwrap());
    assert!(place.path("results/latest/report.json").exists());
    let trace = place.path("results/latest/workload-0.trace").display().to_string();
    assert_eq!(shown(deaf(&["show", &trace]).wait().unwrap()), 0);
    assert_eq!(shown(deaf(&["run", "nowhere"]).wait().unwrap()), 2);
    assert_eq!(shown(deaf(&["record", "-o", "trace", "--", "sh", "-c", "echo x"]).wait().unwrap()), 0);
    let full = place.command(&["show", &trace]).stdout(fs::File::create("/dev/full").unwrap()).spawn().unwrap();
    let ended = Ended::of(full);
    assert_eq!((ended.status, ended.stderr.contains("No space left")), (3, true), "{}", ended.stderr);
}

/// More schedules than could ever be replayed: some are chosen, it is said how many there are, and nothing is claimed.
#[test]
fn countless_schedules() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let script = "for f in 1 2 3 4 5 6 7 8 9; do echo > $f; done";
    let arguments = ["--schedules=4000000000", "--budget=5mounts", "--format=json", "--", "sh", "-c", script];
    let ended = place.run(&[&["run", "--vm", "uml", "--fs", "ext4"], &arguments[..]].concat());
    let cell = &place.report()["cells"][0];
    assert!(ended.status <= 1, "{}", ended.stderr);
    assert_eq!(cell["crash_states"]["mounts"], 5, "{cell}");
    assert!(cell["schedules"]["total"].as_u64().unwrap() > 1_000_000 && cell["exhaustive"] == false, "{cell}");
    let chosen = |note: &serde_json::Value| note["note"] == "schedules-chosen" && note["chosen"] == 20_000;
    assert!(cell["notes"].as_array().unwrap().iter().any(chosen), "{cell}");
}
