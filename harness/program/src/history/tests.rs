use std::sync::Arc;

use super::*;
use crate::testing::{op, tree};
use crate::{Call, Handle, Tree};

fn trace(before: Tree, calls: Vec<Call>) -> Trace {
    let ops = calls.into_iter().map(op).collect();
    Trace { before, ops, ..Trace::default() }
}

fn open(handle: u32, path: &str, flags: u32) -> Call {
    Call::Open { handle: Handle(handle), path: path.into(), flags, mode: 0o644 }
}

fn write(handle: u32, offset: u64, data: &str) -> Call {
    Call::Write { handle: Handle(handle), offset, data: Arc::new(data.into()), flags: 0 }
}

fn rename(from: &str, to: &str) -> Call {
    Call::Rename { from: from.into(), to: to.into(), flags: 0 }
}

const CREATE: u32 = 0o101;
const TRUNCATE: u32 = 0o1101;

/// Each version as `from_op:content`, with the ops that completed it again.
fn versions(history: &History, path: &str) -> Vec<String> {
    let show = |version: &Version| {
        let state = match &version.state {
            State::Absent => "absent".to_owned(),
            State::File(content) => String::from_utf8_lossy(content).into_owned(),
            other => format!("{other:?}"),
        };
        let again: String = version.again.iter().map(|op| format!(" again {op}")).collect();
        version.from_op.map_or(format!("-:{state}"), |op| format!("{op}:{state}")) + &again
    };
    history.versions(&path.into()).iter().map(show).collect()
}

#[test]
fn two_saves_by_rename_are_three_versions_and_no_intermediate_write_is_one() {
    let save = |data: &str| {
        vec![
            open(1, "tmp", CREATE),
            write(1, 0, data),
            write(1, 2, "!"),
            Call::Close { handle: Handle(1) },
            rename("tmp", "f"),
        ]
    };
    let history = History::new(&trace(tree(&[("f", b"old")]), [save("v1"), save("v2")].concat()));
    assert_eq!(versions(&history, "f"), ["-:old", "4:v1!", "9:v2!"]);
    assert_eq!(versions(&history, "tmp"), ["-:absent", "2:v1!", "7:v2!", "9:absent"]);
    assert_eq!(history.changed(), ["f".into()]);
}

/// It is there from the first time on: a state that shows it before the second is not one from the past.
#[test]
fn a_version_that_is_written_again_is_as_old_as_it_was() {
    let calls = vec![open(1, "f", 0o2), write(1, 0, "two"), write(1, 1, "wo"), write(1, 0, "two")];
    let history = History::new(&trace(tree(&[("f", b"one"), ("g", b"g")]), calls));
    assert_eq!(versions(&history, "f"), ["-:one", "1:two"]);
    let same = History::new(&trace(tree(&[("f", b"one")]), vec![open(1, "f", 0o2), write(1, 0, "one")]));
    assert_eq!(versions(&same, "f"), ["-:one again 1"]);
    assert_eq!(same.changed(), ["f".into()], "a crash can still take it away");
}

#[test]
fn truncation_ends_a_version_only_if_there_was_something() {
    let calls = vec![
        open(1, "f", TRUNCATE),
        write(1, 0, "one"),
        open(2, "f", TRUNCATE),
        open(3, "f", TRUNCATE),
        write(3, 0, "two"),
    ];
    let history = History::new(&trace(tree(&[("f", b"old")]), calls.clone()));
    assert_eq!(versions(&history, "f"), ["-:old", "1:one", "4:two"]);
    let history = History::new(&trace(tree(&[]), calls));
    assert_eq!(versions(&history, "f"), ["-:absent", "1:one", "4:two"]);
}

#[test]
fn absence_counts_before_and_after_only() {
    let calls = vec![
        open(1, "tmp", CREATE),
        write(1, 0, "new"),
        Call::Unlink { path: "f".into() },
        rename("tmp", "f"),
        Call::Unlink { path: "g".into() },
    ];
    let history = History::new(&trace(tree(&[("f", b"old"), ("g", b"x")]), calls));
    assert_eq!(versions(&history, "f"), ["-:old", "3:new"]);
    assert_eq!(versions(&history, "g"), ["-:x", "4:absent"]);
    assert_eq!(history.changed(), ["f".into(), "g".into()]);
}

#[test]
fn every_name_of_a_hard_link_changes_and_writes_elsewhere_touch_nothing() {
    let link = Call::Link { from: crate::Target::Path("f".into()), to: "g".into() };
    let history =
        History::new(&trace(tree(&[("f", b"a"), ("h", b"h")]), vec![link, open(1, "f", 1), write(1, 1, "b")]));
    assert_eq!(versions(&history, "f"), ["-:a", "2:ab"]);
    assert_eq!(versions(&history, "g"), ["-:absent", "2:ab"]);
    assert_eq!(versions(&history, "h"), ["-:h"]);
    assert_eq!(history.changed(), ["f".into(), "g".into()]);
}

#[test]
fn a_renamed_directory_moves_every_name_below_it() {
    let history = History::new(&trace(tree(&[("d/f", b"x")]), vec![rename("d", "e")]));
    assert_eq!(versions(&history, "d/f"), ["-:x", "0:absent"]);
    assert_eq!(versions(&history, "e/f"), ["-:absent", "0:x"]);
    assert_eq!(history.changed(), ["d/f".into(), "e/f".into()]);
}

#[test]
fn exchange_ends_both_names() {
    let exchange = Call::Rename { from: "f".into(), to: "g".into(), flags: 2 };
    let history = History::new(&trace(tree(&[("f", b"a"), ("g", b"b")]), vec![exchange]));
    assert_eq!(versions(&history, "f"), ["-:a", "0:b"]);
    assert_eq!(versions(&history, "g"), ["-:b", "0:a"]);
}

#[test]
fn symbolic_links_have_versions_too() {
    let link = Call::Symlink { path: "tmp".into(), target: "v2".into() };
    let history = History::new(&trace(tree(&[("v2", b"")]), vec![link, rename("tmp", "current")]));
    assert_eq!(versions(&history, "current"), ["-:absent", "1:Symlink([118, 50])"]);
    assert_eq!(history.changed(), ["current".into()]);
}

#[test]
fn what_was_rewritten_with_the_same_content_counts_as_changed() {
    let history = History::new(&trace(tree(&[("f", b"a")]), vec![open(1, "f", TRUNCATE), write(1, 0, "a")]));
    assert_eq!(versions(&history, "f"), ["-:a again 1"]);
    assert_eq!(history.changed(), ["f".into()]);
}

#[test]
fn dirty_files_carry_the_name_of_the_moment() {
    let calls = vec![
        open(1, "tmp", CREATE),
        write(1, 0, "new"),
        rename("tmp", "f"),
        Call::Unlink { path: "f".into() },
        Call::Fsync { handle: Handle(1) },
    ];
    let history = History::new(&trace(tree(&[]), calls));
    let dirty: Vec<Vec<Target>> = (0..6).map(|op| history.dirty_files_after(op).to_vec()).collect();
    let named = |path: &str| vec![Target::NoFollow(path.into())];
    assert_eq!(dirty, [vec![], named("tmp"), named("f"), vec![Target::Handle(Handle(1))], vec![], vec![]]);
}

#[test]
fn a_failed_fsync_cleans_nothing() {
    let mut trace = trace(tree(&[]), vec![open(1, "f", CREATE), write(1, 0, "x"), Call::Fsync { handle: Handle(1) }]);
    trace.ops[2].result = -5;
    assert_eq!(History::new(&trace).dirty_files_after(2).len(), 1);
}
