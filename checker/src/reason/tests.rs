use program::{Handle, Target};

use super::*;
use crate::testing::{CREATE, TRUNCATE, exit, fsync, hint_text, open, print, rename, trace, unlink, write};

fn close(handle: u32) -> Call {
    Call::Close { handle: Handle(handle) }
}

fn sync_range() -> Call {
    Call::SyncRange { handle: Handle(1), offset: 0, length: 0, flags: 7 }
}

fn hint(calls: Vec<Call>, invariant: &Invariant, kind: Kind) -> String {
    let trace = trace(&[("f", b"old")], calls);
    let end = trace.ops.len();
    let window = CrashWindow { begun_earliest: end, ended_latest: end };
    reason(&trace, invariant, kind, &"f".into(), &window).map_or("-".to_owned(), |hint| hint_text(&hint, &trace))
}

fn atomic(kind: Kind, calls: Vec<Call>) -> String {
    hint(calls, &Invariant::AtomicReplace, kind)
}

/// A new directory with its file changes places with an old one.
fn exchanged(kind: Kind, middle: Vec<Call>) -> String {
    let directory = Call::Mkdir { path: "new".into(), mode: 0o755 };
    let place = Call::Rename { from: "new".into(), to: "d".into(), flags: EXCHANGE };
    let calls = [vec![directory, open(1, "new/f", CREATE), write(1, 0, b"new")], middle, vec![place]].concat();
    let trace = trace(&[("d/f", b"old")], calls);
    let window = CrashWindow { begun_earliest: trace.ops.len(), ended_latest: trace.ops.len() };
    let hint = reason(&trace, &Invariant::AtomicReplace, kind, &"d/f".into(), &window);
    hint.map_or("-".to_owned(), |hint| hint_text(&hint, &trace))
}

fn save(middle: Vec<Call>) -> Vec<Call> {
    [vec![open(1, "tmp", CREATE), write(1, 0, b"new")], middle, vec![close(1), rename("tmp", "f")]].concat()
}

#[test]
fn what_is_missing_for_an_atomic_replace() {
    let truncate = vec![open(1, "f", TRUNCATE), write(1, 0, b"ne"), write(1, 2, b"w"), fsync(1)];
    let shorten = vec![Call::Truncate { target: Target::Path("f".into()), length: 1 }];
    let create = vec![unlink("f"), open(1, "f", CREATE), write(1, 0, b"new"), write(1, 3, b"er")];
    let sync_write = Call::Write { handle: Handle(1), offset: 0, data: std::sync::Arc::new(vec![1]), flags: 2 };
    insta::assert_snapshot!(
        [
            atomic(Kind::Empty, truncate.clone()),
            atomic(Kind::Mixed, vec![open(1, "f", 1), write(1, 0, b"new"), fsync(1)]),
            atomic(Kind::WrongLength, shorten),
            atomic(Kind::Empty, create.clone()),
            atomic(Kind::Missing, create),
            atomic(Kind::Missing, [vec![rename("f", "bak")], save(vec![fsync(1)])].concat()),
            atomic(Kind::Empty, save(vec![])),
            atomic(Kind::Empty, save(vec![sync_range()])),
            atomic(Kind::Empty, save(vec![fsync(1), write(1, 3, b"er")])),
            atomic(Kind::Empty, save(vec![fsync(1)])),
            atomic(Kind::Empty, save(vec![Call::SyncAll])),
            atomic(Kind::Empty, vec![open(1, "tmp", CREATE | 0o10000), write(1, 0, b"new"), rename("tmp", "f")]),
            atomic(Kind::Empty, vec![open(1, "tmp", CREATE), sync_write, rename("tmp", "f")]),
            atomic(Kind::Empty, [truncate, save(vec![fsync(1)])].concat()),
            atomic(Kind::ReadError, save(vec![])),
            exchanged(Kind::ZeroFilled, vec![]),
            exchanged(Kind::ZeroFilled, vec![fsync(1)]),
        ]
        .join("\n")
    );
}

#[test]
fn what_is_missing_for_durability() {
    let stale = |calls| hint(calls, &Invariant::DurableAfter(Ack::Exit), Kind::Stale);
    let directory = |sync| [vec![open(9, "", 0o200000)], save(vec![fsync(1)]), sync, vec![exit()]].concat();
    insta::assert_snapshot!(
        [
            stale([save(vec![]), vec![exit()]].concat()),
            stale([save(vec![sync_range()]), vec![exit()]].concat()),
            stale(directory(vec![])),
            stale(directory(vec![fsync(9)])),
            stale(directory(vec![Call::SyncFs { handle: Handle(9) }])),
            stale(vec![unlink("f"), exit()]),
            stale(vec![open(1, "f", 1), write(1, 0, b"x"), exit()]),
            stale(vec![open(1, "f", 1), write(1, 0, b"x"), fsync(1), exit()]),
            hint(
                vec![open(1, "f", 1), write(1, 0, b"x"), print("ok"), fsync(1)],
                &Invariant::DurableAfter(Ack::Text("ok".into())),
                Kind::Stale
            ),
            // What was reserved is no data.
            stale(directory(vec![Call::Allocate { handle: Handle(1), mode: 1, offset: 0, length: 9 }])),
        ]
        .join("\n")
    );
}

/// A log without fsync, and one in which a save in place has only begun.
#[test]
fn what_is_missing_for_contents_that_were_promised() {
    let broken = |calls| hint(calls, &Invariant::DurableAfter(Ack::Text("ok".into())), Kind::ZeroFilled);
    let append = |offset| write(1, offset, b"line\n");
    let two = |first: Vec<Call>| [vec![open(1, "f", 1), append(3)], first, vec![print("ok"), append(8)]].concat();
    insta::assert_snapshot!(
        [
            broken(two(vec![])),
            broken(two(vec![fsync(1)])),
            broken([two(vec![fsync(1)]), vec![print("ok")]].concat()),
            broken(vec![open(1, "f", TRUNCATE), write(1, 0, b"new"), print("ok")]),
            broken([save(vec![]), vec![print("ok")]].concat()),
        ]
        .join("\n")
    );
}

/// The directory that holds the name which changed, wherever that is on the way.
#[test]
fn which_directory_was_not_synced() {
    let mkdir = |path: &str| Call::Mkdir { path: path.into(), mode: 0o755 };
    let exchange = Call::Rename { from: "new".into(), to: "d".into(), flags: EXCHANGE };
    let hint = |kind, calls: Vec<Call>, path: &str| {
        let trace = trace(&[("d/f", b"old")], [calls, vec![exit()]].concat());
        let window = CrashWindow { begun_earliest: trace.ops.len(), ended_latest: trace.ops.len() };
        let hint = reason(&trace, &Invariant::DurableAfter(Ack::Exit), kind, &path.into(), &window);
        hint.map_or("-".to_owned(), |hint| hint_text(&hint, &trace))
    };
    let new = || vec![open(8, "", 0o200000), mkdir("new"), open(1, "new/f", CREATE), write(1, 0, b"new"), fsync(1)];
    let sync_new = || vec![open(9, "new", 0o200000), fsync(9)];
    let synced = |last: Vec<Call>| [new(), sync_new(), last].concat();
    let nested = |last: Vec<Call>| [vec![mkdir("a"), mkdir("a/b"), open(1, "a/b/f", CREATE), fsync(1)], last].concat();
    insta::assert_snapshot!(
        [
            hint(Kind::Stale, synced(vec![exchange.clone()]), "d/f"),
            hint(Kind::Stale, synced(vec![exchange.clone(), fsync(9)]), "d/f"),
            hint(Kind::Stale, synced(vec![exchange.clone(), fsync(8)]), "d/f"),
            hint(Kind::Stale, [new(), vec![exchange]].concat(), "d/f"),
            hint(Kind::Missing, nested(vec![]), "a/b/f"),
            hint(Kind::Missing, nested(vec![open(9, "a/b", 0o200000), fsync(9)]), "a/b/f"),
        ]
        .join("\n")
    );
}

#[test]
fn what_had_not_begun_is_not_held_against_the_program() {
    let trace = trace(&[("f", b"old")], vec![open(1, "f", TRUNCATE), open(1, "f", 1), write(1, 0, b"x")]);
    let at = |begun| {
        let window = CrashWindow { begun_earliest: begun, ended_latest: begun };
        reason(&trace, &Invariant::AtomicReplace, Kind::Empty, &"f".into(), &window).map(|hint| hint.ops())
    };
    assert_eq!(at(0), None);
    assert_eq!(at(1), Some(vec![OpId(0)]));
    assert_eq!(at(3), Some(vec![OpId(0)]));
}

#[test]
fn what_is_missing_for_a_log_and_for_a_history() {
    let append = |offset| write(1, offset, b"line\n");
    let torn = |calls| hint(calls, &Invariant::AppendOnly, Kind::TornRecord);
    let history = |calls| hint(calls, &Invariant::PrefixOfHistory, Kind::Mixed);
    insta::assert_snapshot!(
        [
            torn(vec![open(1, "f", 1), append(3), fsync(1), append(8)]),
            torn(vec![open(1, "f", 1), append(3), append(8), fsync(1)]),
            torn(vec![open(1, "f", TRUNCATE), fsync(1)]),
            hint(vec![open(1, "f", TRUNCATE), append(0)], &Invariant::AppendOnly, Kind::Truncated),
            history(vec![open(1, "f", 1), write(1, 0, b"a"), write(1, 1, b"b"), fsync(1), write(1, 2, b"c")]),
            history(vec![open(1, "f", 1), write(1, 0, b"a"), fsync(1), write(1, 1, b"b")]),
            history(vec![
                open(1, "f", 1),
                write(1, 0, b"a"),
                write(1, 1, b"b"),
                fsync(1),
                write(1, 2, b"c"),
                write(1, 3, b"d")
            ]),
            history(save(vec![])),
            hint(vec![unlink("f")], &Invariant::PrefixOfHistory, Kind::Missing),
        ]
        .join("\n")
    );
}

#[test]
fn a_block_that_is_written_again_is_an_append_if_it_holds_more_and_nothing_if_not() {
    let both = |last: Vec<Call>| {
        let calls = [vec![open(1, "f", 1)], last].concat();
        let start = |hint: String| hint.split(" f").next().unwrap_or_default().to_owned();
        let torn = hint(calls.clone(), &Invariant::AppendOnly, Kind::TornRecord);
        (start(torn), start(atomic(Kind::WrongLength, calls)))
    };
    let appends = |op| (format!("op {op} (test) appends to"), "op 1 (test) appends to".to_owned());
    assert_eq!(both(vec![write(1, 0, b"old more")]), appends(1));
    assert_eq!(both(vec![write(1, 3, b" more"), write(1, 0, b"old more")]), appends(1));
    assert_eq!(both(vec![write(1, 3, b" more"), write(1, 0, b"old more!")]), appends(2));
    assert_eq!(both(vec![write(1, 0, b"old")]), ("-".to_owned(), "-".to_owned()));
}

#[test]
fn what_is_missing_for_names_and_modes() {
    let temporary = Call::Open { handle: Handle(1), path: "tmp".into(), flags: CREATE, mode: 0o600 };
    let chmod = |path: &str| Call::Chmod { target: Target::Path(path.into()), mode: 0o644 };
    let mode = |calls| hint(calls, &Invariant::MetadataPreserved, Kind::MetadataChanged);
    let group = Invariant::AllOrNothing(vec!["f".into(), "g".into()]);
    insta::assert_snapshot!(
        [
            mode(vec![temporary.clone(), rename("tmp", "f")]),
            mode(vec![temporary, rename("tmp", "f"), chmod("f")]),
            mode(vec![unlink("f"), open(1, "f", CREATE)]),
            mode(vec![
                Call::Open { handle: Handle(1), path: "".into(), flags: TMPFILE | 2, mode: 0o600 },
                Call::Link { from: Target::Handle(Handle(1)), to: "tmp".into() },
                rename("tmp", "f")
            ]),
            hint([save(vec![]), vec![open(2, "g", CREATE), write(2, 0, b"x")]].concat(), &group, Kind::Partial),
            hint(vec![rename("f", "g")], &group, Kind::Partial),
            hint(vec![unlink("f"), open(1, "f", CREATE)], &Invariant::NoLeftovers, Kind::Leftover),
        ]
        .join("\n")
    );
    let trace = trace(&[("f", b"old")], save(vec![]));
    let window = CrashWindow { begun_earliest: 1, ended_latest: 1 };
    let told = reason(&trace, &Invariant::NoLeftovers, Kind::Leftover, &"tmp".into(), &window).unwrap();
    assert_eq!(told.ops(), [OpId(0), OpId(3)]);
    insta::assert_snapshot!(hint_text(&told, &trace));
}

#[test]
fn what_was_not_durable_when_a_check_fails() {
    let check = |calls| hint(calls, &Invariant::Check, Kind::CheckFailed);
    let journal =
        |sync| [vec![open(1, "journal", CREATE), write(1, 0, b"undo")], sync, vec![write(2, 0, b"x")]].concat();
    let update = |sync| [vec![open(2, "f", 1), open(9, "", 0o200000)], journal(sync)].concat();
    insta::assert_snapshot!(
        [
            check(update(vec![])),
            check(update(vec![fsync(1)])),
            check(update(vec![fsync(9)])),
            check(update(vec![fsync(1), fsync(9)])),
            check([update(vec![fsync(1), fsync(9)]), vec![unlink("journal")]].concat()),
            check(
                [update(vec![fsync(1), fsync(9)]), vec![fsync(2), unlink("journal"), print("done"), fsync(2)]].concat()
            ),
            check([update(vec![Call::SyncAll]), vec![print("done"), fsync(2)]].concat()),
            check(vec![Call::Mkdir { path: "d".into(), mode: 0o755 }, open(1, "d/f", CREATE), exit()]),
            check(save(vec![])),
            check(
                [vec![open(1, "f", 1), write(1, 0, b"x"), write(1, 1, b"y")], vec![open(9, "", 0o200000), fsync(9)]]
                    .concat()
            ),
            // A directory that was only passed through, and a journal that is emptied.
            check(vec![
                open(9, "", 0o200000),
                Call::Mkdir { path: "t".into(), mode: 0o755 },
                open(1, "t/a", CREATE),
                fsync(1),
                rename("t/a", "a"),
                Call::Rmdir { path: "t".into() },
                exit()
            ]),
            check(vec![open(1, "f", 1), write(1, 0, b"x"), fsync(1), open(2, "f", TRUNCATE), exit()]),
            // An op that has no effect: nothing is open.
            check(vec![write(1, 0, b"x")]),
        ]
        .join("\n")
    );
}

#[test]
fn a_file_that_is_made_under_its_final_name_is_told_before_it_is_filled() {
    let calls = vec![open(1, "new", CREATE), print("making it"), write(1, 0, b"new"), fsync(1), exit()];
    let trace = trace(&[("f", b"old")], calls);
    let hint = |kind, begun| {
        let window = CrashWindow { begun_earliest: begun, ended_latest: begun };
        reason(&trace, &Invariant::AtomicReplace, kind, &"new".into(), &window)
            .map(|hint| (hint_text(&hint, &trace), hint.ops()))
    };
    let text = "new is made under its final name (op 0, test), and stays empty until op 2: write a temporary file, fsync \
                it, and rename it over the target";
    assert_eq!(hint(Kind::Empty, 1), Some((text.to_owned(), vec![OpId(0), OpId(2)])));
    assert_eq!(hint(Kind::Empty, 2), Some((text.to_owned(), vec![OpId(0), OpId(2)])));
    assert!(hint(Kind::Empty, 3).unwrap().0.contains("filled afterwards (op 2)"));
    assert_eq!(hint(Kind::Garbage, 1), None);
    assert_eq!(hint(Kind::Empty, 5), None, "a sync is over");
}

#[test]
fn a_failed_check_is_told_what_an_invariant_would_be() {
    let hint = |calls: Vec<Call>, kind, begun| {
        let trace = trace(&[("f", b"old")], calls);
        let window = CrashWindow { begun_earliest: begun, ended_latest: begun };
        check_reason(&trace, &[("f".into(), kind)], &window).map_or("-".to_owned(), |hint| hint_text(&hint, &trace))
    };
    let naive = vec![open(1, "f", TRUNCATE), write(1, 0, b"new"), fsync(1)];
    assert!(hint(naive.clone(), Kind::Empty, 1).starts_with("op 0 (test) empties f in place"));
    assert!(hint(naive, Kind::Empty, 0).starts_with('-'), "nothing had begun");
    let appended = vec![open(1, "f", 1), write(1, 3, b"er"), fsync(1)];
    assert!(hint(appended, Kind::ZeroFilled, 2).contains("appends to f, and a crash can keep any part of that"));
    let overwritten = vec![open(1, "f", 1), write(1, 0, b"new"), fsync(1)];
    assert!(hint(overwritten, Kind::Mixed, 2).starts_with("op 1 (test) overwrites f in place"));
    // What the check's own hint says comes first.
    assert!(hint(save(vec![]), Kind::Empty, 4).contains("tmp since its last write (op 1)"));
}
