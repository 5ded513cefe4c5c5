use std::num::NonZeroU64;
use std::sync::Arc;

use program::Call;
use proptest::prelude::*;

use super::*;
use crate::testing::{
    CREATE, TRUNCATE, exit, fsync, observation, observed_text, open, print, rename, see, trace, unlink, write,
};
use crate::{Changed, EntryKind, GarbageTail, Seen};

fn rules(trace: &Trace, wanted: &[Wanted]) -> Rules {
    Rules::new(trace, &History::new(trace), wanted).unwrap()
}

const NEVER: CrashWindow = CrashWindow { begun_earliest: 0, ended_latest: 0 };

fn at(op: usize) -> CrashWindow {
    CrashWindow { begun_earliest: op, ended_latest: op }
}

fn wants_durable(ack: &str) -> Vec<Wanted> {
    vec![Wanted::DurableAfter { ack: Ack::Text(ack.into()), path: None }]
}

/// The kinds found of `f` with this content, `None` for no such file, as `invariant kind`.
fn kinds(rules: &Rules, content: Option<&[u8]>, window: &CrashWindow) -> Vec<String> {
    let path = RelPath::from("f");
    let seen = content.map(|content| (path.clone(), see(rules.read_plan(), &path, content)));
    let findings = rules.judge(&observation(seen.into_iter().collect()), window);
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

/// It has no older version that could have come back.
#[test]
fn a_promised_file_that_never_was_there_is_missing() {
    let new = trace(&[], [save("new"), vec![exit()]].concat());
    assert_eq!(kinds(&rules(&new, &[]), None, &at(4)), ["durable-after exit missing"]);
    let again = trace(&[("f", b"old")], [save("new"), vec![exit()]].concat());
    assert_eq!(kinds(&rules(&again, &[]), Some(b"old"), &at(4)), ["durable-after exit stale"]);
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

/// A log that writes whole pages, or blocks past the page cache, writes its last one again with more in it.
#[test]
fn a_log_that_writes_its_last_block_again_keeps_its_promises() {
    let none = Vec::<String>::new();
    let log = |again: Vec<Call>| {
        let record = vec![open(1, "f", CREATE), write(1, 0, b"aa"), fsync(1), print("ok")];
        rules(&trace(&[], [record, again, vec![fsync(1), print("ok")]].concat()), &wants_durable("ok"))
    };
    let at_once = log(vec![write(1, 0, b"aabb")]);
    for content in [&b"aa"[..], b"aab", b"aa\0\0", b"aabb"] {
        assert_eq!(kinds(&at_once, Some(content), &at(5)), none, "{content:?}");
    }
    assert_eq!(kinds(&at_once, Some(b"a\0bb"), &at(5)), ["durable-after \"ok\" zero-filled"]);
    assert_eq!(kinds(&at_once, Some(b"aa"), &at(7)), ["durable-after \"ok\" stale"]);
    let nothing_new = log(vec![write(1, 0, b"aa"), write(1, 2, b"bb")]);
    assert_eq!(kinds(&nothing_new, Some(b"aab"), &at(6)), none);
    let copied =
        Call::CopyRange { from: program::Handle(2), from_offset: 1, to: program::Handle(1), to_offset: 1, length: 3 };
    let copied = log(vec![open(2, "g", CREATE), write(2, 0, b"Xabb"), copied]);
    assert_eq!(kinds(&copied, Some(b"aa\0\0"), &at(6)), none);
    let changed = log(vec![write(1, 0, b"abba")]);
    assert_eq!(kinds(&changed, Some(b"ab"), &at(5)), ["durable-after \"ok\" mixed"], "in place");
}

/// A database that appends a page and then points to it from its header: while the header's write is under way, none of
/// it need have reached the disk.
#[test]
fn what_grew_keeps_the_promise_until_what_comes_next_is_there() {
    let commit = |page: &str, offset, header: &[u8]| {
        vec![write(1, offset, page.as_bytes()), fsync(1), write(1, 0, header), fsync(1), print("ok")]
    };
    let calls = [vec![open(1, "f", CREATE)], commit("BBBB", 5, b"2"), commit("CCCC", 9, b"3")].concat();
    let trace = trace(&[("f", b"1AAAA")], calls);
    let rules = rules(&trace, &wants_durable("ok"));
    for ended in 8..=10 {
        assert_eq!(kinds(&rules, Some(b"2AAAABBBBCCCC"), &at(ended)), Vec::<String>::new(), "{ended}");
        assert_eq!(kinds(&rules, Some(b"2AAAABBBB"), &at(ended)), Vec::<String>::new(), "{ended}");
        assert_eq!(kinds(&rules, Some(b"1AAAABBBBCCCC"), &at(ended)), ["durable-after \"ok\" mixed"], "{ended}");
        assert_eq!(kinds(&rules, Some(b"XAAAABBBBCCCC"), &at(ended)), ["durable-after \"ok\" garbage"], "{ended}");
    }
    assert_eq!(kinds(&rules, Some(b"3AAAABBBBCCCC"), &at(10)), Vec::<String>::new());
    assert_eq!(kinds(&rules, Some(b"2AAAABBBBCCCC"), &at(11)), ["durable-after \"ok\" stale"], "what was synced last");
}

/// Every file begins with nothing, so also one that a promise says was emptied.
#[test]
fn what_was_promised_and_more_is_no_older_content() {
    let (none, stale) = (Vec::<String>::new(), ["durable-after \"ok\" stale"]);
    let start = |old: &[u8], calls: Vec<Call>| rules(&trace(&[("f", old)], calls), &wants_durable("ok"));
    let shorten = |length| Call::Truncate { target: program::Target::Path("f".into()), length };
    let emptied =
        |record: &[u8]| start(b"old", vec![open(1, "f", TRUNCATE), print("ok"), write(1, 0, record), fsync(1)]);
    for ended in 2..=3 {
        assert_eq!(kinds(&emptied(b"x"), Some(b"old"), &at(ended)), stale, "{ended}");
        assert_eq!(kinds(&emptied(b"new"), Some(b"old"), &at(ended)), stale, "{ended}");
        assert_eq!(kinds(&emptied(b"older"), Some(b"old"), &at(ended)), none, "the beginning of what is written");
        for content in [&b""[..], b"\0", b"x"] {
            assert_eq!(kinds(&emptied(b"x"), Some(content), &at(ended)), none, "{content:?}");
        }
    }
    let shorter = start(b"aaabbb", vec![open(1, "f", 1), shorten(3), print("ok"), write(1, 3, b"c")]);
    assert_eq!(kinds(&shorter, Some(b"aaabbb"), &at(3)), stale);
    assert_eq!(kinds(&shorter, Some(b"aaac"), &at(3)), none);
    let reserved = start(b"aa\0\0", vec![open(1, "f", 1), shorten(2), print("ok"), write(1, 2, b"bb")]);
    assert_eq!(kinds(&reserved, Some(b"aa\0\0"), &at(3)), none, "a size without its data");
    let again = vec![write(1, 0, b"ol"), write(1, 2, b"d"), write(1, 3, b"er")];
    let again = start(b"old", [vec![open(1, "f", TRUNCATE), print("ok")], again].concat());
    assert_eq!(kinds(&again, Some(b"old"), &at(2)), stale);
    assert_eq!(kinds(&again, Some(b"old"), &at(3)), none);
    let renamed = |data: &[u8], last: Vec<Call>| {
        let calls = vec![open(1, "f", TRUNCATE), print("ok"), open(2, "tmp", CREATE), write(2, 0, data)];
        start(b"old", [calls, vec![rename("tmp", "f")], last].concat())
    };
    assert_eq!(kinds(&renamed(b"older", vec![]), Some(b"old"), &at(4)), none);
    assert_eq!(kinds(&renamed(b"newer", vec![]), Some(b"old"), &at(4)), stale);
    let more = |data| renamed(data, vec![write(2, 0, b"x")]);
    assert_eq!(kinds(&more(b"newer"), Some(b"old"), &at(5)), none, "not known what was renamed");
    assert_eq!(kinds(&more(b"ne"), Some(b"old"), &at(5)), stale, "too little for that");
    // What an earlier promise was about may be no version.
    let twice = vec![open(1, "f", 1), write(1, 3, b"bbb"), print("ok"), shorten(3), print("ok"), write(1, 3, b"c")];
    let twice = start(b"aaa", twice);
    assert_eq!(kinds(&twice, Some(b"aaabbb"), &at(3)), none);
    assert_eq!(kinds(&twice, Some(b"aaabbb"), &at(5)), stale);
}

/// Nothing is promised of a segment that is begun after the promise, whatever a crash makes of it; of a journal that was
/// promised to be gone, that it is not the old one.
#[test]
fn what_is_made_after_a_promise_was_not_promised() {
    let record = || vec![open(1, "f", CREATE), write(1, 0, b"record"), fsync(1), print("ok")];
    let none = Vec::<String>::new();
    let begun = rules(&trace(&[], [vec![print("ok")], record()].concat()), &wants_durable("ok"));
    for content in [None, Some(&b""[..]), Some(b"rec"), Some(b"\0\0\0\0\0\0"), Some(b"record")] {
        assert_eq!(kinds(&begun, content, &at(2)), none, "{content:?}");
    }
    assert_eq!(kinds(&begun, Some(b""), &at(0)), none, "no promise");
    assert_eq!(kinds(&begun, Some(b""), &at(5)), ["durable-after \"ok\" empty"]);
    let again = [vec![unlink("f"), print("ok")], record()].concat();
    let again = rules(&trace(&[("f", b"old")], again), &wants_durable("ok"));
    for content in [None, Some(&b""[..]), Some(b"rec"), Some(b"record")] {
        assert_eq!(kinds(&again, content, &at(3)), none, "{content:?}");
    }
    assert_eq!(kinds(&again, Some(b"old"), &at(3)), ["durable-after \"ok\" stale"]);
}

/// The journal of each transaction may begin like that of the one before.
#[test]
fn what_is_made_after_a_promise_may_begin_like_the_old() {
    let (none, stale) = (Vec::<String>::new(), ["durable-after \"ok\" stale"]);
    let removed = |new: Vec<Call>| {
        let calls = [vec![unlink("f"), print("ok")], new].concat();
        rules(&trace(&[("f", b"old")], calls), &wants_durable("ok"))
    };
    let journal = removed(vec![open(1, "f", CREATE), write(1, 0, b"older")]);
    assert_eq!(kinds(&journal, Some(b"old"), &at(2)), stale);
    assert_eq!(kinds(&journal, Some(b"old"), &at(3)), none);
    let renamed = |data| removed(vec![open(1, "tmp", CREATE), write(1, 0, data), rename("tmp", "f")]);
    assert_eq!(kinds(&renamed(b"older"), Some(b"old"), &at(4)), none);
    assert_eq!(kinds(&renamed(b"newer"), Some(b"old"), &at(4)), stale);
}

#[test]
fn what_is_complete_again_is_later_than_a_promise_in_between() {
    let record = || vec![open(1, "f", CREATE), write(1, 0, b"J"), fsync(1), unlink("f"), print("ok")];
    let journal = trace(&[], [record(), record(), vec![exit()]].concat());
    let durable = Wanted::DurableAfter { ack: Ack::Text("ok".into()), path: Some("f".into()) };
    let journal = rules(&journal, &[durable]);
    let none = Vec::<String>::new();
    assert_eq!(kinds(&journal, Some(b"J"), &at(5)), ["durable-after \"ok\" stale"]);
    for ended in 6..=8 {
        assert_eq!(kinds(&journal, Some(b"J"), &at(ended)), none, "{ended}");
    }
    assert_eq!(kinds(&journal, Some(b"J"), &at(10)), ["durable-after \"ok\" stale"]);
    let there_and_back = [open(1, "f", 1), write(1, 0, b"P"), print("ok"), write(1, 0, b"J")].to_vec();
    let there_and_back = rules(&trace(&[("f", b"J")], [there_and_back, save("N")].concat()), &wants_durable("ok"));
    assert_eq!(kinds(&there_and_back, Some(b"J"), &at(2)), none, "nothing is promised yet");
    assert_eq!(kinds(&there_and_back, Some(b"J"), &at(4)), none);
}

/// A log that writes into space which it has reserved.
#[test]
fn reserved_space_is_not_what_was_promised() {
    let reserve = Call::Allocate { handle: program::Handle(1), mode: 0, offset: 0, length: 16 };
    let record = |offset, text: &[u8]| vec![write(1, offset, text), fsync(1), print("ok")];
    let begun = [vec![open(1, "f", CREATE), reserve], record(0, b"one")].concat();
    let judge = |rules: &Rules, text: &str, op| {
        let content: Vec<u8> = text.bytes().map(|byte| if byte == b'.' { 0 } else { byte }).collect();
        kinds(rules, Some(&content), &at(op)).join(", ")
    };
    let in_order = rules(&trace(&[], [begun.clone(), record(8, b"two")].concat()), &wants_durable("ok"));
    let found = |text: &str, op| judge(&in_order, text, op);
    for text in ["one.............", "one.....two.....", "one.....t.o.....", "one.....two.....more"] {
        assert_eq!(found(text, 5), "", "{text}");
    }
    assert_eq!(found("one....", 5), "durable-after \"ok\" wrong-length");
    assert_eq!(found("on......two.....", 5), "durable-after \"ok\" zero-filled");
    assert_eq!(found("on......tXo.....", 5), "durable-after \"ok\" garbage");
    assert_eq!(found("one.............", 8), "durable-after \"ok\" stale");
    let backwards = [begun, vec![write(1, 12, b"two"), write(1, 8, b"six")]].concat();
    let backwards = rules(&trace(&[], backwards), &wants_durable("ok"));
    for text in ["one.............", "one.........two.", "one.....six.....", "one.....six.two."] {
        assert_eq!(judge(&backwards, text, 7), "", "{text}");
    }
    assert_eq!(judge(&backwards, "one.....six.two.", 5), "durable-after \"ok\" stale", "not begun");
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
fn what_is_printed_in_the_midst_of_a_save_excuses_nothing() {
    let save = vec![open(1, "f", TRUNCATE), print("saving …\n"), write(1, 0, b"new"), fsync(1), print("saved\n")];
    let trace = trace(&[("f", b"old")], save);
    let named = Wanted::DurableAfter { ack: Ack::Text("saving".into()), path: Some("f".into()) };
    for wanted in [vec![], vec![Wanted::AtomicReplace { path: "f".into() }, named]] {
        let rules = rules(&trace, &wanted);
        assert_eq!(kinds(&rules, Some(b""), &at(1)), ["atomic-replace empty"]);
        assert_eq!(kinds(&rules, Some(b"\0\0\0"), &at(1)), ["atomic-replace zero-filled"]);
        assert_eq!(kinds(&rules, Some(b"new"), &at(1)), Vec::<String>::new());
    }
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

#[test]
fn the_read_plan_asks_for_no_more_than_the_versions() {
    let trace = trace(&[("f", b"old"), ("g", b"g")], [save("new"), vec![exit()]].concat());
    let rules = rules(&trace, &[]);
    let read_plan = rules.read_plan();
    assert_eq!(read_plan.contents, [Arc::new(b"old".to_vec()), Arc::new(b"new".to_vec())]);
    let candidate = |content, size| Candidate { content, sizes: Sizes::only(size) };
    assert_eq!(read_plan.files, BTreeMap::from([("f".into(), vec![candidate(0, 3), candidate(1, 3)])]));
    assert_eq!(read_plan.read_all_up_to, 0);
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
        if stretch && !rules.read_plan().contents.is_empty() {
            found.resize(pick.get(&rules.read_plan().contents).len(), 0);
        }
        let guided = observation(vec![(path.clone(), see(rules.read_plan(), &path, &found))]);
        let size = found.len() as u64;
        let whole = EntryKind::File { size, seen: Seen::Bytes(Arc::new(found)) };
        let whole = observation(vec![(path, whole)]);
        prop_assert_eq!(rules.judge(&guided, &at(op)), rules.judge(&whole, &at(op)));
    }
}

/// A log that begins with `old` and gets these writes, each at the end.
fn log(old: Option<&[u8]>, writes: &[&[u8]]) -> Trace {
    let mut calls = vec![open(1, "f", CREATE)];
    let mut end = old.map_or(0, <[u8]>::len) as u64;
    for data in writes {
        calls.push(write(1, end, data));
        end += data.len() as u64;
    }
    let before: Vec<(&str, &[u8])> = old.iter().map(|old| ("f", *old)).collect();
    trace(&before, calls)
}

fn append_only(record: Option<Record>, garbage_tail: Option<GarbageTail>) -> [Wanted; 1] {
    [Wanted::AppendOnly { path: "f".into(), record, garbage_tail }]
}

/// What is found of `f` with this content, `None` for no such file; the empty text if nothing is wrong.
fn found(rules: &Rules, content: Option<&[u8]>) -> String {
    let path = RelPath::from("f");
    let seen = content.map(|content| (path.clone(), see(rules.read_plan(), &path, content)));
    let findings = rules.judge(&observation(seen.into_iter().collect()), &NEVER);
    let text = |finding: &Finding| format!("{}: {}", finding.kind, observed_text(&finding.observed));
    findings.iter().map(text).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_log_is_its_old_content_and_whole_lines() {
    let trace = log(Some(b"old\n"), &[b"one\n", b"tw", b"o\nthree\n"]);
    let rules = rules(&trace, &append_only(Some(Record::Line), None));
    for right in ["old\n", "old\none\n", "old\none\ntwo\n", "old\none\ntwo\nthree\n"] {
        assert_eq!(found(&rules, Some(right.as_bytes())), "", "{right}");
    }
    let texts =
        ["", "ol", "old\non", "old\none\ntw", "olD\n", "old\n\0\0\0\0", "old\ntwo\n", "old\none\ntwo\nthree\nx"];
    let texts = texts.map(|text| format!("{text:?}: {}", found(&rules, Some(text.as_bytes()))));
    insta::assert_snapshot!(format!("{}\nnone: {}", texts.join("\n"), found(&rules, None)));
}

#[test]
fn a_log_of_records_of_one_length_or_of_none() {
    let trace = log(Some(b"head"), &[b"aabb", b"ccdd"]);
    let two = rules(&trace, &append_only(NonZeroU64::new(2).map(Record::Bytes), None));
    let free = rules(&trace, &append_only(None, None));
    for right in ["head", "headaa", "headaabb", "headaabbccdd"] {
        assert_eq!(found(&two, Some(right.as_bytes())), "", "{right}");
        assert_eq!(found(&free, Some(right.as_bytes())), "", "{right}");
    }
    assert_eq!(found(&two, Some(b"headaab")), "torn-record: 7 bytes, where records end at byte 6 and at byte 8");
    assert_eq!(found(&free, Some(b"headaab")), "");
    for rules in [two, free] {
        assert!(found(&rules, Some(b"headab")).starts_with("garbage"), "{}", found(&rules, Some(b"headab")));
        assert!(found(&rules, Some(b"hea")).starts_with("truncated"));
    }
}

#[test]
fn where_the_reader_drops_its_end_only_the_old_part_of_a_log_counts() {
    let trace = log(Some(b"old\n"), &[b"one\n", b"two\n"]);
    let rules = rules(&trace, &append_only(Some(Record::Line), Some(GarbageTail::Dropped)));
    for right in
        ["old\n", "old\non", "old\none\ntwo\n", "old\n\0\0\0", "old\nwhatever, and much longer than it ever was"]
    {
        assert_eq!(found(&rules, Some(right.as_bytes())), "", "{right}");
    }
    assert_eq!(found(&rules, Some(b"ol")), "truncated: 2 bytes, where the 4 from before the run must stay");
    assert_eq!(found(&rules, Some(b"\0\0\0\0one\n")), "zero-filled: 8 bytes: zeros from byte 0 on");
    assert_eq!(found(&rules, Some(b"oldXone\n")), "garbage: 8 bytes: from byte 3 on, what was never written there");
    assert_eq!(found(&rules, None), "missing: no such file");
}

#[test]
fn a_new_log_may_be_absent_or_empty() {
    let rules = rules(&log(None, &[b"one\n"]), &append_only(Some(Record::Line), None));
    assert_eq!([None, Some(&b""[..]), Some(b"one\n")].map(|content| found(&rules, content)), ["", "", ""]);
    assert_eq!(found(&rules, Some(b"on")), "torn-record: 2 bytes, where records end at byte 0 and at byte 4");
}

#[test]
fn a_log_of_many_records_is_given_to_the_guest_once() {
    let lines: Vec<String> = (0..200).map(|n| format!("record {n} of the log\n")).collect();
    let mut calls = vec![open(1, "f", CREATE)];
    let mut end = 0;
    for line in &lines {
        calls.extend([write(1, end, line.as_bytes()), fsync(1), print("ok\n")]);
        end += line.len() as u64;
    }
    calls.push(exit());
    let trace = trace(&[("g", b"nobody asks for it")], calls);
    let durable = wants_durable("ok").remove(0);
    let wanted = [&append_only(Some(Record::Line), None)[..], &[durable]].concat();
    let rules = rules(&trace, &wanted);
    let read_plan = rules.read_plan();
    assert_eq!(read_plan.contents, [Arc::new(lines.concat().into_bytes())]);
    assert_eq!((read_plan.files.len(), read_plan.read_all_up_to), (1, 0));
    // After the ack of record 99.
    let window = at(1 + 3 * 100);
    let whole = lines[..100].concat();
    assert_eq!(kinds(&rules, Some(whole.as_bytes()), &window), Vec::<String>::new());
    let next = lines[..101].concat();
    assert_eq!(kinds(&rules, Some(next.as_bytes()), &window), Vec::<String>::new());
    let torn = &next[..next.len() - 3];
    assert_eq!(kinds(&rules, Some(torn.as_bytes()), &window), ["append-only torn-record"]);
    let less = lines[..99].concat();
    assert_eq!(kinds(&rules, Some(less.as_bytes()), &window), ["durable-after \"ok\" stale"]);
    assert_eq!(
        kinds(&rules, Some(&vec![0; whole.len()]), &window),
        ["append-only zero-filled", "durable-after \"ok\" zero-filled"],
        "each synced record makes a version, and so a right size"
    );
}

#[test]
fn every_state_between_two_ops_is_history() {
    let calls = vec![open(1, "f", TRUNCATE), write(1, 0, b"new"), write(1, 3, b"er"), write(1, 0, b"N"), unlink("f")];
    let rules = rules(&trace(&[("f", b"old")], calls), &[Wanted::PrefixOfHistory { path: "f".into() }]);
    let right = [None, Some(&b"old"[..]), Some(b""), Some(b"new"), Some(b"newer"), Some(b"Newer")];
    for content in right {
        assert_eq!(found(&rules, content), "", "{content:?}");
    }
    let wrong = [&b"Old"[..], b"New", b"newe", b"\0\0\0", b"Newer!"].map(|content| found(&rules, Some(content)));
    insta::assert_snapshot!(wrong.join("\n"));
}

#[test]
fn absence_is_no_history_where_there_never_was_none() {
    let wanted = [Wanted::PrefixOfHistory { path: "f".into() }];
    let replaced = rules(&trace(&[("f", b"old")], save("new")), &wanted);
    assert_eq!(found(&replaced, None), "missing: no such file");
    let made = rules(&trace(&[], save("new")), &wanted);
    assert_eq!(found(&made, None), "");
}

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

#[test]
fn several_invariants_on_one_path_are_judged_each_and_none_twice() {
    let trace = log(Some(b"old\n"), &[b"one\n"]);
    let path = || RelPath::from("f");
    let mut wanted = append_only(Some(Record::Line), None).to_vec();
    wanted.extend([Wanted::PrefixOfHistory { path: path() }, Wanted::AtomicReplace { path: path() }]);
    let rules = rules(&trace, &[wanted.clone(), wanted].concat());
    assert_eq!(kinds(&rules, Some(b"old\none\n"), &NEVER), [""; 0]);
    assert_eq!(
        kinds(&rules, Some(b"old\no"), &NEVER),
        ["atomic-replace wrong-length", "append-only torn-record", "prefix-of-history wrong-length"]
    );
}

#[test]
fn invariants_that_do_not_fit_the_command_are_named() {
    let error = |trace: &Trace, wanted: &[Wanted]| {
        Rules::new(trace, &History::new(trace), wanted).map(|_| ()).unwrap_err().to_string()
    };
    let line = append_only(Some(Record::Line), None);
    let replaced = trace(&[("f", b"old")], save("new"));
    let history = [Wanted::PrefixOfHistory { path: "f".into() }];
    let large = vec![1; 20 << 20];
    let overwrites = (0..5).map(|n| write(1, n, b"x")).collect::<Vec<_>>();
    insta::assert_snapshot!(
        [
            error(&replaced, &line),
            error(&log(Some(b"old\n"), &[b"one\n", b"tw"]), &line),
            error(&replaced, &[line[0].clone(), append_only(None, None)[0].clone()]),
            error(&replaced, &[Wanted::MetadataPreserved { path: "tmp".into() }]),
            error(&replaced, &[Wanted::AllOrNothing { paths: vec!["f".into(), "g".into()] }]),
            error(&trace(&[("f", &large)], [vec![open(1, "f", 1)], overwrites].concat()), &history),
        ]
        .join("\n")
    );
}

/// Few bytes of few kinds, so that contents often begin like others.
fn few_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0u8..3, 0..=most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was there before: a file that only grew since the promise keeps it, however little of that arrived, and
    /// even if its last bytes are written again with the new ones.
    #[test]
    fn a_file_that_only_grew_is_never_accused(
        old in few_bytes(6),
        before in proptest::collection::vec((proptest::option::of(0u64..6), 0u64..6, few_bytes(3)), 0..4),
        after in proptest::collection::vec((0usize..4, few_bytes(3)), 1..4),
        under_way in any::<proptest::sample::Index>(),
        size in any::<proptest::sample::Index>(),
        arrived in any::<proptest::sample::Index>(),
    ) {
        let mut calls = vec![open(1, "f", 1)];
        let mut vfs = program::Vfs::new(&trace(&[("f", &old)], vec![]).before);
        vfs.apply(&calls[0]).unwrap();
        for (length, offset, data) in before {
            let target = program::Target::Path("f".into());
            calls.extend(length.map(|length| Call::Truncate { target, length }));
            calls.push(write(1, offset, &data));
        }
        calls[1..].iter().for_each(|call| vfs.apply(call).unwrap());
        let mut content = vfs.state(&"f".into()).content().unwrap().to_vec();
        let promised = content.len();
        calls.push(print("ok"));
        let first = calls.len();
        let mut contents = vec![];
        for (again, data) in after {
            let start = content.len().saturating_sub(again);
            content.extend(data);
            calls.push(write(1, start as u64, &content[start..]));
            contents.push(content.clone());
        }
        let index = under_way.index(contents.len());
        let mut found = contents.swap_remove(index);
        found.truncate(promised + size.index(found.len() - promised + 1));
        let end = promised + arrived.index(found.len() - promised + 1);
        found[end..].fill(0);
        let durable = Wanted::DurableAfter { ack: Ack::Text("ok".into()), path: Some("f".into()) };
        let rules = rules(&trace(&[("f", &old)], calls), &[durable]);
        prop_assert_eq!(kinds(&rules, Some(&found), &at(first + index)), [""; 0]);
    }
}

/// A workload that does this and that to `f`, and what it may leave.
fn a_step() -> impl Strategy<Value = Vec<Call>> {
    prop_oneof![
        3 => a_content().prop_map(|content| vec![Call::Write { handle: program::Handle(1), offset: u64::MAX, data: Arc::new(content), flags: 0 }]),
        1 => (0u64..3, a_content()).prop_map(|(offset, content)| vec![write(1, 512 * offset, &content)]),
        1 => Just(vec![open(1, "f", TRUNCATE)]),
        1 => Just(vec![unlink("f"), open(1, "f", CREATE)]),
        2 => Just(vec![print("ok")]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same for files that grow, with every invariant on them; and what each says is what its definition says.
    #[test]
    fn reading_less_of_a_log_changes_no_finding(
        old in a_content(),
        steps in proptest::collection::vec(a_step(), 1..8),
        pick in any::<proptest::sample::Index>(),
        cut in proptest::option::of((0usize..12_000, any::<bool>())),
        noise in proptest::option::of((0usize..12_000, any::<u8>())),
        dropped in any::<bool>(),
        op in 0usize..20,
    ) {
        let mut calls = vec![open(1, "f", CREATE)];
        let mut vfs = program::Vfs::new(&trace(&[("f", &old)], vec![]).before);
        let path = RelPath::from("f");
        let mut states = vec![old.clone()];
        vfs.apply(&calls[0]).unwrap();
        for mut call in steps.into_iter().flatten() {
            if let Call::Write { offset: offset @ u64::MAX, .. } = &mut call {
                *offset = vfs.state(&path).content().unwrap().len() as u64;
            }
            vfs.apply(&call).unwrap();
            states.extend(vfs.state(&path).content().map(|content| content.to_vec()));
            calls.push(call);
        }
        calls.extend([print("ok"), exit()]);
        let trace = trace(&[("f", &old)], calls);
        let only_appended = states.last().unwrap().starts_with(&old);
        let tail = dropped.then_some(GarbageTail::Dropped);
        let mut wanted = vec![Wanted::PrefixOfHistory { path: path.clone() }, Wanted::AtomicReplace { path: path.clone() }];
        wanted.extend(wants_durable("ok"));
        wanted.extend(only_appended.then(|| append_only(None, tail)).into_iter().flatten());
        let rules = rules(&trace, &wanted);
        let mut found = pick.get(&states).clone();
        if let Some((at, zeros)) = cut {
            found.truncate(at);
            if zeros { found.resize(pick.get(&states).len(), 0) }
        }
        if let Some((at, byte)) = noise && let Some(old) = found.get_mut(at) {
            *old = byte;
        }
        let guided = observation(vec![(path.clone(), see(rules.read_plan(), &path, &found))]);
        let size = found.len() as u64;
        let whole = EntryKind::File { size, seen: Seen::Bytes(Arc::new(found.clone())) };
        let findings = rules.judge(&observation(vec![(path, whole)]), &at(op));
        prop_assert_eq!(&rules.judge(&guided, &at(op)), &findings);
        let breaks = |invariant| findings.iter().any(|finding| finding.invariant == invariant);
        prop_assert_eq!(breaks(Invariant::PrefixOfHistory), !states.contains(&found));
        let appended = found.starts_with(&old) && (dropped || states.iter().any(|state| state.starts_with(&found)));
        prop_assert_eq!(breaks(Invariant::AppendOnly), only_appended && !appended);
    }
}
