use program::{Call, Handle, Kind, Node, Op, Tree};

use super::*;

fn subject(limits: Vec<Limit>, wanted: &[Wanted]) -> Result<Subject, SubjectError> {
    let node = Node {
        kind: Kind::File(Arc::new(b"new".to_vec())),
        mode: 0o644,
        uid: 0,
        gid: 0,
        inode: 2,
        xattrs: Default::default(),
    };
    let mut after = Tree::default();
    after.0.insert("f".into(), node);
    let close = Op { call: Call::Close { handle: Handle(0) }, syscall: "close".into(), result: 0, thread: 0 };
    let (before, holes) = (Tree::default(), Default::default());
    let trace = Trace { before, holes, ops: vec![close], after, limits, ..Trace::default() };
    Subject::of("w".into(), wanted.to_vec(), trace, Bounds::default())
}

/// A call can allocate what no disk has, and a trace can say that it did: mkfs filled the host's disk.
#[test]
fn no_disk_is_made_for_more_than_there_is_room_for() {
    let allocates = |length| {
        let call = Call::Allocate { handle: Handle(0), mode: 1, offset: 0, length };
        let ops = vec![Op { call, syscall: "fallocate".into(), result: 0, thread: 0 }];
        let limits = vec![Limit { call: "mmap".into(), detail: "f".into(), count: 1 }];
        Subject::of("w".into(), vec![], Trace { ops, limits, ..Trace::default() }, Bounds::default())
    };
    assert!(allocates(1 << 30).is_ok());
    for length in [(2 << 30) + 1, u64::MAX] {
        let error = allocates(length).err().unwrap().to_string();
        assert!(error.ends_with("MiB, and no disk is made for more than 2048 MiB"), "{error}");
    }
}

/// They come last, so that a schedule has the same number on all file systems of a run.
#[test]
fn fast_commits_are_scheduled_where_there_are_such() {
    let with = |fast_commits| {
        // O_WRONLY | O_CREAT: rules want something to change.
        let call = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
        let ops = vec![Op { call, syscall: "open".into(), result: 0, thread: 0 }];
        let bounds = Bounds { injections: 1, fast_commits, ..Bounds::default() };
        Subject::of("w".into(), vec![], Trace { ops, ..Trace::default() }, bounds).unwrap()
    };
    let (plain, both) = (with(false), with(true));
    let count = plain.schedules.len();
    let on = |subject: &Subject, text: &str| subject.scheduled(&text.parse().unwrap());
    let once = Scheduled { chosen: count, of: count as u64 };
    assert_eq!([on(&plain, "ext4"), on(&both, "ext4"), on(&both, "xfs")], [once; 3]);
    let twice = Scheduled { chosen: 2 * count, of: 2 * count as u64 };
    assert_eq!(on(&both, "ext4;mkfs=-O fast_commit"), twice);
    assert_eq!(both.schedules[..count], plain.schedules);
    assert!(both.schedules[count..].iter().all(|schedule| schedule.conditions.fast_commits));
}

/// "Changed no file" is false where the change is what the recorder could not follow.
#[test]
fn what_was_not_followed_is_the_reason() {
    let limit = || vec![Limit { call: "mmap".into(), detail: "shared mapping of f".into(), count: 1 }];
    let known = subject(limit(), &[]).unwrap();
    assert!(!known.is_explored(false) && known.is_explored(true));
    assert_eq!(known.unmodelled_calls(), limit());
    let atomic = |path: &str| [Wanted::AtomicReplace { path: path.into() }];
    assert!(subject(limit(), &atomic("f")).is_ok());
    let error = |made: Result<Subject, SubjectError>| made.err().unwrap().to_string();
    assert!(error(subject(limit(), &atomic("g"))).contains("names g, which never exists"));
    assert!(error(subject(vec![], &[])).contains("the command changed no file"));
}
