//! What a program has promised, by an ack or by its end, is there.

use program::Call;

use super::*;
use crate::testing::{CREATE, TRUNCATE, exit, fsync, observation, open, print, rename, trace, unlink, write};

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
