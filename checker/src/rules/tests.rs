use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::testing::{CREATE, TRUNCATE, exit, fsync, observation, open, print, rename, see, trace, unlink, write};
use crate::{EntryKind, Seen};

fn rules(trace: &Trace, wanted: &[Wanted]) -> Rules {
    Rules::new(trace, &History::new(trace), wanted).unwrap()
}

const NEVER: Moment = Moment { begun_earliest: 0, ended_latest: 0 };

fn at(op: usize) -> Moment {
    Moment { begun_earliest: op, ended_latest: op }
}

fn wants_durable(ack: &str) -> Vec<Wanted> {
    vec![Wanted::DurableAfter { ack: Ack::Text(ack.into()), path: None }]
}

/// The kinds found of `f` with this content, `None` for no such file, as `invariant kind`.
fn kinds(rules: &Rules, content: Option<&[u8]>, moment: &Moment) -> Vec<String> {
    let path = RelPath::from("f");
    let seen = content.map(|content| (path.clone(), see(rules.guide(), &path, content)));
    let findings = rules.judge(&observation(seen.into_iter().collect()), moment);
    findings.iter().map(|finding| format!("{} {}", finding.invariant, finding.kind)).collect()
}

fn save(text: &str) -> Vec<Call> {
    vec![open(1, "tmp", CREATE), write(1, 0, text.as_bytes()), rename("tmp", "f")]
}

/// A file of sectors: each letter fills 512 bytes, `.` with zeros; a digit makes 10 bytes.
fn sectors(letters: &str) -> Vec<u8> {
    let sector = |c: char| match c {
        '.' => vec![0; 512],
        digit if digit.is_ascii_digit() => vec![digit as u8; 10],
        letter => vec![letter as u8; 512],
    };
    letters.chars().flat_map(sector).collect()
}

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
        findings.iter().map(|finding| format!("{}: {}", finding.kind, finding.observed)).collect::<Vec<_>>().join("; ")
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
        format!("{} {}: {}", findings[0].invariant, findings[0].kind, findings[0].observed)
    };
    let refused = Mount::Refused { errno: 117, log: "EXT4-fs: bad superblock\n".into() };
    assert_eq!(judge(refused), "mountable unmountable: mount fails (errno 117, EUCLEAN, a damaged structure)");
    assert_eq!(judge(Mount::Died { reason: "panic".into() }), "mountable guest-died: panic");
}

#[test]
fn durability_after_exit_is_told_but_fails_only_if_wanted() {
    let trace = trace(&[("f", b"old")], [save("new"), vec![exit()]].concat());
    let automatic = rules(&trace, &[]);
    assert!(automatic.has_exit());
    assert_eq!(kinds(&automatic, Some(b"old"), &at(3)), Vec::<String>::new());
    assert_eq!(kinds(&automatic, Some(b"old"), &at(4)), ["durable-after exit stale"]);
    assert_eq!(kinds(&automatic, Some(b"new"), &at(4)), Vec::<String>::new());
    assert_eq!(kinds(&automatic, Some(b""), &at(4)), ["atomic-replace empty", "durable-after exit empty"]);
    assert_eq!(kinds(&automatic, None, &at(4)), ["atomic-replace missing", "durable-after exit missing"]);
    let fails = |rules: &Rules| rules.judge(&observation(vec![]), &at(4)).iter().map(|f| f.fails).collect::<Vec<_>>();
    assert_eq!(fails(&automatic), [true, false]);
    let wanted = rules(&trace, &[Wanted::DurableAfter { ack: Ack::Exit, path: Some("f".into()) }]);
    assert_eq!(fails(&wanted), [true]);
}

#[test]
fn only_promises_that_were_given_count_and_the_last_of_them() {
    let calls = [save("v1"), vec![print("sa"), print("ved\n")], save("v2"), vec![print("saved\n"), exit()]].concat();
    let trace = trace(&[("f", b"old")], calls);
    let rules = rules(&trace, &wants_durable("saved"));
    let stale = |content: &[u8], op| kinds(&rules, Some(content), &at(op)).first().cloned().unwrap_or_default();
    assert_eq!(stale(b"old", 4), "", "the text is complete with op 4 only");
    assert_eq!(stale(b"old", 5), "durable-after \"saved\" stale");
    assert_eq!(stale(b"v1", 5), "");
    assert_eq!(stale(b"v2", 5), "durable-after \"saved\" stale", "what cannot have been written yet is not later");
    assert_eq!(stale(b"v2", 7), "", "the rename may be under way");
    assert_eq!(stale(b"v1", 8), "");
    assert_eq!(stale(b"v1", 9), "durable-after \"saved\" stale");
    assert_eq!(stale(b"old", 9), "durable-after \"saved\" stale");
    assert_eq!(stale(b"v2", 9), "");
}

#[test]
fn going_back_to_an_old_content_is_told_apart_by_time() {
    let calls = [save("b"), vec![print("ok")], save("a"), vec![print("bye")]].concat();
    let trace = trace(&[("f", b"a")], calls);
    let rules = rules(&trace, &wants_durable("ok"));
    assert_eq!(kinds(&rules, Some(b"a"), &at(4)), ["durable-after \"ok\" stale"]);
    assert_eq!(kinds(&rules, Some(b"a"), &at(6)), Vec::<String>::new());
}

#[test]
fn absence_is_stale_before_the_first_version_and_right_after_a_promised_removal() {
    let calls = [save("new"), vec![print("made"), unlink("f"), print("gone")]].concat();
    let trace = trace(&[], calls);
    // Neither there before nor after: it must be named.
    let durable = |ack: &str| Wanted::DurableAfter { ack: Ack::Text(ack.into()), path: Some("f".into()) };
    let rules = rules(&trace, &[durable("made"), durable("gone")]);
    assert_eq!(kinds(&rules, None, &at(3)), Vec::<String>::new());
    assert_eq!(kinds(&rules, Some(b"new"), &at(6)), ["durable-after \"gone\" stale"]);
    assert_eq!(kinds(&rules, None, &at(6)), Vec::<String>::new());
}

#[test]
fn a_log_that_grows_keeps_its_promises() {
    let line = |offset, text: &str| vec![write(1, offset, text.as_bytes()), fsync(1), print("ok")];
    let calls = [vec![open(1, "f", CREATE)], line(0, "aa"), line(2, "bb"), vec![write(1, 0, b"X")]].concat();
    let trace = trace(&[], calls);
    let rules = rules(&trace, &wants_durable("ok"));
    let one = |content: &[u8], op| kinds(&rules, Some(content), &at(op)).first().cloned().unwrap_or_default();
    assert_eq!(one(b"", 3), "", "nothing is promised yet");
    assert_eq!(one(b"", 4), "durable-after \"ok\" empty");
    assert_eq!(one(b"a", 4), "durable-after \"ok\" wrong-length");
    assert_eq!(one(b"aa", 4), "");
    assert_eq!(one(b"aab", 4), "", "part of the next line");
    assert_eq!(one(b"aa\0\0", 4), "", "a next line that is not there yet");
    assert_eq!(one(b"abab", 4), "durable-after \"ok\" garbage");
    assert_eq!(one(b"aa", 7), "durable-after \"ok\" stale");
    assert_eq!(one(b"aabb", 7), "");
    assert_eq!(one(b"Xabb", 7), "", "the last write may be under way");
}

#[test]
fn a_second_save_in_place_breaks_the_promise_of_the_first() {
    let save = |text: &[u8]| vec![open(1, "f", TRUNCATE), write(1, 0, text), fsync(1), print("ok")];
    let trace = trace(&[], [save(b"one"), save(b"two!")].concat());
    let rules = rules(&trace, &wants_durable("ok"));
    assert_eq!(kinds(&rules, Some(b"one"), &at(5)), Vec::<String>::new());
    assert_eq!(kinds(&rules, Some(b""), &at(5)), ["durable-after \"ok\" empty"]);
    assert_eq!(kinds(&rules, Some(b"two!"), &at(5)), Vec::<String>::new());
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

#[test]
fn the_guide_asks_for_no_more_than_the_versions() {
    let trace = trace(&[("f", b"old"), ("g", b"g")], [save("new"), vec![exit()]].concat());
    let rules = rules(&trace, &[]);
    let guide = rules.guide();
    assert_eq!(guide.contents, [Arc::new(b"old".to_vec()), Arc::new(b"new".to_vec())]);
    assert_eq!(guide.files, BTreeMap::from([("f".into(), vec![0, 1])]));
    assert_eq!(guide.read_all_up_to, 0);
}

#[test]
fn mistakes_are_named() {
    let calls = [save("new"), vec![print("saved it\n"), Call::Mkdir { path: "d".into(), mode: 0o755 }]].concat();
    let trace = trace(&[("f", b"old")], calls);
    let error = |wanted| Rules::new(&trace, &History::new(&trace), &[wanted]).unwrap_err().to_string();
    let nothing = crate::testing::trace(&[("f", b"old")], vec![]);
    insta::assert_snapshot!(
        [
            error(Wanted::AtomicReplace { path: "g".into() }),
            error(Wanted::AtomicReplace { path: "d".into() }),
            error(Wanted::DurableAfter { ack: Ack::Text("Saved".into()), path: None }),
            error(Wanted::DurableAfter { ack: Ack::Exit, path: None }),
            Rules::new(&nothing, &History::new(&nothing), &[]).unwrap_err().to_string(),
        ]
        .join("\n")
    );
}

/// Contents made of few kinds of sectors, so that they often agree in part.
fn a_content() -> impl Strategy<Value = Vec<u8>> {
    let sector = proptest::sample::select(vec!['a', 'b', '.', '1']);
    proptest::collection::vec(sector, 0..20).prop_map(|letters| sectors(&letters.into_iter().collect::<String>()))
}

/// A content, cut so that it often has the length of another.
fn a_found_content() -> impl Strategy<Value = Vec<u8>> {
    (a_content(), proptest::option::of((0usize..12_000, any::<u8>()))).prop_map(|(mut content, change)| {
        if let Some((at, byte)) = change
            && let Some(old) = content.get_mut(at)
        {
            *old = byte;
        }
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The guided reading and the whole content lead to the same findings, whatever is found.
    #[test]
    fn reading_less_changes_no_finding(
        old in proptest::option::of(a_content()),
        writes in proptest::collection::vec((a_content(), 0u64..3, any::<bool>()), 1..5),
        found in a_found_content(),
        pick in any::<proptest::sample::Index>(),
        stretch in any::<bool>(),
        op in 0usize..20,
    ) {
        let mut calls = vec![];
        for (content, offset, ack) in &writes {
            calls.extend([open(1, "tmp", CREATE), write(1, 512 * offset, content), rename("tmp", "f")]);
            calls.extend(ack.then(|| print("ok")));
        }
        calls.push(print("ok"));
        calls.push(exit());
        let before: Vec<(&str, &[u8])> = old.iter().map(|old| ("f", old.as_slice())).collect();
        let trace = trace(&before, calls);
        let path = RelPath::from("f");
        let wanted = [Wanted::AtomicReplace { path: path.clone() }, wants_durable("ok").remove(0)];
        let rules = rules(&trace, &wanted);
        let mut found = found;
        if stretch && !rules.guide().contents.is_empty() {
            found.resize(pick.get(&rules.guide().contents).len(), 0);
        }
        let guided = observation(vec![(path.clone(), see(rules.guide(), &path, &found))]);
        let size = found.len() as u64;
        let whole = EntryKind::File { size, seen: Seen::Bytes(Arc::new(found)) };
        let whole = observation(vec![(path, whole)]);
        prop_assert_eq!(rules.judge(&guided, &at(op)), rules.judge(&whole, &at(op)));
    }
}
