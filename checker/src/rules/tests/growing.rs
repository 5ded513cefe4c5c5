//! A promise about a file that goes on growing: what was promised stays, what came later need not be there.

use program::Call;
use proptest::prelude::*;

use super::*;
use crate::testing::{CREATE, TRUNCATE, fsync, open, print, rename, trace, write};

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
