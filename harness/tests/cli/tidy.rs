//! Nothing of what is temporary is left behind, and nobody else reads it.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Ended, Place, long, sleeping, wait};

/// Modes that a program gives to its directories do not keep them.
#[test]
fn a_read_only_directory_is_not_left_behind() {
    let place = Place::new();
    for directory in [place.here.path(), place.temporary.path()] {
        fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    let harness = place.path("harness");
    fs::copy(env!("CARGO_BIN_EXE_harness"), &harness).unwrap();
    // Modes keep nobody out who is root.
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = Command::new("setpriv");
    command.args(nobody).arg(&harness).args(["run", "--crash=process", "--out", "out", "--", "sh", "-c"]);
    command.arg("mkdir d d/e; echo x > d/e/f; chmod 500 d/e d").current_dir(place.here.path());
    command.env("TMPDIR", place.temporary.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Without a home, what is kept between runs would be below TMPDIR.
    command.env("XDG_CACHE_HOME", place.path("cache"));
    if !nix::unistd::geteuid().is_root() {
        command = place.command(&["run", "--crash=process", "--", "sh", "-c", "mkdir d; echo x > d/f; chmod 500 d"]);
    }
    let ended = Ended::of(command.spawn().unwrap());
    assert!(ended.status <= 1, "{}", ended.stderr);
    assert_eq!(place.left(), Vec::<String>::new());
}

#[test]
fn scratch_directories_are_private_and_do_not_stay() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let long = long(6);
    let mut child =
        place.command(&["run", "--crash=process", "--", "sh", "-c", &format!("sleep {long}; true")]).spawn().unwrap();
    wait("the command to run", || sleeping(&long));
    let scratch = fs::read_dir(&place.temporary).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::metadata(&scratch).unwrap().permissions().mode() & 0o777, 0o700);
    let run = || place.run(&["run", "--crash=process", "--", "sh", "-c", "echo x > f"]);
    run();
    assert!(scratch.exists(), "it is in use");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(scratch.exists());
    wait("the command to be gone", || !sleeping(&long));
    run();
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Results stay out of the history of the project that they lie in, and old ones go when they are asked to; what is
/// somebody's own stays.
#[test]
fn results_do_not_litter_a_project() {
    let place = Place::new();
    for text in ["a", "b", "c"] {
        place.run(&["run", "--crash=process", "--", "sh", "-c", &format!("echo {text} > f")]);
    }
    assert_eq!(fs::read_to_string(place.path("results/.gitignore")).unwrap(), "*\n");
    place.write("results/runs/1700000000-mine", "mine");
    let runs = || fs::read_dir(place.path("results/runs")).unwrap().count();
    let tried = place.run(&["gc", "--keep=1", "--dry-run"]);
    assert_eq!((tried.status, runs()), (0, 4), "{}{}", tried.stdout, tried.stderr);
    assert_eq!(tried.stdout.matches("would remove results/runs/").count(), 2, "{}", tried.stdout);
    let removed = place.run(&["gc", "--keep=1"]);
    assert_eq!((removed.status, runs()), (0, 2), "{}{}", removed.stdout, removed.stderr);
    assert!(removed.stdout.ends_with("kept the newest 1 of 3 runs\n"), "{}", removed.stdout);
    assert!(place.path("results/latest/report.json").exists(), "the newest is kept");
    place.run(&["gc", "--keep=0"]);
    assert!(place.path("results/runs/1700000000-mine").exists() && !place.path("results/latest").is_symlink());
    let none = place.run(&["gc", "elsewhere"]);
    assert_eq!((none.status, none.stdout.as_str()), (0, "removed 0.0 KiB in all; kept the newest 0 of 0 runs\n"));
}
