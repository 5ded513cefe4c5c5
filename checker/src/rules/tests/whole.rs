//! Files that are made from another, and trees behind a marker.

use program::Target;

use super::*;
use crate::testing::{exit, hint_text, unlink};

/// What is found where these files are there: of each finding the invariant, the kind, the path and what was seen.
fn found_among(rules: &Rules, files: &[(&str, &[u8])]) -> String {
    let seen = files.iter().map(|(name, content)| {
        let path = RelPath::from(*name);
        (path.clone(), see(rules.read_plan(), &path, content))
    });
    let mut seen: Vec<_> = seen.collect();
    let directories = ["store", "store/1", "store/2"].map(RelPath::from);
    let holds = |directory: &RelPath| files.iter().any(|(name, _)| RelPath::from(*name).starts_with(directory));
    let directories = directories.into_iter().filter(holds);
    seen.extend(directories.map(|path| (path, crate::EntryKind::Directory { error: None })));
    judged(rules, seen)
}

fn judged(rules: &Rules, seen: Vec<(RelPath, crate::EntryKind)>) -> String {
    let findings = rules.judge(&observation(seen), &NEVER);
    let text = |it: &Finding| format!("{}: {} is {}: {}", it.invariant, it.path, it.kind, observed_text(&it.observed));
    findings.iter().map(text).collect::<Vec<_>>().join("; ")
}

/// What gzip does, with a sync of the new file or without.
fn compress(sync: bool) -> Trace {
    let mut calls = vec![open(1, "data.gz", CREATE), write(1, 0, b"packed")];
    calls.extend(sync.then(|| crate::testing::fsync(1)));
    calls.extend([unlink("data"), exit()]);
    trace(&[("data", b"content")], calls)
}

#[test]
fn at_every_moment_one_of_both_is_whole() {
    let both = [Wanted::OneIsWhole { paths: vec!["data".into(), "data.gz".into()] }];
    let rules = rules(&compress(true), &both);
    assert_eq!(found_among(&rules, &[("data", b"content")]), "");
    assert_eq!(found_among(&rules, &[("data", b"content"), ("data.gz", b"")]), "");
    assert_eq!(found_among(&rules, &[("data", b"content"), ("data.gz", b"pac\0\0\0")]), "");
    assert_eq!(found_among(&rules, &[("data", b"content"), ("data.gz", b"packed")]), "");
    assert_eq!(found_among(&rules, &[("data.gz", b"packed")]), "");
    assert_eq!(found_among(&rules, &[("data", b"cont"), ("data.gz", b"packed")]), "");
    insta::assert_snapshot!(
        [
            found_among(&rules, &[]),
            found_among(&rules, &[("data.gz", b"")]),
            found_among(&rules, &[("data.gz", b"pac\0\0\0")]),
            found_among(&rules, &[("data", b""), ("data.gz", b"pack")]),
        ]
        .join("\n"),
        @"
    one-is-whole data, data.gz: data.gz is missing: no such file
    one-is-whole data, data.gz: data.gz is empty: 0 bytes
    one-is-whole data, data.gz: data.gz is zero-filled: 6 bytes: new bytes 0–2, zeros from byte 3 on
    one-is-whole data, data.gz: data.gz is wrong-length: 4 bytes, where 6 would be right
    "
    );
}

#[test]
fn what_is_removed_too_early_is_named() {
    let hint = |sync| {
        let trace = compress(sync);
        let invariant = Invariant::OneIsWhole(vec!["data".into(), "data.gz".into()]);
        let window = CrashWindow { begun_earliest: trace.ops.len(), ended_latest: trace.ops.len() };
        let hint = crate::reason(&trace, &invariant, Kind::Empty, &"data.gz".into(), &window);
        hint_text(&hint.unwrap(), &trace)
    };
    insta::assert_snapshot!([hint(false), hint(true)].join("\n"), @"
    no fsync of the directory since op 0 (creation of data.gz), nor of data.gz since its last write (op 1) before op 2 (test): a crash can keep what comes later without that
    no fsync of the directory since op 0 (creation of data.gz) before op 3 (test): a crash can keep what comes later without that
    ");
}

/// A package manager: unpacks a version, and switches to it by a rename.
fn install(before: &[(&str, &[u8])]) -> Trace {
    let mkdir = |path: &str| Call::Mkdir { path: path.into(), mode: 0o755 };
    let calls = [
        if before.is_empty() { vec![mkdir("store")] } else { vec![] },
        vec![mkdir("store/2"), open(1, "store/2/bin", CREATE), write(1, 0, b"second")],
        vec![Call::Chmod { target: Target::Handle(program::Handle(1)), mode: 0o755 }],
        vec![open(2, "store/2/doc", CREATE), write(2, 0, b"text")],
        vec![open(3, "current.new", CREATE), write(3, 0, b"2"), rename("current.new", "current"), exit()],
    ];
    let mut trace = trace(before, calls.concat());
    trace.after = trace.before.clone();
    let node = trace.before.0[&RelPath::root()].clone();
    for (path, mode) in [("store", 0o755), ("store/2", 0o755), ("store/2/bin", 0o755), ("store/2/doc", 0o644)] {
        trace.after.0.insert(path.into(), program::Node { mode, ..node.clone() });
    }
    trace
}

fn tree() -> [Wanted; 1] {
    [Wanted::Tree { marker: "current".into(), paths: vec!["store".into()] }]
}

/// As [`found_among`], with the mode of `store/2/bin`.
fn with_mode(rules: &Rules, files: &[(&str, &[u8])], mode: u32) -> String {
    let seen = files.iter().map(|(name, content)| {
        let path = RelPath::from(*name);
        (path.clone(), see(rules.read_plan(), &path, content))
    });
    let directory = |path: &str| (RelPath::from(path), crate::EntryKind::Directory { error: None });
    let mut seen = observation(seen.chain([directory("store"), directory("store/2")]).collect());
    for (path, entry) in &mut seen.entries {
        let is_directory = matches!(entry.kind, crate::EntryKind::Directory { .. });
        entry.mode = if is_directory { 0o755 } else { entry.mode };
        entry.mode = if *path == "store/2/bin".into() { mode } else { entry.mode };
    }
    let findings = rules.judge(&seen, &NEVER);
    findings.iter().map(|it| format!("{}: {}", it.kind, observed_text(&it.observed))).collect::<Vec<_>>().join("; ")
}

#[test]
fn where_the_marker_is_the_tree_is_whole() {
    let rules = rules(&install(&[]), &tree());
    let [bin, doc] = [("store/2/bin", &b"second"[..]), ("store/2/doc", b"text")];
    let all = [("current", &b"2"[..]), bin, doc];
    assert_eq!(found_among(&rules, &[]), "");
    assert_eq!(found_among(&rules, &[bin]), "", "nobody says that it is there");
    assert_eq!(with_mode(&rules, &all, 0o755), "");
    let other = [&all[..], &[("store/2/more", b"")]].concat();
    assert_eq!(with_mode(&rules, &other, 0o755), "", "more is nobody's business");
    insta::assert_snapshot!(
        [
            with_mode(&rules, &all, 0o644),
            with_mode(&rules, &all[..2], 0o755),
            with_mode(&rules, &[all[0], bin, ("store/2/doc", b"")], 0o755),
            with_mode(&rules, &[("current", b""), bin], 0o755),
            found_among(&rules, &[("current", b"2")]),
        ]
        .join("\n"),
        @"
    metadata-changed: current is as after the run, but store/2/bin is metadata-changed: mode 0644, where it was 0755
    missing: current is as after the run, but store/2/doc is missing: no such file
    empty: current is as after the run, but store/2/doc is empty: 0 bytes
    missing: current is as after the run, but store/2/doc is missing: no such file
    tree current: store: store is missing: current is as after the run, but store is missing: no such file, and 4 of 4 names are not as they should be
    "
    );
}

/// While the marker is the old one, what it stands for stays; a marker that is neither is for others to judge.
#[test]
fn the_old_tree_stays_until_the_marker_changes() {
    let before: [(&str, &[u8]); 2] = [("current", b"1"), ("store/1/bin", b"first")];
    let rules = rules(&install(&before), &tree());
    assert_eq!(judge_old(&rules, b"1", Some(b"first")), "");
    assert_eq!(judge_old(&rules, b"", None), "");
    insta::assert_snapshot!(
        [judge_old(&rules, b"1", None), judge_old(&rules, b"1", Some(b"")), judge_old(&rules, b"2", Some(b"first"))]
            .join("\n"),
        @"
    tree current: store: store is missing: current is as before the run, but store/1/bin is missing: no such file
    tree current: store: store is empty: current is as before the run, but store/1/bin is empty: 0 bytes
    tree current: store: store is missing: current is as after the run, but store/2 is missing: no such file, and 3 of 4 names are not as they should be
    "
    );
}

fn judge_old(rules: &Rules, marker: &[u8], bin: Option<&[u8]>) -> String {
    let mut files = vec![("current", marker)];
    files.extend(bin.map(|bin| ("store/1/bin", bin)));
    found_among(rules, &files)
}

#[test]
fn a_marker_that_says_nothing_is_a_mistake() {
    let error = |marker: &str, top: &str| {
        let trace = install(&[("current", b"1"), ("other", b"")]);
        let wanted = [Wanted::Tree { marker: marker.into(), paths: vec![top.into()] }];
        Rules::new(&trace, &History::new(&trace), &wanted).map(|_| ()).unwrap_err().to_string()
    };
    insta::assert_snapshot!([error("other", "store"), error("none", "store"), error("current", "nowhere")].join("\n"), @r"
    the invariant tree other: store waits for other, but the command does not make it, or leaves it as it was: name the file or symbolic link that the command puts into place last
    the invariant tree none: store waits for none, but the command does not make it, or leaves it as it was: name the file or symbolic link that the command puts into place last
    the invariant tree current: nowhere is about nowhere, where nothing is after the command
    ");
}

#[test]
fn what_is_marked_too_early_is_named() {
    let trace = install(&[]);
    let invariant = Invariant::Tree("current".into(), vec!["store".into()]);
    let window = CrashWindow { begun_earliest: trace.ops.len(), ended_latest: trace.ops.len() };
    let hint = crate::reason(&trace, &invariant, Kind::Empty, &"store".into(), &window).unwrap();
    insta::assert_snapshot!(hint_text(&hint, &trace), @"no fsync of the directory since op 0 (creation of store), nor of the directory store since op 1 (creation of store/2), nor of the directory store/2 since op 2 (creation of store/2/bin) and op 5 (creation of store/2/doc), nor of store/2/bin since its last write (op 3) before op 9 (test): a crash can keep what comes later without that");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    /// Whatever is there of marker and tree, it is right by the definition.
    #[test]
    fn a_tree_is_right_by_its_definition(
        upgrade: bool,
        marker in proptest::sample::select(vec![None, Some("1"), Some("2"), Some("")]),
        parts in proptest::collection::vec(proptest::sample::select(vec![None, Some(true), Some(false)]), 3),
    ) {
        let before: [(&str, &[u8]); 2] = [("current", b"1"), ("store/1/bin", b"first")];
        let rules = rules(&install(if upgrade { &before } else { &[] }), &tree());
        let names = [("store/1/bin", &b"first"[..]), ("store/2/bin", b"second"), ("store/2/doc", b"text")];
        let right = |index: usize| parts[index] == Some(true);
        let (old, new) = (right(0), right(1) && right(2));
        let holds = match (upgrade, marker) {
            (_, None) | (true, Some("")) => true,
            (true, Some("1")) => old,
            // What is below the path after the run: the old version stays.
            (true, _) => old && new,
            // That it is there says all.
            (false, _) => new,
        };
        let mut seen: Vec<(RelPath, crate::EntryKind)> = Vec::new();
        for ((name, content), part) in names.iter().zip(&parts) {
            let content: &[u8] = if *part == Some(true) { content } else { b"?" };
            let path = RelPath::from(*name);
            seen.extend(part.map(|_| (path.clone(), see(rules.read_plan(), &path, content))));
        }
        seen.extend(marker.map(|text| ("current".into(), see(rules.read_plan(), &"current".into(), text.as_bytes()))));
        let directories = ["store", "store/1", "store/2"].map(|path| (path.into(), crate::EntryKind::Directory { error: None }));
        let mut seen = observation(seen.into_iter().chain(directories).collect());
        for (path, mode) in [("store", 0o755), ("store/2", 0o755), ("store/2/bin", 0o755)] {
            seen.entries.entry(path.into()).and_modify(|entry| entry.mode = mode);
        }
        proptest::prop_assert_eq!(rules.judge(&seen, &NEVER).is_empty(), holds, "{:?}", rules.judge(&seen, &NEVER));
    }

    /// One whole file is enough, and none is not.
    #[test]
    fn one_of_both_is_whole_by_its_definition(
        old in proptest::sample::select(vec![None, Some(&b"content"[..]), Some(b"cont"), Some(b"")]),
        new in proptest::sample::select(vec![None, Some(&b"packed"[..]), Some(b"pac\0\0\0"), Some(b"")]),
    ) {
        let rules = rules(&compress(true), &[Wanted::OneIsWhole { paths: vec!["data".into(), "data.gz".into()] }]);
        let files = [("data", old), ("data.gz", new)].into_iter().filter_map(|(name, content)| Some((name, content?)));
        let files: Vec<(&str, &[u8])> = files.collect();
        let holds = old == Some(b"content") || new == Some(b"packed");
        proptest::prop_assert_eq!(found_among(&rules, &files).is_empty(), holds);
    }
}
