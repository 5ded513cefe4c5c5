//! Commands that fail, hang or cannot be judged.

use std::fs;

use crate::support::{Place, assert_tells, long, on_uml, sleeping, uml, wait};

#[test]
fn commands_that_do_not_do() {
    let place = Place::new();
    let long = long(1);
    place.workload(
        "hangs",
        &format!("command = ['sh', '-c', 'echo waiting; sleep {long} & sleep {long}']\ntime-limit = 1\n"),
    );
    place.workload("build", "build = ['sh', '-c', 'echo no compiler; exit 3']\ncommand = ['true']\n");
    place.workload("setup", "setup = ['sh', '-c', 'echo no disk; exit 3']\ncommand = ['true']\n");
    place.write("script", "#!/bin/sh\n");
    assert_tells!(
        place,
        place.tell(&[
            &["run", "--", "sh", "-c", "echo begun; printf 'bad \\033[31mnews\\n' >&2; exit 7"],
            &["run", "--", "false"],
            &["run", "--", "sh", "-c", "kill -KILL $$"],
            &["run", "--", "sh", "-c", "exit 137"],
            &["run", "--", "no-such-program"],
            &["run", "--", "./script"],
            &["run", "--", "true"],
            &["run", "--time-limit", "1", "--", "sleep", &long],
            &["run", "--", "truncate", "-s", "2G", "large"],
            &["run", "--budget=1mount", "--", "sh", "-c", "head -c 90000000 /dev/urandom > large"],
            &["run", "hangs"],
            &["run", "build"],
            &["run", "setup"],
        ])
    );
    wait("the killed command's children to be gone", || !sleeping(&long));
    assert_eq!(place.left(), Vec::<String>::new());
}

/// When the data of its file became durable is not known: somebody wrote them elsewhere, synchronously.
const SYNCHRONOUS: &str = "setup = ['sh', '-c', 'echo old > data']\n\
                           command = ['sh', '-c', 't=$(mktemp {run}.XXXXXX) && echo new | dd of=$t oflag=sync && mv $t data']\n";

/// What is known after recording is said, and needs no guest; the command did change its file, and nobody says that it
/// did not.
#[test]
fn what_cannot_be_judged_is_not_explored() {
    let place = Place::new();
    place.workload("renamed", SYNCHRONOUS);
    for crash in ["power", "both"] {
        let ended = place.run(&["run", "--crash", crash, "renamed"]);
        let said = "O_SYNC or O_DSYNC outside the recorded directory, and came in";
        assert_eq!(ended.status, 70, "{}", ended.stderr);
        assert!(ended.stderr.contains("warning: renamed cannot be judged"), "{}", ended.stderr);
        assert!(ended.stderr.contains(said) && ended.stdout.contains(said), "{}{}", ended.stderr, ended.stdout);
        assert!(!(ended.stderr + &ended.stdout).contains("changed no file"));
        let report = place.report();
        for cell in report["cells"].as_array().unwrap() {
            let found = (&cell["verdict"], &cell["vm"], &cell["crash_states"]["mounts"]);
            assert_eq!(found, (&"invalid".into(), &"".into(), &0.into()), "{cell}");
        }
        assert_eq!(report["cells"].as_array().unwrap().len(), 3);
        fs::remove_dir_all(place.path("results")).unwrap();
    }
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Other workloads go on; and whoever asks for it sees what there is.
#[test]
fn what_cannot_be_judged_keeps_nothing_else_from_it() {
    if !uml() {
        return;
    }
    let place = Place::new();
    place.workload("renamed", SYNCHRONOUS);
    place.workload("plain", "command = ['sh', '-c', 'echo x > f']\n");
    let ended = place.run(&on_uml(&["--budget=1mount", "renamed", "plain"]));
    assert_eq!(ended.status, 70, "{}", ended.stderr);
    let mounts = |place: &Place| {
        let report = place.report();
        let cells = report["cells"].as_array().unwrap().clone();
        cells.iter().map(|cell| cell["crash_states"]["mounts"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(mounts(&place), [0, 1]);
    fs::remove_dir_all(place.path("results")).unwrap();
    let ended = place.run(&on_uml(&["--budget=1mount", "--explore-invalid", "renamed"]));
    assert_eq!((ended.status, mounts(&place)), (70, vec![1]), "{}", ended.stderr);
}
