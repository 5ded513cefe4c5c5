//! What is asked of several files, of names that are left over, and of modes and owners.

use super::*;
use crate::testing::{CREATE, TRUNCATE, observation, observed_text, open, rename, see, trace, unlink, write};
use crate::{Changed, EntryKind, Seen};

/// What an all-or-nothing of `a` and `b` finds, `None` for no such file.
fn both(rules: &Rules, a: Option<&[u8]>, b: Option<&[u8]>) -> String {
    let files = [("a", a), ("b", b)].into_iter().filter_map(|(name, content)| {
        let path = RelPath::from(name);
        content.map(|content| (path.clone(), see(rules.read_plan(), &path, content)))
    });
    let findings = rules.judge(&observation(files.collect()), &NEVER);
    let text = |it: &Finding| format!("{} is {} ({}): {}", it.path, it.kind, it.invariant, observed_text(&it.observed));
    findings.iter().map(text).collect::<Vec<_>>().join("; ")
}

#[test]
fn files_that_belong_together_change_together() {
    let replace = |path: &str, text: &[u8]| vec![open(1, "tmp", CREATE), write(1, 0, text), rename("tmp", path)];
    let calls = [replace("a", b"between"), replace("a", b"A"), replace("b", b"B")].concat();
    let trace = trace(&[("a", b"a"), ("b", b"b")], calls);
    let rules = rules(&trace, &[Wanted::AllOrNothing { paths: vec!["a".into(), "b".into()] }]);
    assert_eq!(both(&rules, Some(b"a"), Some(b"b")), "");
    assert_eq!(both(&rules, Some(b"A"), Some(b"B")), "");
    insta::assert_snapshot!(
        [
            both(&rules, Some(b"A"), Some(b"b")),
            both(&rules, Some(b"a"), Some(b"B")),
            both(&rules, Some(b"between"), Some(b"B")),
            both(&rules, Some(b"a"), None),
            both(&rules, Some(b""), None),
        ]
        .join("\n")
    );
}

#[test]
fn a_file_that_stays_as_it_is_takes_no_side() {
    let calls = [vec![open(1, "b", 1), write(1, 0, b"same")], save("x"), vec![rename("f", "a")]].concat();
    let trace = trace(&[("a", b"a"), ("b", b"same")], calls);
    let rules = rules(&trace, &[Wanted::AllOrNothing { paths: vec!["a".into(), "b".into()] }]);
    assert_eq!(both(&rules, Some(b"a"), Some(b"same")), "");
    assert_eq!(both(&rules, Some(b"x"), Some(b"same")), "");
    assert!(both(&rules, Some(b"x"), Some(b"")).starts_with("b is empty"));
}

#[test]
fn mode_and_owner_stay_where_the_file_exists() {
    let mut trace = trace(&[("f", b"old")], save("new"));
    for node in trace.before.0.values_mut() {
        (node.uid, node.gid) = (1000, 100);
    }
    let preserved = rules(&trace, &[Wanted::MetadataPreserved { path: "f".into() }]);
    let judge = |rules: &Rules, mode, uid, gid| {
        let path = RelPath::from("f");
        let mut seen = observation(vec![(path.clone(), see(rules.read_plan(), &path, b"new"))]);
        let entry = seen.entries.get_mut(&path).unwrap();
        (entry.mode, entry.uid, entry.gid) = (mode, uid, gid);
        rules
            .judge(&seen, &NEVER)
            .iter()
            .map(|found| format!("{}: {}", found.kind, observed_text(&found.observed)))
            .collect::<String>()
    };
    assert_eq!(judge(&preserved, 0o644, 1000, 100), "");
    assert_eq!(judge(&preserved, 0o644, 0, 0), "", "in the guest, root replays what the user did");
    assert_eq!(judge(&preserved, 0o600, 0, 0), "metadata-changed: mode 0600, where it was 0644");
    assert_eq!(judge(&preserved, 0o644, 7, 0), "metadata-changed: owner 7, where it was 1000");
    assert_eq!(kinds(&preserved, None, &NEVER), Vec::<String>::new(), "absence is for others to judge");
    trace.before.0.get_mut(&"f".into()).unwrap().gid = 5;
    let foreign = rules(&trace, &[Wanted::MetadataPreserved { path: "f".into() }]);
    assert_eq!(judge(&foreign, 0o644, 1000, 0), "metadata-changed: group 0, where it was 5");
}

#[test]
fn metadata_that_cannot_be_looked_at_is_not_preserved() {
    let trace = trace(&[("d/f", b"old")], vec![open(1, "d/f", TRUNCATE)]);
    let rules = rules(&trace, &[Wanted::MetadataPreserved { path: "d/f".into() }]);
    let judge = |entries: Vec<(&str, EntryKind)>| {
        let entries = entries.into_iter().map(|(path, kind)| (path.into(), kind)).collect();
        let findings = rules.judge(&observation(entries), &NEVER);
        assert!(findings.iter().all(|finding| finding.fails));
        let text = |it: &Finding| format!("{} {}: {}", it.invariant, it.kind, observed_text(&it.observed));
        findings.iter().map(text).collect::<Vec<_>>().join("; ")
    };
    let directory = |error| ("d", EntryKind::Directory { error });
    assert_eq!(
        judge(vec![directory(None), ("d/f", EntryKind::Unreadable { errno: 117 })]),
        "metadata-preserved read-error: the name is listed, but stat fails (errno 117, EUCLEAN, a damaged structure)"
    );
    assert_eq!(
        judge(vec![directory(Some(74))]),
        "metadata-preserved read-error: the directory d above it cannot be read (errno 74, EBADMSG, a bad checksum)"
    );
    let failed = EntryKind::File { size: 3, seen: Seen::Failed { candidates: vec![], offset: 0, errno: 5 } };
    assert_eq!(judge(vec![directory(None), ("d/f", failed)]), "", "its data are for others to judge");
    assert_eq!(judge(vec![directory(None)]), "");
}

#[test]
fn a_mode_that_the_run_itself_changes_is_told_unasked() {
    let mut trace = trace(&[("f", b"old"), ("g", b"old")], save("new"));
    trace.after = trace.before.clone();
    trace.after.0.get_mut(&"f".into()).unwrap().mode = 0o600;
    assert_eq!(
        rules(&trace, &[]).changed_metadata(),
        [ChangedMetadata { path: "f".into(), mode: Changed::from_to(0o644, 0o600), owner_and_group: None }]
    );
    assert_eq!(rules(&trace, &[Wanted::MetadataPreserved { path: "f".into() }]).changed_metadata(), []);
}

#[test]
fn leftovers_are_told_and_fail_nothing() {
    let trace = trace(&[("f", b"old"), ("gone", b"")], [save("new"), vec![unlink("gone")]].concat());
    let wanted = [Wanted::NoLeftovers {}, Wanted::AtomicReplace { path: "f".into() }];
    let rules = rules(&trace, &wanted);
    let names = |names: &[&str]| {
        let seen = names.iter().map(|name| ((*name).into(), see(rules.read_plan(), &(*name).into(), b"old"))).collect();
        let findings = rules.judge(&observation(seen), &NEVER);
        assert!(findings.iter().all(|finding| !finding.fails));
        findings.iter().map(|finding| format!("{} {}", finding.kind, finding.path)).collect::<Vec<_>>()
    };
    assert_eq!(names(&["f", "gone"]), [""; 0]);
    assert_eq!(names(&["f", "tmp"]), ["leftover tmp"]);
}
