//! What one file may be, and what it is called if it is something else.

use std::sync::Arc;

use program::Call;

use super::*;
use crate::testing::{CREATE, fsync, observation, observed_text, open, print, rename, see, trace, write};
use crate::{EntryKind, Seen};

#[test]
fn every_kind_of_content_by_its_definition() {
    // Nine sectors and ten bytes: two chunks.
    let (old, new) = (sectors("aaaaaaaaab1"), sectors("cccccccc.d2"));
    let trace = trace(&[("f", &old)], vec![open(1, "tmp", CREATE), write(1, 0, &new), rename("tmp", "f")]);
    let rules = rules(&trace, &[]);
    let one = |content: &[u8]| match kinds(&rules, Some(content), &NEVER).as_slice() {
        [] => "holds".to_owned(),
        [kind] => kind.strip_prefix("atomic-replace ").unwrap().to_owned(),
        more => panic!("{more:?}"),
    };
    assert_eq!(one(&old), "holds");
    assert_eq!(one(&new), "holds");
    assert_eq!(one(b""), "empty");
    assert_eq!(one(&old[1..]), "wrong-length");
    assert_eq!(one(&sectors("aaaaccccab1")), "mixed");
    assert_eq!(one(&sectors("aaaaaaaa.d2")), "mixed", "an old chunk and a new one");
    assert_eq!(one(&sectors("aaaa....ab1")), "zero-filled");
    assert_eq!(one(&sectors("........ab1")), "zero-filled");
    assert_eq!(one(&sectors("cccccccca.2")), "zero-filled", "zeros where no version has any");
    assert_eq!(one(&sectors("cccccccc.b2")), "mixed", "zeros where a version has them");
    assert_eq!(one(&sectors("aaaa..x.ab1")), "garbage");
    assert_eq!(one(&sectors("aaaaccccxxx")[..old.len()]), "mixed", "only the deciding chunk counts");
    let zeros = [sectors("cccccccc.d"), vec![0; 10]].concat();
    assert_eq!(one(&zeros), "zero-filled", "a piece shorter than a sector");
    assert_eq!(kinds(&rules, None, &NEVER), ["atomic-replace missing"]);
}

#[test]
fn what_is_no_file_or_cannot_be_read() {
    let trace = trace(&[("f", b"old")], save("new!"));
    let rules = rules(&trace, &[]);
    let judge = |entries: Vec<(&str, EntryKind)>| {
        let entries = entries.into_iter().map(|(path, kind)| (path.into(), kind)).collect();
        let findings = rules.judge(&observation(entries), &NEVER);
        findings
            .iter()
            .map(|finding| format!("{}: {}", finding.kind, observed_text(&finding.observed)))
            .collect::<Vec<_>>()
            .join("; ")
    };
    let failed = Seen::Failed { candidates: vec![0], offset: 0, errno: 5 };
    let short = Seen::Differs { candidates: vec![0], offset: 0, chunk: vec![] };
    let file = |seen| EntryKind::File { size: 3, seen };
    insta::assert_snapshot!(
        [
            judge(vec![("f", EntryKind::Directory { error: None })]),
            judge(vec![("f", EntryKind::Symlink { target: b"g".to_vec() })]),
            judge(vec![("f", EntryKind::Special { mode: 0o010644 })]),
            judge(vec![("f", EntryKind::Unreadable { errno: 117 })]),
            judge(vec![("f", file(failed))]),
            judge(vec![("f", file(short))]),
            judge(vec![("", EntryKind::Directory { error: Some(74) })]),
            judge(vec![("f", file(Seen::Equals { candidates: vec![9] }))]),
            judge(vec![("f", file(Seen::NotRead))]),
        ]
        .join("\n")
    );
}

#[test]
fn a_file_system_that_does_not_mount_is_one_finding() {
    let trace = trace(&[("f", b"old")], save("new"));
    let rules = rules(&trace, &[]);
    let judge = |mount| {
        let seen = Observation { mount, entries: BTreeMap::new() };
        let findings = rules.judge(&seen, &NEVER);
        assert!(findings.len() == 1 && findings[0].fails && findings[0].path.is_root());
        format!("{} {}: {}", findings[0].invariant, findings[0].kind, observed_text(&findings[0].observed))
    };
    let refused = Mount::Refused { errno: 117, log: "EXT4-fs: bad superblock\n".into() };
    assert_eq!(judge(refused), "mountable unmountable: mount fails (errno 117, EUCLEAN, a damaged structure)");
    assert_eq!(judge(Mount::Died { reason: "panic".into() }), "mountable guest-died: panic");
}

/// Nothing replaces them, and still each is complete.
#[test]
fn versions_that_are_written_in_place_are_versions() {
    let close = || Call::Close { handle: program::Handle(1) };
    let write = |text: &[u8]| vec![open(1, "f", 1), write(1, 0, text), fsync(1), close()];
    let save = |text: &[u8]| [write(text), vec![print(std::str::from_utf8(text).unwrap())]].concat();
    let atomic = Wanted::AtomicReplace { path: "f".into() };
    let one = wants_durable("one").remove(0);
    let trace = trace(&[("f", b"zer")], [save(b"one"), write(b"and"), save(b"two")].concat());
    let (automatic, wanted) = (rules(&trace, &[]), rules(&trace, &[atomic, one]));
    let none = Vec::<String>::new();
    for text in [b"zer", b"one", b"and", b"two"] {
        assert_eq!(kinds(&automatic, Some(text), &NEVER), none);
        assert_eq!(kinds(&wanted, Some(text), &NEVER), none);
    }
    assert_eq!(kinds(&automatic, Some(b"onr"), &NEVER), ["atomic-replace mixed"]);
    assert_eq!(kinds(&automatic, Some(b"X  "), &NEVER), ["atomic-replace garbage"]);
    let after_one = at(5);
    assert_eq!(kinds(&wanted, Some(b"zer"), &after_one), ["durable-after \"one\" stale"]);
    assert_eq!(kinds(&wanted, Some(b"one"), &after_one), none);
    assert_eq!(kinds(&wanted, Some(b"and"), &at(8)), none, "synced, though nobody was told");
    assert_eq!(kinds(&wanted, Some(b"and"), &after_one), ["durable-after \"one\" stale"], "not begun");
}

#[test]
fn zeros_begin_at_a_byte() {
    let (old, new) = (b"old!".repeat(800), b"new!".repeat(950));
    let trace = trace(&[("f", &old)], vec![open(1, "f", 2), write(1, 0, &new), fsync(1)]);
    let rules = rules(&trace, &[]);
    let zeros = "zero-filled: 3,800 bytes: the old content, then zeros from byte 3,200 on";
    assert_eq!(found(&rules, Some(&[&old[..], &[0; 600]].concat())), zeros);
    let mixed = [&old[..1000], &new[1000..]].concat();
    assert_eq!(found(&rules, Some(&mixed)), "mixed: 3,800 bytes: old bytes 0–999, new bytes 1,000–3,799");
}

/// The finding tells what was read for it, the words what is there.
#[test]
fn a_file_that_is_read_whole_is_told_whole() {
    let shorten = Call::Truncate { target: program::Target::Path("f".into()), length: 2048 };
    let old = vec![b'A'; 8192];
    let trace = trace(&[("f", &old)], vec![shorten]);
    let rules = rules(&trace, &[]);
    let mixture = [vec![b'A'; 2048], vec![0; 2048], vec![b'A'; 4096]].concat();
    let path = RelPath::from("f");
    let guided = observation(vec![(path.clone(), see(rules.read_plan(), &path, &mixture))]);
    let whole = EntryKind::File { size: 8192, seen: Seen::Bytes(Arc::new(mixture)) };
    let whole = observation(vec![(path.clone(), whole)]);
    let finding = rules.judge(&guided, &NEVER).remove(0);
    assert_eq!(finding.kind, Kind::ZeroFilled);
    assert_eq!(observed_text(&finding.observed), "8,192 bytes: old bytes 0–2,047, zeros 2,048–4,095, …");
    assert_eq!(rules.in_ranges(&finding, &guided), None);
    let words = "8,192 bytes: old bytes 0–2,047, zeros 2,048–4,095, old bytes 4,096–8,191";
    let told = rules.in_ranges(&finding, &whole).map(|observed| observed_text(&observed));
    assert_eq!(told.as_deref(), Some(words));
    assert_eq!(rules.not_versions(&whole), [(path, Kind::ZeroFilled)]);
}

#[test]
fn a_symbolic_link_is_replaced_atomically_too() {
    let calls = vec![
        Call::Symlink { path: "f".into(), target: b"v1".to_vec() },
        Call::Symlink { path: "tmp".into(), target: b"v2".to_vec() },
        rename("tmp", "f"),
    ];
    let trace = trace(&[], calls);
    let rules = rules(&trace, &[]);
    let judge = |target: &[u8]| {
        let seen = observation(vec![("f".into(), EntryKind::Symlink { target: target.to_vec() })]);
        rules.judge(&seen, &NEVER).first().map(|finding| finding.kind)
    };
    assert_eq!(judge(b"v1"), None);
    assert_eq!(judge(b"v2"), None);
    assert_eq!(judge(b""), Some(Kind::Garbage));
    assert_eq!(kinds(&rules, Some(b""), &NEVER), ["atomic-replace not-a-file"]);
}
