//! Random names of temporary files become numbered ones, so that two recordings of one program are the same.
//!
//! Only names that nobody would know again: made by the recorded command as a well-known generator of random names
//! makes them, there neither before nor after the run, and told to nobody. What a generator drew is nothing that the
//! program could look for later unless it has written it down somewhere: then the name stays, or a check that reads it
//! there would look for a file that no crash state has.
//!
//! So it is with names of any other shape, if such a file replaces another whose name its own is made of. A new name is as long as
//! the old one, so that directories have the same layout; where names are sorted by a hash (ext4), it may have another place.

mod generators;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use generators::{beside, is_drawn, is_number, made};
use program::{Call, Kind, RelPath, Target, Trace, Tree};
use told::told;

/// Old name and new name, both of one path component.
type Renamed = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers the random names of temporary files in `trace`, in the order in which they were made: `.tmpAb3xYz` becomes
/// `.tmp000001`. Everywhere in the paths of the ops, and nowhere else: a name of which something else holds the random
/// part (what was written, printed, or there before) stays as it is.
pub(crate) fn number(trace: &mut Trace) {
    let kept: BTreeSet<Vec<u8>> = [&trace.before, &trace.after].into_iter().flat_map(names_of).collect();
    let drawn = trace.ops.iter().filter_map(|op| made(op).filter(|(name, random)| is_drawn(op, name, random)));
    let drawn = drawn.map(|(name, random)| (name.to_vec(), random)).chain(replacing(trace));
    let drawn: Vec<(Vec<u8>, Range<usize>)> = drawn.filter(|(name, _)| !kept.contains(name)).collect();
    if drawn.is_empty() {
        return;
    }
    let mut taken = kept;
    for op in &mut trace.ops {
        for path in paths(&mut op.call) {
            taken.extend(components(path).map(<[u8]>::to_vec));
        }
    }
    let told = told(trace, &taken, drawn.iter().map(|(name, random)| &name[random.clone()]).collect());
    let mut renamed = Renamed::new();
    for (name, random) in &drawn {
        if told.contains(&name[random.clone()]) || renamed.contains_key(name) {
            continue;
        }
        let with = |number: usize| {
            let digits = format!("{number:0width$}", width = random.len());
            [&name[..random.start], digits.as_bytes(), &name[random.end..]].concat()
        };
        // The number of a name that is there already is left out.
        let free = (renamed.len() + 1..).map(with).find(|new| !taken.contains(new));
        if let Some(new) = free.filter(|new| new.len() == name.len()) {
            taken.insert(new.clone());
            renamed.insert(name.clone(), new);
        }
    }
    if renamed.is_empty() {
        return;
    }
    for op in &mut trace.ops {
        for path in paths(&mut op.call) {
            let part = |path: RelPath, part: &[u8]| path.join(renamed.get(part).map_or(part, Vec::as_slice));
            *path = components(path).fold(RelPath::root(), part);
        }
    }
}

/// Names of new files that were renamed, or linked, to a name that their own is made of, and the part that is another each time: in the order
/// in which they were made.
fn replacing(trace: &Trace) -> Vec<(Vec<u8>, Range<usize>)> {
    let mut named: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for op in trace.ops.iter().filter(|op| op.result >= 0) {
        match &op.call {
            Call::Rename { from, to, .. } | Call::Link { from: Target::Path(from) | Target::NoFollow(from), to } => {
                named.insert(from.name(), to.name());
            }
            _ => {}
        }
    }
    let made = trace.ops.iter().filter(|op| op.result >= 0).filter_map(|op| match &op.call {
        Call::Open { path, flags, .. } if flags & libc::O_CREAT as u32 != 0 => Some(path.name()),
        Call::Mkdir { path, .. } => Some(path.name()),
        _ => None,
    });
    made.filter_map(|name| Some((name.to_vec(), beside(name, named.get(name)?)?))).collect()
}

/// Names as [`replacing`] gives them, after they were numbered.
fn numbers_beside(trace: &Trace) -> Vec<(Vec<u8>, Range<usize>)> {
    let counted = |name: &[u8]| -> Option<Range<usize>> {
        let start =
            name.windows(4).position(|place| place.starts_with(b"000") && place.iter().all(u8::is_ascii_digit))?;
        let digits = name[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        Some(start..start + digits)
    };
    let renamed = trace.ops.iter().filter_map(|op| match &op.call {
        Call::Rename { from, to, .. } if from.name() != to.name() => Some((from.name(), to.name())),
        _ => None,
    });
    let beside_own = |name: &[u8], own: &[u8]| name.windows(own.len().max(1)).any(|place| place == own);
    renamed
        .filter(|(name, own)| beside_own(name, own))
        .filter_map(|(name, _)| Some((name.to_vec(), counted(name)?)))
        .collect()
}

/// The names in `trace` that stand for random ones: for people, who will not find them anywhere.
pub fn numbered(trace: &Trace) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let made = trace.ops.iter().filter_map(made).map(|(name, random)| (name.to_vec(), random));
    let all: Vec<_> = made.chain(numbers_beside(trace)).collect();
    for (name, random) in all {
        if is_number(&name[random]) {
            let name = String::from_utf8_lossy(&name).into_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Every name in a tree, and every name in the target of a symbolic link.
fn names_of(tree: &Tree) -> impl Iterator<Item = Vec<u8>> {
    tree.0.iter().flat_map(|(path, node)| {
        let target = match &node.kind {
            Kind::Symlink(target) => target.as_slice(),
            _ => &[],
        };
        let all = components(path).chain(target.split(|&byte| byte == b'/'));
        all.map(<[u8]>::to_vec).collect::<Vec<_>>()
    })
}

fn components(path: &RelPath) -> impl Iterator<Item = &[u8]> {
    use std::os::unix::ffi::OsStrExt;
    path.as_path().iter().map(|component| component.as_bytes())
}

/// Every path that a call names.
fn paths(call: &mut Call) -> Vec<&mut RelPath> {
    match call {
        Call::Open { path, .. }
        | Call::Mkdir { path, .. }
        | Call::Mknod { path, .. }
        | Call::Symlink { path, .. }
        | Call::Unlink { path }
        | Call::Arrive { to: path, .. }
        | Call::Leave { path }
        | Call::Rmdir { path } => vec![path],
        Call::Rename { from, to, .. } => vec![from, to],
        Call::Link { from, to } => of_target(from).into_iter().chain([to]).collect(),
        Call::Truncate { target, .. }
        | Call::Chmod { target, .. }
        | Call::Chown { target, .. }
        | Call::SetTimes { target, .. }
        | Call::SetXattr { target, .. }
        | Call::RemoveXattr { target, .. } => of_target(target).into_iter().collect(),
        Call::Close { .. }
        | Call::Write { .. }
        | Call::Store { .. }
        | Call::Msync { .. }
        | Call::CopyRange { .. }
        | Call::Allocate { .. }
        | Call::Fsync { .. }
        | Call::Fdatasync { .. }
        | Call::SyncRange { .. }
        | Call::DontNeed { .. }
        | Call::SyncFs { .. }
        | Call::SyncAll
        | Call::Ack { .. }
        | Call::Exit { .. } => Vec::new(),
    }
}

fn of_target(target: &mut Target) -> Option<&mut RelPath> {
    match target {
        Target::Path(path) | Target::NoFollow(path) => Some(path),
        Target::Handle(_) => None,
    }
}

#[cfg(test)]
mod tests {
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
        for name in ["journal2", "undoLog", "undoLog2", "log.Undo12", "db.WAL001", "MyFile", "01page", "tmp.settings12"]
        {
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
}
