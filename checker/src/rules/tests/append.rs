//! Logs: what was there before stays, and records are whole.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::*;
use crate::GarbageTail;
use crate::testing::{CREATE, exit, fsync, open, print, trace, write};

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
