//! Build, start state and the command to record: with real programs.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::{Place, write};
use workload::{End, Error, ErrorKind, Limit, PATIENCE, Workload};

fn no_stop() -> AtomicBool {
    AtomicBool::new(false)
}

/// Loads, and makes the start state in the directory `run`.
fn prepare(place: &Place, manifest: &str) -> Result<PathBuf, Error> {
    let run = place.path().join("run");
    place.load(manifest)?.prepare(&run, &no_stop())?;
    Ok(run)
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("a file")
}

#[test]
fn setup_runs_in_the_run_directory_on_top_of_from() {
    let place = Place::new();
    write(place.path().join("example/old/settings.json"), "first");
    let run = prepare(&place, r#"
            command = ["true"]
            from = "old"
            setup = ["sh", "-c", 'pwd >where; cat settings.json >seen; printf "%s %s" "$1" "$PLACE" >given', "-", "{workload}"]
            env = { PLACE = "{run}/x" }
            "#,
        )
        .expect("it works");
    assert_eq!(read(run.join("where")).trim_end(), run.to_str().expect("text"));
    assert_eq!(read(run.join("seen")), "first");
    assert_eq!(read(run.join("given")), format!("{}/example {}/x", place.path().display(), run.display()));
    // The workload's own directory stays as it was.
    assert_eq!(fs::read_dir(place.path().join("example/old")).expect("a directory").count(), 1);
}

#[test]
fn build_runs_in_the_workloads_directory() {
    let place = Place::new();
    let workload = place.load("command = [\"true\"]\nbuild = [\"sh\", \"-c\", \"pwd >built\"]").expect("it is right");
    workload.build(&no_stop()).expect("it works");
    assert_eq!(read(place.path().join("example/built")).trim_end(), format!("{}/example", place.path().display()));
}

/// `{target}`, and what the build is given as `CARGO_TARGET_DIR`, are one place.
#[test]
fn target_is_where_the_build_builds() {
    let place = Place::new();
    write(place.path().join("Cargo.toml"), "[workspace]\n");
    write(place.path().join("example/Cargo.toml"), "[package]\n");
    let workload = place
        .load(
            r##"
            build = ["sh", "-c", 'mkdir -p "$CARGO_TARGET_DIR/release"; cd "$CARGO_TARGET_DIR/release"; echo "#!/bin/sh" >crash-harness-example; chmod +x crash-harness-example']
            command = ["{target}/crash-harness-example", "{target}"]
            "##,
        )
        .expect("it is right");
    workload.build(&no_stop()).expect("it works");
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    let target = target.map_or(place.path().join("target"), Into::into).join("release");
    let invocation = workload.command_in(&place.path()).expect("it was built");
    assert_eq!(invocation.program, target.join("crash-harness-example"));
    assert_eq!(Path::new(&invocation.argv[1]), target);
    fs::remove_file(invocation.program).expect("it was built");
}

#[test]
fn the_copy_is_alike() {
    let place = Place::new();
    let old = place.path().join("example/old");
    write(old.join("a/locked"), "content");
    write(old.join("script"), "#!/bin/sh\n");
    fs::hard_link(old.join("script"), old.join("z other name")).expect("a link");
    symlink("a/locked", old.join("link")).expect("a link");
    symlink("/nowhere/at/all", old.join("dangling")).expect("a link");
    nix::unistd::mkfifo(&old.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let mode = |path: &str, mode| {
        fs::set_permissions(old.join(path), fs::Permissions::from_mode(mode)).expect("the mode is set");
    };
    mode("script", 0o4751);
    mode("a/locked", 0o400);
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in ["script", "a"] {
        fs::File::open(old.join(path)).and_then(|file| file.set_modified(then)).expect("the time is set");
    }
    mode("a", 0o555);

    let run = prepare(&place, "command = [\"true\"]\nfrom = \"old\"").expect("it works");
    for path in ["", "a", "a/locked", "script", "z other name", "link", "dangling", "fifo"] {
        let facts = |root: &Path| {
            let metadata = fs::symlink_metadata(root.join(path)).expect(path);
            (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), metadata.nlink())
        };
        assert_eq!(facts(&old), facts(&run), "{path:?}");
    }
    assert_eq!(read(run.join("a/locked")), "content");
    assert_eq!(fs::read_link(run.join("link")).expect("a link"), Path::new("a/locked"));
    assert_eq!(fs::read_link(run.join("dangling")).expect("a link"), Path::new("/nowhere/at/all"));
    let inode = |path: &str| fs::metadata(run.join(path)).expect(path).ino();
    assert_eq!(inode("script"), inode("z other name"));
    assert_ne!(inode("script"), fs::metadata(old.join("script")).expect("it exists").ino());
    // Directories that nobody may write to cannot be removed by their owner.
    for directory in [&old, &run] {
        fs::set_permissions(directory.join("a"), fs::Permissions::from_mode(0o755)).expect("the mode is set");
    }
}

#[test]
fn failures_are_told_with_what_the_program_said() {
    let place = Place::new();
    write(place.path().join("example/here.py"), "");
    write(place.path().join("example/not_a_program"), "");
    write(place.path().join("example/binary"), "\u{1}\u{2}");
    fs::set_permissions(place.path().join("example/binary"), fs::Permissions::from_mode(0o755))
        .expect("the mode is set");
    let wrong = [
        (ErrorKind::Command, "exit status", r#"["sh", "-c", "echo working; echo 'it broke' >&2; exit 7"]"#),
        (ErrorKind::Command, "silent", r#"["false"]"#),
        (ErrorKind::Command, "signal", r#"["sh", "-c", "kill -SEGV $$"]"#),
        (ErrorKind::Command, "much output", r#"["sh", "-c", "seq 100000; exit 1"]"#),
        (ErrorKind::Command, "terminal control", r#"["sh", "-c", 'printf "\033[31mred\n"; exit 1']"#),
        (
            ErrorKind::Command,
            "a file of the workload, named as if it were there",
            r#"["sh", "-c", 'cat "$1" 2>/dev/null', "-", "here.py"]"#,
        ),
        (ErrorKind::Input, "no such program", r#"["crash-harness-no-such-program"]"#),
        (ErrorKind::Input, "no such path", r#"["{workload}/none"]"#),
        (ErrorKind::Input, "relative path", r#"["./not_a_program"]"#),
        (ErrorKind::Input, "not executable", r#"["{workload}/not_a_program"]"#),
        (ErrorKind::Input, "not a file", r#"["/etc"]"#),
        (ErrorKind::Input, "not a program", r#"["{workload}/binary"]"#),
    ];
    let told = wrong.map(|(kind, what, setup)| {
        fs::remove_dir_all(place.path().join("run")).ok();
        let error = prepare(&place, &format!("command = [\"true\"]\nsetup = {setup}")).expect_err(what);
        assert_eq!(error.kind(), kind, "{what}");
        format!("--- {what}\n{}\n", place.text(error))
    });
    insta::assert_snapshot!(told.concat());

    let workload = place
        .load("command = [\"true\"]\nbuild = [\"sh\", \"-c\", \"echo no compiler; exit 2\"]")
        .expect("it is right");
    let error = workload.build(&no_stop()).expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Command);
    insta::assert_snapshot!(place.text(error));
}

/// The program is killed, its children with it, and what it had printed is told.
#[test]
fn a_setup_that_hangs_is_killed_with_its_children() {
    let place = Place::new();
    let manifest = r#"
        command = ["true"]
        setup = ["sh", "-c", "sleep 1000 & echo $! >child; echo waiting; wait"]
        time-limit = 1
    "#;
    let error = prepare(&place, manifest).expect_err("it hangs");
    assert_eq!(error.kind(), ErrorKind::Command);
    insta::assert_snapshot!(place.text(error));
    assert_gone(&place);
}

/// A setup that ends and leaves a process behind, which holds its output open, neither keeps us waiting nor goes on.
#[test]
fn what_a_setup_leaves_behind_is_killed() {
    let place = Place::new();
    prepare(&place, "command = [\"true\"]\nsetup = [\"sh\", \"-c\", \"sleep 1000 & echo $! >child\"]")
        .expect("it works");
    assert_gone(&place);
}

#[test]
fn a_caller_can_stop_a_setup() {
    let place = Place::new();
    let workload = place
        .load("command = [\"true\"]\nsetup = [\"sh\", \"-c\", \"sleep 1000 & echo $! >child.new; mv child.new child; wait\"]")
        .expect("it is right");
    let stop = Arc::new(AtomicBool::new(false));
    let child = place.path().join("run/child");
    let stopper = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !child.exists() {
                thread::sleep(Duration::from_millis(10));
            }
            stop.store(true, Ordering::Relaxed);
        }
    });
    let error = workload.prepare(&place.path().join("run"), &stop).expect_err("it was stopped");
    stopper.join().expect("it ended");
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(error.to_string(), "interrupted during the setup of example");
    assert_gone(&place);
}

/// Waits until the process whose number is in `run/child` is dead: killed, though perhaps not yet collected by init.
fn assert_gone(place: &Place) {
    let number = read(place.path().join("run/child"));
    let status = format!("/proc/{}/status", number.trim());
    let alive = || fs::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ"));
    for _ in 0..500 {
        if !alive() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("process {number} is still alive");
}

#[test]
fn bad_run_directories_are_refused() {
    let place = Place::new();
    let old = place.path().join("old");
    write(old.join("file"), "");
    write(place.path().join("other/file"), "");
    let workload = Workload::bare(vec!["true".into()], Some(&old)).expect("it is right");
    let errors: [Error; 3] = [
        workload.prepare(&place.path().join("other"), &no_stop()).expect_err("not empty"),
        workload.prepare(&old.join("runs/1"), &no_stop()).expect_err("inside"),
        workload.prepare(&place.path().join("other/file"), &no_stop()).expect_err("a file"),
    ];
    insta::assert_snapshot!(errors.map(|error| place.text(error)).join("\n"));
    assert!(!old.join("runs").exists());
}

#[test]
fn invocations_print_as_one_could_type_them() {
    let words = ["sh", "-c", "echo \"it's\" $HOME", "", "a=b", "ü"].map(str::to_owned).to_vec();
    let workload = Workload::bare(words, None).expect("it is right");
    let invocation = workload.command_in(Path::new("/")).expect("sh is in PATH");
    assert_eq!(invocation.to_string(), r#"sh -c 'echo "it'\''s" $HOME' '' a=b ü"#);
}

/// What a program waits while others have the processor is not its own time. A program that is stopped waits like one that
/// is given no processor, whatever else the host does.
#[test]
fn a_program_is_not_blamed_for_a_host_that_lets_it_wait() {
    let place = Place::new();
    let ends = |script: &str, limit: Limit| {
        let workload = Workload::bare(["sh", "-c", script].map(String::from).to_vec(), None).expect("it is right");
        let invocation = workload.command_in(&place.path()).expect("there is a shell");
        invocation.run(Some(limit), &no_stop()).expect("it is started").0
    };
    let second = Duration::from_secs(1);
    let waits = "(sleep 3; kill -CONT $$) & kill -STOP $$; echo done";
    assert_eq!(ends(waits, Limit::Clock(second)), End::TimedOut);
    assert!(matches!(ends(waits, Limit::Own(second)), End::Exited(status) if status.success()));
    // Its own are what it works, and what it sleeps.
    for works in ["while :; do :; done", "sleep 1000", "timeout 1000 sh -c 'echo $$ > pid; while :; do :; done'"] {
        assert_eq!(ends(works, Limit::Own(second)), End::TimedOut, "{works}");
    }
    // timeout(1) leads a process group of its own. What runs in it ends all the same.
    let left = fs::read_to_string(place.path().join("pid")).expect("it has begun");
    let gone = || fs::read_to_string(format!("/proc/{}/stat", left.trim())).map_or(true, |stat| stat.contains(") Z "));
    let begun = Instant::now();
    while !gone() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it goes on");
        thread::sleep(Duration::from_millis(10));
    }
    let short = Duration::from_millis(20);
    let starved = ends("kill -STOP $$", Limit::Own(short));
    assert!(matches!(starved, End::Starved(passed) if passed >= short * PATIENCE), "{starved:?}");
}
