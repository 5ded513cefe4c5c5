//! Random names of temporary files become numbered ones, so that two recordings of one program are the same.
//!
//! Only names that nobody would know again: made by the recorded command as a well-known generator of random names
//! makes them, and there neither before nor after the run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use trace::{Call, Kind, Op, RelPath, Target, Trace, Tree};

/// Old name and new name, both of one path component.
type Renamed = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers the random names of temporary files in `trace`, in the order in which they were made: `.tmpAb3xYz` becomes
/// `.tmp000001`. Everywhere in the ops, but not in what was written or printed.
pub(crate) fn number(trace: &mut Trace) {
    let mut taken: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut kept: BTreeSet<Vec<u8>> = BTreeSet::new();
    for tree in [&trace.before, &trace.after] {
        kept.extend(names_of(tree));
    }
    for op in &mut trace.ops {
        for path in paths(&mut op.call) {
            taken.extend(components(path).map(<[u8]>::to_vec));
        }
    }
    taken.extend(kept.iter().cloned());
    let mut renamed = Renamed::new();
    for op in &trace.ops {
        let Some((name, random)) = made(op).filter(|(name, random)| is_drawn(op, name, random)) else { continue };
        if kept.contains(name) || renamed.contains_key(name) {
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
            renamed.insert(name.to_vec(), new);
        }
    }
    if renamed.is_empty() {
        return;
    }
    for op in &mut trace.ops {
        if let Call::Symlink { target, .. } = &mut op.call {
            let parts = target.split(|&byte| byte == b'/');
            let parts = parts.map(|part| renamed.get(part).map_or(part, Vec::as_slice));
            *target = parts.collect::<Vec<_>>().join(&b'/');
        }
        for path in paths(&mut op.call) {
            let part = |path: RelPath, part: &[u8]| path.join(renamed.get(part).map_or(part, Vec::as_slice));
            *path = components(path).fold(RelPath::root(), part);
        }
    }
}

/// The names in `trace` that stand for random ones: for people, who will not find them anywhere.
pub fn numbered(trace: &Trace) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, random) in trace.ops.iter().filter_map(made) {
        let part = &name[random];
        if is_number(part) {
            let name = String::from_utf8_lossy(name).into_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The name that an op makes as generators of temporary names do, and which part of it such a generator draws.
///
/// Files: new, to be read and written by their owner alone, as mkstemp(3) and Python's and Rust's `tempfile` open them.
/// Directories: for their owner alone, as mkdtemp(3) makes them.
fn made(op: &Op) -> Option<(&[u8], Range<usize>)> {
    const EXCLUSIVE: u32 = (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL) as u32;
    let path = match &op.call {
        Call::Open { path, flags, mode, .. } if flags & EXCLUSIVE == EXCLUSIVE && mode & !0o600 == 0 => path,
        Call::Mkdir { path, mode } if mode & !0o700 == 0 => path,
        _ => return None,
    };
    let name = path.name();
    Some((name, random_part(name)?)).filter(|_| op.result >= 0)
}

/// Which part of a name one of the generators would have drawn.
fn random_part(name: &[u8]) -> Option<Range<usize>> {
    let is_alphanumeric = |part: &[u8]| part.iter().all(u8::is_ascii_alphanumeric);
    if is_python(name) {
        return Some(PYTHON);
    }
    // mktemp(1): `tmp.` and 10 of [A-Za-z0-9].
    if name.strip_prefix(b"tmp.").is_some_and(|part| part.len() == 10 && is_alphanumeric(part)) {
        return Some(4..14);
    }
    // mkstemp(3), mkdtemp(3): anything, and 6 of [A-Za-z0-9]; Rust's: `.tmp`, and the same.
    let start = name.len().checked_sub(6)?;
    is_alphanumeric(&name[start..]).then_some(start..name.len())
}

/// What Python draws of a name.
const PYTHON: Range<usize> = 3..11;

/// Python's `tempfile`: `tmp` and 8 of [a-z0-9_], and maybe a suffix.
fn is_python(name: &[u8]) -> bool {
    let is_drawn = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    name.starts_with(b"tmp")
        && name.get(PYTHON).is_some_and(|part| part.iter().all(is_drawn))
        && matches!(name.get(PYTHON.end), None | Some(b'.'))
}

/// Whether this is what [`number`] puts in the place of the random part.
fn is_number(part: &[u8]) -> bool {
    part[0] == b'0' && part.iter().all(u8::is_ascii_digit)
}

/// Whether the part of a name was drawn indeed, and is nothing that a person would have written.
fn is_drawn(op: &Op, name: &[u8], random: &Range<usize>) -> bool {
    if is_number(&name[random.clone()]) {
        return false;
    }
    let is_file = matches!(op.call, Call::Open { .. });
    // Who makes a file in this way, with the default prefix of these two libraries, does not choose names.
    if is_file && (is_python(name) || name.len() == 10 && name.starts_with(b".tmp")) {
        return true;
    }
    let kinds = [u8::is_ascii_uppercase, u8::is_ascii_lowercase, u8::is_ascii_digit];
    kinds.iter().filter(|kind| name[random.clone()].iter().any(kind)).count() > 1
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
        | Call::CopyRange { .. }
        | Call::Allocate { .. }
        | Call::Fsync { .. }
        | Call::Fdatasync { .. }
        | Call::SyncRange { .. }
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
    use trace::{Handle, Node};

    use super::*;

    fn op(call: Call) -> Op {
        Op { call, syscall: String::new(), result: 0, thread: 0 }
    }

    /// As mkstemp(3) opens it.
    fn open(path: &str) -> Op {
        let flags = (libc::O_RDWR | libc::O_CREAT | libc::O_EXCL) as u32;
        op(Call::Open { handle: Handle(0), path: path.into(), flags, mode: 0o600 })
    }

    fn trace_of(ops: Vec<Op>, after: &[&str]) -> Trace {
        let node = Node { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0, inode: 0, xattrs: BTreeMap::new() };
        let after = Tree(after.iter().map(|path| (RelPath::from(*path), node.clone())).collect());
        Trace { command: vec![], before: Tree::default(), ops, after, limits: vec![], outside: vec![] }
    }

    fn numbered_listing(ops: Vec<Op>, after: &[&str]) -> String {
        let mut trace = trace_of(ops, after);
        number(&mut trace);
        trace::listing(&trace).join("\n")
    }

    #[test]
    fn names_of_generators_are_numbered_wherever_they_stand() {
        let rename = Call::Rename { from: "d/.tmpAb3xYz".into(), to: "d/config".into(), flags: 0 };
        let ops = vec![
            open("d/.tmpAb3xYz"),
            op(rename),
            op(Call::Mkdir { path: "state.qW3rTy".into(), mode: 0o700 }),
            open("state.qW3rTy/tmpk3_x9abc.json"),
            op(Call::Symlink { path: "link".into(), target: b"../state.qW3rTy/tmpk3_x9abc.json".to_vec() }),
            op(Call::Link { from: Target::NoFollow("state.qW3rTy/tmpk3_x9abc.json".into()), to: "kept".into() }),
            op(Call::Truncate { target: Target::Path("state.qW3rTy/tmpk3_x9abc.json".into()), length: 1 }),
            op(Call::Unlink { path: "state.qW3rTy/tmpk3_x9abc.json".into() }),
            op(Call::Rmdir { path: "state.qW3rTy".into() }),
            open("tmp.AbCdEf1234"),
        ];
        insta::assert_snapshot!(numbered_listing(ops, &["d", "d/config", "kept"]), @r#"
        ("d/.tmp000001", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
        ("d/.tmp000001", "d/config") = 0
        ("state.000002", 0700) = 0
        ("state.000002/tmp00000003.json", O_RDWR|O_CREAT|O_EXCL, 0600) = h0
        ("../state.000002/tmp00000003.json", "link") = 0
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
        same(vec![open("config.qW3rTy")], &["config.qW3rTy"]);
        same(vec![mode(open("config.qW3rTy"), 0o644)], &[]);
        let flags = (libc::O_RDWR | libc::O_CREAT) as u32;
        same(vec![op(Call::Open { handle: Handle(0), path: ".tmpAb3xYz".into(), flags, mode: 0o600 })], &[]);
        let failed = Op { result: -17, ..open(".tmpAb3xYz") };
        same(vec![failed], &[]);
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
}
