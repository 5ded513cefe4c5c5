use program::{Handle, Node, Op};

use super::*;

fn op(call: Call) -> Op {
    Op { call, syscall: String::new(), result: 0, thread: 0 }
}

/// As mkstemp(3) opens it.
fn open(path: &str) -> Op {
    let flags = (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL) as u32;
    op(Call::Open { handle: Handle(0), path: path.into(), flags, mode: 0o600 })
}

fn write(handle: u32, data: &[u8]) -> Op {
    op(Call::Write { handle: Handle(handle), offset: 0, data: data.to_vec().into(), flags: 0 })
}

fn trace_of(ops: Vec<Op>, after: &[&str]) -> Trace {
    let node = Node { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0, inode: 0, xattrs: BTreeMap::new() };
    let after = Tree(after.iter().map(|path| (RelPath::from(*path), node.clone())).collect());
    Trace {
        command: vec![],
        before: Tree::default(),
        holes: BTreeMap::new(),
        ops,
        after,
        limits: vec![],
        outside: vec![],
        refused: vec![],
        explored_from: None,
    }
}

fn numbered_listing(ops: Vec<Op>, after: &[&str]) -> String {
    let mut trace = trace_of(ops, after);
    number(&mut trace);
    program::listing(&trace).join("\n")
}

#[test]
fn names_of_generators_are_numbered_wherever_they_stand() {
    let rename = Call::Rename { from: "d/.tmpAb3xYz".into(), to: "d/config".into(), flags: 0 };
    let ops = vec![
        open("d/.tmpAb3xYz"),
        op(rename),
        op(Call::Mkdir { path: "state.qW3rTy".into(), mode: 0o700 }),
        open("state.qW3rTy/tmpk3_x9abc.json"),
        op(Call::Link { from: Target::NoFollow("state.qW3rTy/tmpk3_x9abc.json".into()), to: "kept".into() }),
        op(Call::Truncate { target: Target::Path("state.qW3rTy/tmpk3_x9abc.json".into()), length: 1 }),
        op(Call::Unlink { path: "state.qW3rTy/tmpk3_x9abc.json".into() }),
        op(Call::Rmdir { path: "state.qW3rTy".into() }),
        open("tmp.q3CdEf12Zx"),
    ];
    insta::assert_snapshot!(numbered_listing(ops, &["d", "d/config", "kept"]), @r#"
    ("d/.tmp000001", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    ("d/.tmp000001", "d/config") = 0
    ("state.000002", 0700) = 0
    ("state.000002/tmp00000003.json", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    ("state.000002/tmp00000003.json" (not followed), "kept") = 0
    ("state.000002/tmp00000003.json", 1) = 0
    ("state.000002/tmp00000003.json") = 0
    ("state.000002") = 0
    ("tmp.0000000004", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    "#);
}

#[test]
fn names_that_someone_may_know_stay() {
    let mode = |op: Op, new: u32| match op.call {
        Call::Open { handle, path, flags, .. } => self::op(Call::Open { handle, path, flags, mode: new }),
        call => self::op(call),
    };
    let same = |ops: Vec<Op>, after: &[&str]| {
        let (mut trace, before) = (trace_of(ops.clone(), after), trace_of(ops, after));
        number(&mut trace);
        assert_eq!(trace, before);
    };
    for name in ["settings.json.tmp", "config.backup", "a", "BACKUP", "tmpdir", "cache.123456"] {
        same(vec![open(name)], &[]);
    }
    for name in ["journal2", "undoLog", "undoLog2", "log.Undo12", "db.WAL001", "MyFile", "01page", "tmp.settings12"] {
        same(vec![open(name)], &[]);
    }
    // Digests: of a content, say.
    for name in ["da39a3ee5e6b4b0d3255bfef95601890afd80709", "550e8400-e29b-41d4-a716-446655440000", "x-1a2b3c4d"] {
        same(vec![open(name)], &[]);
    }
    same(vec![op(Call::Mkdir { path: "tmpsession1".into(), mode: 0o700 })], &[]);
    same(vec![open("config.qW3rTy")], &["config.qW3rTy"]);
    same(vec![mode(open("config.qW3rTy"), 0o644)], &[]);
    let flags = (libc::O_RDWR | libc::O_CREAT) as u32;
    same(vec![op(Call::Open { handle: Handle(0), path: ".tmpAb3xYz".into(), flags, mode: 0o600 })], &[]);
    let failed = Op { result: -17, ..open(".tmpAb3xYz") };
    same(vec![failed], &[]);
}

#[test]
fn names_right_behind_a_word_are_numbered_too() {
    let ops = vec![open("sedq3Wx7T"), op(Call::Mkdir { path: "tmpab1_9xyz".into(), mode: 0o700 })];
    insta::assert_snapshot!(numbered_listing(ops, &[]), @r#"
    ("sed000001", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    ("tmp00000002", 0700) = 0
    "#);
}

#[test]
fn names_of_go_and_git_are_numbered_too() {
    let git = |path: &str| {
        let flags = (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL) as u32;
        op(Call::Open { handle: Handle(0), path: path.into(), flags, mode: 0o444 })
    };
    let ops = vec![
        open("settings-3141592653.json"),
        open("draft987654321"),
        op(Call::Mkdir { path: "build2718281828".into(), mode: 0o700 }),
        git("objects/ab/tmp_obj_aBcDeF"),
        git("objects/pack/tmp_pack_qwerty"),
        // A date, a digest, a name of somebody's own, and numbers that are counted.
        open("report-20261201"),
        git("objects/ab/d2f3a4b5c6"),
        git("tmp_obj_of_mine"),
        open("segment-0000000042"),
    ];
    insta::assert_snapshot!(numbered_listing(ops, &[]), @r#"
    ("settings-0000000001.json", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    ("draft000000002", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    ("build0000000003", 0700) = 0
    ("objects/ab/tmp_obj_000004", O_RDWR|O_CREAT|O_EXCL, 0444) = h0
    ("objects/pack/tmp_pack_000005", O_RDWR|O_CREAT|O_EXCL, 0444) = h0
    ("report-20261201", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    ("objects/ab/d2f3a4b5c6", O_RDWR|O_CREAT|O_EXCL, 0444) = h0
    ("tmp_obj_of_mine", O_RDWR|O_CREAT|O_EXCL, 0444) = h0
    ("segment-0000000042", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    "#);
}

/// A program that reads such a name, or a check that does, looks for the file by it.
#[test]
fn names_that_are_told_somewhere_stay() {
    let name = "state.qW3rTy";
    let same = |change: &dyn Fn(&mut Trace)| {
        let mut trace = trace_of(vec![open(name)], &[]);
        change(&mut trace);
        let before = trace.clone();
        number(&mut trace);
        assert_eq!(trace, before);
    };
    let with = |ops: &[Op]| same(&|trace| trace.ops.extend_from_slice(ops));
    let ack = |data: &[u8]| op(Call::Ack { channel: program::Channel::Stdout, data: data.to_vec() });
    with(&[write(1, b"current: state.qW3rTy\n")]);
    with(&[write(1, b"the random part alone: qW3rTy")]);
    // In pieces.
    with(&[write(1, b"state.qW"), write(2, b"something else"), write(1, b"3"), write(1, b"rTy\n")]);
    with(&[ack(b"made state.qW3rTy\n")]);
    with(&[ack(b"made state.qW3"), ack(b"rTy\n")]);
    let target = || Target::Path("a".into());
    let xattr = |name: &[u8], value: &[u8]| {
        op(Call::SetXattr { target: target(), name: name.to_vec(), value: value.to_vec(), flags: 0 })
    };
    with(&[xattr(b"user.current", b"state.qW3rTy")]);
    with(&[xattr(b"user.qW3rTy", b"")]);
    with(&[op(Call::Symlink { path: "current".into(), target: b"state.qW3rTy".to_vec() })]);
    // Another name that is made of it.
    with(&[op(Call::Mkdir { path: "qW3rTy.lock".into(), mode: 0o755 })]);
    with(&[open("more.qW3rTy")]);
    same(&|trace| trace.command = vec!["save".into(), "--to=state.qW3rTy".into()]);
    same(&|trace| {
        let kind = Kind::File(b"next = state.qW3rTy".to_vec().into());
        let node = Node { kind, mode: 0o644, uid: 0, gid: 0, inode: 1, xattrs: BTreeMap::new() };
        trace.before.0.insert("settings".into(), node);
    });
    // Elsewhere there are other names.
    let ops = vec![open(name), write(0, b"state.qW3rTx qW3rT"), ack(b"y"), write(1, b"qW3"), write(2, b"rTy")];
    assert!(numbered_listing(ops, &[]).starts_with("(\"state.000001\""));
}

#[test]
fn a_number_that_is_taken_is_left_out() {
    let ops = vec![open(".tmp000001"), open(".tmpAb3xYz"), op(Call::Unlink { path: ".tmp000002".into() })];
    insta::assert_snapshot!(numbered_listing(ops, &[".tmp000001"]), @r#"
    (".tmp000001", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    (".tmp000003", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
    (".tmp000002") = 0
    "#);
}

#[test]
fn numbered_names_are_known_again() {
    let mut trace = trace_of(vec![open(".tmpAb3xYz"), open("config.backup"), open("x.qW3rTy")], &[]);
    number(&mut trace);
    assert_eq!(numbered(&trace), [".tmp000001", "x.000002"]);
    let again = trace.clone();
    number(&mut trace);
    assert_eq!(trace, again);
}

/// As a program does that names its temporary files by itself: `before`, what is drawn, `after`.
fn saved(name: &str) -> Vec<Op> {
    let flags = (libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC) as u32;
    vec![
        op(Call::Open { handle: Handle(0), path: name.into(), flags, mode: 0o644 }),
        op(Call::Rename { from: name.into(), to: "config.json".into(), flags: 0 }),
    ]
}

#[test]
fn names_that_are_made_of_the_one_they_replace_are_numbered() {
    let becomes = |name: &str| {
        let mut trace = trace_of(saved(name), &["config.json"]);
        number(&mut trace);
        let Call::Open { path, .. } = &trace.ops[0].call else { panic!("{:?}", trace.ops) };
        path.to_string()
    };
    for (name, numbered) in [
        ("config.json.48213.tmp", "config.json.00001.tmp"),
        ("config.json.2183474614", "config.json.0000000001"),
        (".config.json-1f09c2", ".config.json-000001"),
        ("48213-config.json", "00001-config.json"),
        ("config.1764537600.482136.json", "config.00000000000000001.json"),
        (
            "config.json.tmp-550e8400-e29b-41d4-a716-446655440000",
            "config.json.tmp-000000000000000000000000000000000001",
        ),
        ("config.json~RFQ3CdEf12.TMP", "config.json~0000000001.TMP"),
        // Written by somebody, counted, or too short to tell.
        ("config.json.tmp", "config.json.tmp"),
        ("config.json.000042", "config.json.000042"),
        ("config.json.backup2", "config.json.backup2"),
        ("config.json.42", "config.json.42"),
        ("other.48213.tmp", "other.48213.tmp"),
    ] {
        assert_eq!(becomes(name), numbered);
    }
    let mut told = trace_of(saved("config.json.48213.tmp"), &["config.json"]);
    told.ops.push(op(Call::Ack { channel: program::Channel::Stdout, data: b"pid 48213".to_vec() }));
    let before = told.clone();
    number(&mut told);
    assert_eq!(told, before);
    let mut trace = trace_of(saved("config.json.48213.tmp"), &["config.json"]);
    number(&mut trace);
    assert_eq!(numbered(&trace), ["config.json.00001.tmp"]);
}

proptest::proptest! {
    /// Two recordings of one program are one run; no two names become one, and none becomes longer.
    #[test]
    fn recordings_that_differ_in_drawn_parts_are_the_same(
        drawn in proptest::collection::vec(("[1-9][0-9]{4,9}", "[1-9][0-9]{4,9}"), 1..6),
        suffix in "(\\.tmp|~|)",
    ) {
        let recorded = |part: &dyn Fn(&(String, String)) -> String| {
            let names = drawn.iter().map(|it| format!("config.json.{}{suffix}", part(it)));
            let mut trace = trace_of(names.flat_map(|name| saved(&name)).collect(), &["config.json"]);
            let before = trace.clone();
            number(&mut trace);
            (before, trace)
        };
        let names = |trace: &Trace| -> Vec<RelPath> {
            let path = |op: &Op| if let Call::Open { path, .. } = &op.call { Some(path.clone()) } else { None };
            trace.ops.iter().filter_map(path).collect()
        };
        let (before, one) = recorded(&|(first, _)| first.clone());
        let (old, new) = (names(&before), names(&one));
        for (a, b) in (0..old.len()).flat_map(|a| (0..old.len()).map(move |b| (a, b))) {
            proptest::prop_assert_eq!(old[a] == old[b], new[a] == new[b]);
            proptest::prop_assert_eq!(old[a].name().len(), new[a].name().len());
        }
        // Drawn anew, as long as before, and as different.
        let other: Vec<String> = drawn.iter().map(|(first, second)| {
            second.chars().cycle().take(first.len()).collect()
        }).collect();
        let firsts: Vec<&String> = drawn.iter().map(|(first, _)| first).collect();
        let alike = (0..other.len()).all(|a| (0..other.len()).all(|b| (other[a] == other[b]) == (firsts[a] == firsts[b])));
        proptest::prop_assume!(alike);
        let (_, two) = recorded(&|it| other[firsts.iter().position(|first| **first == it.0).unwrap()].clone());
        proptest::prop_assert_eq!(one, two);
    }
}
