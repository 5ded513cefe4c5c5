//! `--view`: no guest is needed to see what a kill leaves.

use crate::support::Place;

/// A program that recovers: what it shows before it has begun is nothing, and fails.
const SAVE: [&str; 6] = ["--", "sh", "-c", "echo one > f; echo two >> f; echo saved", "save", "f"];

fn killed(views: &[&str]) -> Vec<String> {
    let before = ["run", "--crash", "process", "--out", "out"].into_iter();
    let views = views.iter().flat_map(|view| ["--view", view]);
    before.chain(views).chain(SAVE).map(str::to_owned).collect()
}

#[test]
fn what_a_kill_leaves_is_shown_by_a_view() {
    let place = Place::new();
    let run = |views: &[&str]| {
        let _ = std::fs::remove_dir_all(place.path("out"));
        let arguments = killed(views);
        place.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let cat = run(&["cat f"]);
    assert_eq!(cat.status, 1, "{}", cat.stderr);
    assert!(cat.stdout.contains("the whole tree is killed-view (view cat f)"), "{}", cat.stdout);
    // What shows no more than whether it is there is right at any time.
    let there = run(&["ls"]);
    assert_eq!(there.status, 0, "{}{}", there.stdout, there.stderr);
    // Each of several counts.
    assert_eq!(run(&["ls", "cat f"]).status, 1);
    // One that cannot look anywhere is a mistake, and not a pass.
    let mistaken = run(&["no-such-program-anywhere"]);
    assert_eq!((mistaken.status, mistaken.stdout.as_str()), (4, ""));
    assert!(mistaken.stderr.contains("without any crash: exit 127"), "{}", mistaken.stderr);
    assert_eq!(place.left(), Vec::<String>::new());
}

#[test]
fn a_run_that_is_gone_on_with_has_its_views() {
    let place = Place::new();
    let refused = place.run(&["run", "--resume", "out", "--view", "ls"]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("cannot be used with"), "{}", refused.stderr);
}
