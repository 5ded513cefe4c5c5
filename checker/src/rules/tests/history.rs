//! A file is as it was at some time, and so may be gone if it ever was.

use super::*;
use crate::testing::{TRUNCATE, open, trace, unlink, write};

#[test]
fn every_state_between_two_ops_is_history() {
    let calls = vec![open(1, "f", TRUNCATE), write(1, 0, b"new"), write(1, 3, b"er"), write(1, 0, b"N"), unlink("f")];
    let rules = rules(&trace(&[("f", b"old")], calls), &[Wanted::PrefixOfHistory { path: "f".into() }]);
    let right = [None, Some(&b"old"[..]), Some(b""), Some(b"new"), Some(b"newer"), Some(b"Newer")];
    for content in right {
        assert_eq!(found(&rules, content), "", "{content:?}");
    }
    let wrong = [&b"Old"[..], b"New", b"newe", b"\0\0\0", b"Newer!"].map(|content| found(&rules, Some(content)));
    insta::assert_snapshot!(wrong.join("\n"));
}

#[test]
fn absence_is_no_history_where_there_never_was_none() {
    let wanted = [Wanted::PrefixOfHistory { path: "f".into() }];
    let replaced = rules(&trace(&[("f", b"old")], save("new")), &wanted);
    assert_eq!(found(&replaced, None), "missing: no such file");
    let made = rules(&trace(&[], save("new")), &wanted);
    assert_eq!(found(&made, None), "");
}
