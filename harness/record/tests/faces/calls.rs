//! Each family of calls: what is written down of it.

use std::io::Write;

use testkit::Need;

use crate::common::{Run, face, run};

#[test]
fn writes_land_where_they_did() {
    insta::assert_snapshot!(face(&["writes"]).expect_complete().text());
}

#[test]
fn bytes_moved_by_the_kernel_are_recorded_too() {
    insta::assert_snapshot!(face(&["transfers"]).expect_complete().text());
}

#[test]
fn names_are_resolved() {
    insta::assert_snapshot!(face(&["names"]).expect_complete().text());
}

#[test]
fn metadata_changes_are_recorded() {
    let run = face(&["metadata"]);
    run.expect_complete();
    // SAFETY: getuid and getgid take nothing and cannot fail.
    let (user, group) = unsafe { (libc::getuid(), libc::getgid()) };
    let text = run.text().replace(&format!(", {user}, {group})"), ", USER, GROUP)");
    let text =
        text.replace(&format!(", {user}, -1)"), ", USER, -1)").replace(&format!(", -1, {group})"), ", -1, GROUP)");
    // Not on every file system.
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("xattr")).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let probe = run.directory.path().join("file");
    if xattr::set(probe, "user.probe", b"").is_ok() {
        insta::assert_snapshot!("xattrs", run.lines("xattr").join("\n"));
    } else {
        testkit::skip(Need::Xattrs, &"the file system of the directory for temporary files has no extended attributes");
    }
}

#[test]
fn syncs_are_recorded_and_directories_opened_for_them() {
    insta::assert_snapshot!(face(&["syncs"]).expect_complete().text());
}

#[test]
fn files_close_with_their_last_descriptor() {
    insta::assert_snapshot!(face(&["descriptors"]).expect_complete().text());
}

#[test]
fn nameless_files_are_linked_by_their_handle() {
    let run = face(&["tmpfile"]);
    run.expect_complete();
    // Not every kernel lets everyone link by AT_EMPTY_PATH.
    let lines: Vec<String> = run.text().lines().filter(|line| !line.contains("second")).map(str::to_owned).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn times_of_open_files_are_recorded() {
    let run = face(&["times"]);
    insta::assert_snapshot!(run.expect_complete().lines("utim").join("\n"));
}

/// What a face does with a directory outside, on the same file system.
fn beside(name: &str) -> Run {
    let outside = tempfile::tempdir().unwrap();
    let before = std::fs::File::create(outside.path().join("before")).unwrap();
    (&before).write_all(b"from before").unwrap();
    before.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(1)).unwrap();
    face(&[name, outside.path().to_str().unwrap()])
}

#[test]
fn what_arrives_is_as_durable_as_it_was_outside() {
    let run = beside("arrivals");
    run.expect_complete();
    insta::assert_snapshot!(program::listing(&run.trace).join("\n"));
}

#[test]
fn what_crosses_the_border_is_what_it_then_is() {
    let run = beside("crossings");
    run.expect_complete();
    insta::assert_snapshot!(program::listing(&run.trace).join("\n"));
    assert_eq!(run.after("back/one"), b"one and more, once more");
    assert!(!run.trace.after.0.contains_key(&"tree".into()));
}

/// On a file system that shares blocks it is a copy, from a file outside a write; on any other the program copies by itself.
#[test]
fn shared_blocks_are_copied() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("out"), vec![b'o'; 9000]).unwrap();
    let script = "head -c 5000 /dev/zero | tr '\\0' a > a; cp --reflink=auto a b; cp --reflink=auto \"$0/out\" c";
    let run = run(["sh", "-c", script, outside.path().to_str().unwrap()]);
    run.expect_complete();
    assert_eq!((run.after("b").len(), run.after("c").len()), (5000, 9000));
}
