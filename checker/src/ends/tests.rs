use program::Handle;

use super::*;
use crate::testing::{CREATE, TRUNCATE, exit, fsync, open, print, rename, trace, write};

const WRITE: u32 = 1;

/// After which ops a version of `f` ends that held `old` before; `named` are the acks that invariants name.
fn ends_of(named: &[usize], calls: Vec<Call>) -> Vec<usize> {
    let paths = BTreeMap::from([("f".into(), named.iter().copied().collect())]);
    ends(&trace(&[("f", b"old")], calls), &paths).remove(&"f".into()).unwrap_or_default()
}

fn close(handle: u32) -> Call {
    Call::Close { handle: Handle(handle) }
}

#[test]
fn each_kind_of_sync_ends_a_version_that_was_changed_since() {
    let handle = Handle(1);
    let syncs = [
        Call::Fsync { handle },
        Call::Fdatasync { handle },
        Call::SyncFs { handle },
        Call::SyncAll,
        Call::Write { handle, offset: 0, data: std::sync::Arc::new(b"n".to_vec()), flags: 2 },
    ];
    for sync in syncs {
        let calls =
            vec![open(1, "f", WRITE), sync.clone(), write(1, 0, b"x"), sync.clone(), fsync(1), write(1, 1, b"y")];
        let first = usize::from(matches!(sync, Call::Write { .. }));
        assert_eq!(ends_of(&[], calls)[first..], [3], "{sync:?}");
    }
    // O_DSYNC.
    assert_eq!(ends_of(&[], vec![open(1, "f", 0o10001), write(1, 0, b"x"), write(1, 1, b"y")]), [1, 2]);
    let range = Call::SyncRange { handle, offset: 0, length: 0, flags: 7 };
    assert_eq!(ends_of(&[], vec![open(1, "f", WRITE), write(1, 0, b"x"), range]), [0; 0]);
    let other = vec![open(1, "f", WRITE), open(2, "g", CREATE), write(1, 0, b"x"), fsync(2)];
    assert_eq!(ends_of(&[], other), [0; 0], "another file");
}

#[test]
fn an_ack_ends_a_version_that_is_not_being_written() {
    let calls = vec![open(1, "f", WRITE), write(1, 0, b"x"), print("50 %"), write(1, 1, b"y"), close(1), print("done")];
    assert_eq!(ends_of(&[], calls.clone()), [5]);
    assert_eq!(ends_of(&[2], calls), [2, 5], "named");
    assert_eq!(ends_of(&[], vec![open(1, "f", WRITE), write(1, 0, b"x"), exit(), close(1)]), [0; 0]);
    let renamed = vec![open(1, "tmp", CREATE), write(1, 0, b"new"), close(1), rename("tmp", "f"), print("saved")];
    assert_eq!(ends_of(&[], renamed), [4]);
    let failed = vec![open(1, "f", WRITE), write(1, 0, b"x"), fsync(1)];
    let mut failed = trace(&[("f", b"old")], failed);
    failed.ops[2].result = -5;
    assert_eq!(ends(&failed, &BTreeMap::from([("f".into(), BTreeSet::new())])), BTreeMap::new());
}

/// The emptied file of a save that goes wrong is no version, whatever is printed or synced while it lasts.
#[test]
fn what_was_emptied_is_no_version_unless_it_was_meant_to_be() {
    let save = |between: Vec<Call>| {
        [vec![open(1, "f", TRUNCATE)], between, vec![open(2, "f", WRITE), write(2, 0, b"new"), close(2)]].concat()
    };
    assert_eq!(ends_of(&[], save(vec![print("saving …")])), [0; 0]);
    assert_eq!(ends_of(&[1], save(vec![print("saving …")])), [0; 0], "named, but open");
    assert_eq!(ends_of(&[], save(vec![fsync(1)])), [0; 0]);
    assert_eq!(ends_of(&[], save(vec![close(1), print("saving …")])), [0; 0]);
    let zeros = vec![write(1, 0, &[0; 8]), fsync(1), write(1, 0, b"n")];
    assert_eq!(ends_of(&[], save(zeros)), [0; 0], "space that was reserved");
    assert_eq!(ends_of(&[2], save(vec![close(1), print("cleared")])), [2]);
    assert_eq!(ends_of(&[], save(vec![fsync(1), print("cleared")])), [2]);
    let made = vec![open(1, "f", CREATE), open(2, "g", CREATE), print("saving …"), write(1, 0, b"new"), fsync(1)];
    let paths = BTreeMap::from([("g".into(), BTreeSet::new()), ("f".into(), BTreeSet::new())]);
    let made = ends(&trace(&[], made), &paths);
    assert_eq!(made, BTreeMap::from([("f".into(), vec![4])]), "a new file holds nothing before it is written");
}
