//! Whether the recorded calls explain what the run left behind.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Kind, Limit, Node, RelPath, Trace, Tree, Vfs};

/// The bits of `st_mode` that are compared. The kernel drops set-uid and set-gid on writes and chown by itself, and
/// a set-gid directory hands its bit on: that is no sign of anyone else.
const COMPARED_MODE: u32 = 0o1777;
/// Those that are not: [`cleared_set_ids`] looks at them where they matter.
const SET_IDS: u32 = 0o6000;

/// Replays the ops on `before` and compares with `after`: one [`Limit`] for each call that cannot be applied and for each
/// path that differs (kind, content, permissions, owner where known, `user.*` attributes, hard links).
///
/// So what was written through a shared mapping, or by a process that was not recorded, is noticed.
pub fn unexplained(trace: &Trace) -> Vec<Limit> {
    unexplained_paths(trace).into_iter().map(|(_, limit)| limit).collect()
}

/// The same, each with the path that differs, if it is about one.
pub fn unexplained_paths(trace: &Trace) -> Vec<(Option<RelPath>, Limit)> {
    let mut limits = Vec::new();
    let mut vfs = Vfs::new(&trace.before);
    for (index, op) in trace.ops.iter().enumerate().filter(|(_, op)| op.result >= 0) {
        if let Err(divergence) = vfs.apply(&op.call) {
            let detail = format!("op {index} cannot be explained: {divergence}");
            limits.push((None, Limit { call: op.syscall.clone(), detail, count: 1 }));
        }
    }
    let executed = vfs.tree();
    let links = (link_groups(&executed), link_groups(&trace.after));
    let paths: BTreeSet<&RelPath> = executed.0.keys().chain(trace.after.0.keys()).collect();
    for path in paths {
        let difference = match (executed.0.get(path), trace.after.0.get(path)) {
            (Some(_), None) if path.is_root() => None,
            (Some(_), None) => Some("is not there after the run, and no recorded call removed it".to_owned()),
            (None, Some(_)) => Some("is there after the run, and no recorded call made it".to_owned()),
            (Some(model), Some(found)) => differences(model, found, vfs.owner(path))
                .or_else(|| (links.0.get(path) != links.1.get(path)).then(|| "has other hard links".to_owned())),
            (None, None) => None,
        };
        if let Some(difference) = difference {
            let detail = format!("{path} {difference}");
            let limit = Limit { call: "changed from outside".to_owned(), detail, count: 1 };
            limits.push((Some(path.clone()), limit));
        }
    }
    limits
}

/// Why nobody can say of the file at `path` whether its mode is preserved, if so: the kernel took set-ID bits from it by
/// itself. It does so when data are changed without privileges. A guest replays as root, which keeps them, and so does
/// [`Vfs`].
pub fn cleared_set_ids(trace: &Trace, path: &RelPath) -> Option<Limit> {
    let limit = |call: &str, detail| Some(Limit { call: call.to_owned(), detail, count: 1 });
    // The directory was made for the run, by who runs the command.
    let by_root = trace.before.0.get(&RelPath::root()).is_none_or(|root| root.uid == 0);
    let mut vfs = Vfs::new(&trace.before);
    for op in trace.ops.iter().filter(|op| op.result >= 0) {
        if vfs.apply(&op.call).is_ok() && !by_root && vfs.may_lack_set_ids(path) {
            let detail = format!("{path} lost set-ID bits when its data were changed, and would keep them in a guest");
            return limit(&op.syscall, detail);
        }
    }
    let (model, found) = (vfs.tree().0.get(path)?.mode, trace.after.0.get(path)?.mode);
    if (model ^ found) & SET_IDS == 0 {
        return None;
    }
    limit("set-ID bits", format!("{path} has mode {found:04o} after the run, {model:04o} by the recorded calls"))
}

/// For each path, the first path of its inode.
fn link_groups(tree: &Tree) -> BTreeMap<&RelPath, &RelPath> {
    let mut first = BTreeMap::new();
    tree.0.iter().map(|(path, node)| (path, *first.entry(node.inode).or_insert(path))).collect()
}

fn differences(model: &Node, found: &Node, owner: (Option<u32>, Option<u32>)) -> Option<String> {
    match (&model.kind, &found.kind) {
        (Kind::File(expected), Kind::File(content)) if expected != content => {
            let same = expected.iter().zip(content.iter()).take_while(|(a, b)| a == b).count();
            return Some(format!(
                "has another content after the run ({} bytes, {} by the recorded calls; equal up to byte {same})",
                content.len(),
                expected.len()
            ));
        }
        (Kind::File(_), Kind::File(_)) | (Kind::Directory, Kind::Directory) => {}
        (Kind::Symlink(expected), Kind::Symlink(target)) if expected != target => {
            return Some("points elsewhere after the run".to_owned());
        }
        (Kind::Symlink(_), Kind::Symlink(_)) => return None,
        (Kind::Special { mode: expected, .. }, Kind::Special { mode, .. }) if (expected ^ mode) & 0o170000 == 0 => {}
        _ => return Some("is another kind of thing after the run".to_owned()),
    }
    if (model.mode ^ found.mode) & COMPARED_MODE != 0 {
        return Some(format!("has mode {:o} after the run, {:o} by the recorded calls", found.mode, model.mode));
    }
    let expected = (owner.0.unwrap_or(found.uid), owner.1.unwrap_or(found.gid));
    if expected != (found.uid, found.gid) {
        let found = (found.uid, found.gid);
        return Some(format!("belongs to {found:?} after the run, to {expected:?} by the recorded calls"));
    }
    // Other namespaces are not always readable, and security modules write some of them by themselves.
    let user = |node: &Node| -> BTreeMap<Vec<u8>, Vec<u8>> {
        node.xattrs.clone().into_iter().filter(|(name, _)| name.starts_with(b"user.")).collect()
    };
    (user(model) != user(found)).then(|| "has other extended attributes after the run".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{op, tree};
    use crate::{Call, Handle, Target};

    fn trace() -> Trace {
        let write = Call::Write { handle: Handle(1), offset: 0, data: Arc::new(b"new".to_vec()), flags: 0 };
        let ops = vec![
            op(Call::Open { handle: Handle(1), path: "f".into(), flags: 0o1001, mode: 0 }),
            op(write),
            op(Call::Close { handle: Handle(1) }),
        ];
        let after = tree(&[("f", b"new"), ("g", b"kept")]);
        Trace { before: tree(&[("f", b"old"), ("g", b"kept")]), ops, after, ..Trace::default() }
    }

    fn details(trace: &Trace) -> Vec<String> {
        unexplained(trace).into_iter().map(|limit| format!("{}: {}", limit.call, limit.detail)).collect()
    }

    #[test]
    fn a_run_that_its_calls_explain_has_no_limit() {
        assert_eq!(details(&trace()), Vec::<String>::new());
    }

    #[test]
    fn calls_that_failed_are_skipped() {
        let mut trace = trace();
        trace.ops.push(crate::Op { result: -5, ..op(Call::Unlink { path: "g".into() }) });
        assert_eq!(details(&trace), Vec::<String>::new());
    }

    /// What is told of f, which had set-ID bits before, where `calls` leave it with `mode`.
    fn cleared(maker: u32, calls: Vec<Call>, mode: u32) -> Option<String> {
        let mut trace = trace();
        trace.ops = calls.into_iter().map(op).collect();
        trace.before.0.get_mut(&RelPath::root()).unwrap().uid = maker;
        trace.before.0.get_mut(&RelPath::from("f")).unwrap().mode = 0o4755;
        trace.after.0.get_mut(&RelPath::from("f")).unwrap().mode = mode;
        cleared_set_ids(&trace, &"f".into()).map(|limit| limit.to_string())
    }

    #[test]
    fn set_id_bits_that_the_kernel_clears_are_told() {
        let write = |path: &str| {
            let open = Call::Open { handle: Handle(1), path: path.into(), flags: 0o101, mode: 0o755 };
            vec![open, Call::Write { handle: Handle(1), offset: 0, data: Arc::new(b"new".to_vec()), flags: 0 }]
        };
        let chmod = |mode| vec![Call::Chmod { target: Target::Handle(Handle(1)), mode }];
        let rename = || vec![Call::Rename { from: "tmp".into(), to: "f".into(), flags: 0 }];
        let lost = "test, f lost set-ID bits when its data were changed, and would keep them in a guest";
        assert_eq!(cleared(1000, write("f"), 0o755).unwrap(), lost);
        let restored = [write("f"), chmod(0o4755)].concat();
        assert_eq!(cleared(1000, restored, 0o4755).unwrap(), lost, "a crash can come before the chmod");
        let early = [write("tmp"), chmod(0o4755), write("tmp"), rename(), chmod(0o4755)].concat();
        assert_eq!(cleared(1000, early, 0o4755).unwrap(), lost);
        let late = [write("tmp"), chmod(0o4755), rename()].concat();
        assert_eq!(cleared(1000, late, 0o4755), None);
        let differs = "set-ID bits, f has mode 0755 after the run, 4755 by the recorded calls";
        assert_eq!(cleared(0, write("f"), 0o755).unwrap(), differs);
        assert_eq!(cleared(0, write("f"), 0o4755), None, "root keeps them");
        assert_eq!(cleared(0, [write("f"), chmod(0o755)].concat(), 0o755), None, "a guest shows that, too");
    }

    #[test]
    fn every_difference_is_told() {
        let mut trace = trace();
        trace.ops.push(op(Call::Unlink { path: "nowhere".into() }));
        trace.after = tree(&[("f", b"nEw"), ("made", b"")]);
        trace.after.0.get_mut(&RelPath::from("made")).unwrap().inode = 77;
        insta::assert_snapshot!(details(&trace).join("\n"), @r"
        test: op 3 cannot be explained: unlink nowhere: the name does not exist here
        changed from outside: f has another content after the run (3 bytes, 3 by the recorded calls; equal up to byte 1)
        changed from outside: g is not there after the run, and no recorded call removed it
        changed from outside: made is there after the run, and no recorded call made it
        ");
    }

    #[test]
    fn modes_owners_attributes_and_links_are_compared() {
        let change = |edit: fn(&mut Node)| {
            let mut trace = trace();
            edit(trace.after.0.get_mut(&RelPath::from("g")).unwrap());
            details(&trace)
        };
        assert_eq!(
            change(|node| node.mode = 0o600),
            ["changed from outside: g has mode 600 after the run, 644 by the recorded calls"]
        );
        assert_eq!(change(|node| node.mode |= 0o4000), Vec::<String>::new());
        assert_eq!(
            change(|node| node.uid = 7),
            ["changed from outside: g belongs to (7, 0) after the run, to (0, 0) by the recorded calls"]
        );
        let mut given = trace();
        let chown = Call::Chown { target: Target::Path("made".into()), uid: u32::MAX, gid: 100 };
        let made = Call::Open { handle: Handle(1), path: "made".into(), flags: 0o101, mode: 0o644 };
        given.ops.extend([op(made), op(chown)]);
        let node = Node { uid: 7, gid: 100, inode: 77, ..given.after.0[&RelPath::from("f")].clone() };
        given.after.0.insert("made".into(), Node { kind: Kind::File(Arc::default()), ..node });
        assert_eq!(details(&given), Vec::<String>::new(), "no call tells to whom it belongs");
        given.after.0.get_mut(&RelPath::from("made")).unwrap().gid = 5;
        assert_eq!(
            details(&given),
            ["changed from outside: made belongs to (7, 5) after the run, to (7, 100) by the recorded calls"]
        );
        assert_eq!(
            change(|node| drop(node.xattrs.insert(b"user.a".to_vec(), vec![]))),
            ["changed from outside: g has other extended attributes after the run"]
        );
        assert_eq!(change(|node| drop(node.xattrs.insert(b"security.a".to_vec(), vec![]))), Vec::<String>::new());
        let mut linked = trace();
        let inode = linked.after.0[&RelPath::from("f")].inode;
        *linked.after.0.get_mut(&RelPath::from("g")).unwrap() =
            Node { inode, ..linked.after.0[&RelPath::from("g")].clone() };
        assert_eq!(details(&linked), ["changed from outside: g has other hard links"]);
    }
}
