use std::fs;

use ::checker::{Entry, EntryKind, Mount, Reader, Seen};
use program::{Call, Channel, Handle, Op};
use workload::Workload;

use super::*;
use crate::Checker;
use crate::testing::tree;

/// Empties `f`, writes it, and says so; then the same with other content. Op 0 opens, 1 writes, 2 prints; 3 opens, 4 writes,
/// 5 is the end.
fn recorded() -> Trace {
    let op = |call| Op { call, syscall: "test".into(), result: 0, thread: 0 };
    let open = |handle| op(Call::Open { handle: Handle(handle), path: "f".into(), flags: 0o1001, mode: 0 });
    let write = |handle, text: &str| {
        op(Call::Write { handle: Handle(handle), offset: 0, data: Arc::new(text.into()), flags: 0 })
    };
    let print = op(Call::Ack { channel: Channel::Stdout, data: "one\n".into() });
    let ops = vec![open(0), write(0, "one\n"), print, open(1), write(1, "two\n"), op(Call::Exit { status: 0 })];
    Trace { before: tree("old\n"), ops, after: tree("two\n"), ..Trace::default() }
}

fn saw(content: &str) -> Observation {
    let entry = |kind, mode| Entry { kind, mode, uid: 0, gid: 0, links: 1, same_as: None };
    let seen = Seen::Bytes(Arc::new(content.into()));
    let entries = [
        (RelPath::root(), entry(EntryKind::Directory { error: None }, 0o755)),
        ("f".into(), entry(EntryKind::File { size: content.len() as u64, seen }, 0o755)),
    ];
    Observation { mount: Mount::Mounted, entries: entries.into() }
}

fn workload(view: View) -> Workload {
    let bare = Workload::bare(vec!["true".into()], None).unwrap();
    Workload { invariants: vec![Wanted::View(view)], ..bare }
}

fn by(line: &str) -> View {
    View::by_command(line)
}

fn checker(view: View) -> Checker {
    Checker::new(&workload(view), &recorded(), &Arc::default()).unwrap()
}

fn refused(view: View) -> String {
    Checker::new(&workload(view), &recorded(), &Arc::default()).map(|_| ()).unwrap_err().to_string()
}

async fn judge(checker: &Checker, content: &str, (begun_earliest, ended_latest): (usize, usize)) -> String {
    let window = CrashWindow { begun_earliest, ended_latest };
    let text = |finding: &Finding| {
        let Finding { invariant, kind, observed, fails, .. } = finding;
        let told = if *fails { "" } else { " (told)" };
        format!("{invariant}: {kind}{told}: {}", reporters::sentences::observed(observed))
    };
    match checker.judge(&saw(content), &window).await {
        Ok(findings) => findings.iter().map(text).collect::<Vec<_>>().join("\n"),
        Err(error) => format!("error: {error}"),
    }
}

/// The whole run may have been made, and nothing of it need be there.
const ANY: (usize, usize) = (0, 5);

#[tokio::test(flavor = "multi_thread")]
async fn the_first_and_the_last_view_are_right_and_what_else_a_kill_leaves_is_not() {
    let checker = checker(by("cat f"));
    assert_eq!(judge(&checker, "old\n", ANY).await, "");
    assert_eq!(judge(&checker, "two\n", ANY).await, "");
    insta::assert_snapshot!(
        [judge(&checker, "", ANY).await, judge(&checker, "one\n", ANY).await, judge(&checker, "tw\0\0", ANY).await].join("\n"),
        @r#"
    view cat f: killed-view: killed after op 3, the program shows this: it ends before line 1, where "two" is right, as after the end
    view cat f: killed-view: killed after op 2, the program shows this: line 1 is "one", where "old" is right, as before the first op
    view cat f: wrong-view: line 1 is "tw\0\0", where "two" is right, as after the end
    "#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn between_has_every_point_be_right() {
    let checker = checker(View { between: true, ..by("cat f") });
    for content in ["old\n", "", "one\n", "two\n"] {
        assert_eq!(judge(&checker, content, ANY).await, "", "{content:?}");
    }
    insta::assert_snapshot!(judge(&checker, "tw", ANY).await, @r#"view cat f: wrong-view: line 1 is "tw", where "two" is right, as after the end"#);
}

/// What was promised must be there, and what is there must have been begun.
#[tokio::test(flavor = "multi_thread")]
async fn no_view_older_than_the_last_ack_and_none_later_than_the_last_op_begun() {
    let named = checker(View { ack: Some(Ack::Text("one".into())), ..by("cat f") });
    assert_eq!(judge(&named, "one\n", ANY).await, "", "at a named ack it is right");
    assert_eq!(judge(&named, "old\n", (0, 2)).await, "", "nothing was said yet");
    assert_eq!(judge(&named, "two\n", (3, 4)).await, "");
    insta::assert_snapshot!(
        [judge(&named, "old\n", (0, 3)).await, judge(&named, "two\n", (0, 2)).await].join("\n"),
        @r#"
    view cat f after "one": stale: line 1 is "old", as before the first op, where "one" is right, as after op 2
    view cat f: early-view: line 1 is "two", as after the end, where "one" is right, as after op 2
    "#
    );
    // Named by another invariant, it is right, and promises nothing of the whole directory.
    let durable = Wanted::DurableAfter { ack: Ack::Text("one".into()), path: Some("g".into()) };
    let mut both = workload(by("cat f"));
    both.invariants.push(durable);
    let both = Checker::new(&both, &recorded(), &Arc::default()).unwrap();
    assert_eq!(judge(&both, "one\n", ANY).await, "");
    assert_eq!(judge(&both, "old\n", ANY).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_durable_after_the_exit_is_told_and_fails_if_that_is_asked_for() {
    let mut checker = checker(by("cat f"));
    insta::assert_snapshot!(judge(&checker, "old\n", (0, 6)).await, @r#"view cat f after exit: stale (told): line 1 is "old", where "two" is right, as after the end"#);
    checker.require_durability();
    insta::assert_snapshot!(judge(&checker, "old\n", (0, 6)).await, @r#"view cat f after exit: stale: line 1 is "old", as before the first op, where "two" is right, as after the end"#);
    let named = self::checker(View { ack: Some(Ack::Exit), ..by("cat f") });
    assert_eq!(judge(&named, "old\n", (0, 6)).await, judge(&checker, "old\n", (0, 6)).await);
    assert_eq!(judge(&named, "two\n", (0, 6)).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_fails_only_after_a_crash_is_told_by_what_it_said() {
    let fails = checker(by("cat f; grep -q bad f && { echo it is bad >&2; exit 3; }; true"));
    insta::assert_snapshot!(judge(&fails, "bad\n", ANY).await, @r#"view cat f; grep -q bad f && { echo it is bad >&2; exit 3; }; true: unreadable: exit 3: it is bad; line 1 is "bad", where "two" is right, as after the end"#);
    // One that fails before the program has made its file fails rightly.
    let sometimes = checker(by("grep -v old f"));
    assert_eq!(judge(&sometimes, "old\n", ANY).await, "");
    insta::assert_snapshot!(judge(&sometimes, "tw\n", ANY).await, @r#"view grep -v old f: wrong-view: line 1 is "tw", where "two" is right, as after the end"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_hangs_on_a_crash_state_is_unreadable() {
    let hangs = checker(by("cat f; grep -q hang f && sleep 1000; true"));
    insta::assert_snapshot!(judge(&hangs, "hang\n", ANY).await, @r#"view cat f; grep -q hang f && sleep 1000; true: unreadable: still running after 10 s, and killed: it printed nothing; line 1 is "hang", where "two" is right, as after the end"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_differs_between_two_looks_judges_nothing() {
    let counted = tempfile::NamedTempFile::new().unwrap();
    let count = format!("echo x >> '{0}'; wc -l < '{0}'", counted.path().display());
    let unsteady = checker(by(&count));
    assert_eq!(
        judge(&unsteady, "old\n", ANY).await,
        format!(
            "error: the view {count} of true cannot be judged by: two looks at the same files differ, from line 1 on: \
             \"1\", then \"2\" (normalise names a command that mends it)"
        )
    );
    // Where only what is found fault with is unsteady.
    let sometimes = checker(by(&format!("cat f; grep -q bad f && {{ {count}; }}; true")));
    assert_eq!(judge(&sometimes, "old\n", ANY).await, "");
    assert!(judge(&sometimes, "bad\n", ANY).await.starts_with("error: the view"));
    let normalise = Some(["sed", "s/[0-9]*//"].map(str::to_owned).to_vec());
    let mended = checker(View { normalise, ..by(&count) });
    assert_eq!(judge(&mended, "bad\n", ANY).await, "");
    let normalise = Some(["sh", "-c", "echo cannot >&2; exit 2"].map(str::to_owned).to_vec());
    assert_eq!(
        refused(View { normalise, ..by("cat f") }),
        "the command that normalises the view cat f of true fails: exit 2: cannot"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_one_fixed_instant_and_names_of_directories_are_not_shown() {
    let checker = checker(by("stat -c '%n %X %Y' . f; echo $PWD"));
    assert_eq!(judge(&checker, "whatever\n", ANY).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tree_is_looked_at_once() {
    let counted = tempfile::NamedTempFile::new().unwrap();
    let runs = || fs::read_to_string(counted.path()).unwrap().lines().count();
    let checker = checker(by(&format!("echo run >> '{}'; cat f", counted.path().display())));
    assert_eq!(runs(), 4, "two points, twice each");
    let mut told = BTreeSet::new();
    for _ in 0..3 {
        told.insert(judge(&checker, "bad\n", ANY).await);
    }
    // The state twice, since fault is found with it; and what a kill leaves: old, nothing, one, two; the first and the last are known.
    assert_eq!((told.len(), runs()), (1, 4 + 2 + 2));
    judge(&checker, "", ANY).await;
    assert_eq!(runs(), 9, "it is what a kill leaves; and fault is found with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_shows_nothing_right_anywhere_is_a_mistake() {
    let error = refused(by("no-such-program-anywhere f"));
    assert!(
        error.starts_with(
            "the view no-such-program-anywhere f of true cannot look at the files after the command, without any crash: exit 127: "
        ),
        "{error}"
    );
    let error = refused(View { command: Some(vec!["no-such-program-anywhere".into()]), ..View::default() });
    assert_eq!(error, "cannot run the view of true: there is no program no-such-program-anywhere in PATH");
    let error = refused(by("sleep 1000"));
    assert!(error.ends_with("without any crash: still running after 10 s, and killed: it printed nothing"), "{error}");
}

/// As a server does when it starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_repaired_before_it_is_looked_at() {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let recover = words(&["sh", "-c", "grep -q broken f && { echo beyond repair >&2; exit 7; }; sed -i s/torn/two/ f"]);
    let with = |check| Workload { recover: recover.clone(), check, ..workload(by("cat f")) };
    let checker = Checker::new(&with(None), &recorded(), &Arc::default()).unwrap();
    assert_eq!(judge(&checker, "torn\n", ANY).await, "");
    insta::assert_snapshot!(judge(&checker, "broken\n", ANY).await, @r#"view cat f: unreadable: recover: exit 7: beyond repair, where "two" is right, as after the end"#);
    let checked = Workload { invariants: vec![], ..with(words(&["grep", "-qE", "old|one|two", "f"])) };
    let checker = Checker::new(&checked, &recorded(), &Arc::default()).unwrap();
    assert_eq!(judge(&checker, "torn\n", ANY).await, "");
    insta::assert_snapshot!(judge(&checker, "broken\n", ANY).await, @r#"check: check-failed: recover: exit 7: beyond repair"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_cannot_be_read_is_found_fault_with() {
    let checker = checker(by("cat f"));
    let mut observation = saw("old\n");
    let failed = EntryKind::Unreadable { errno: 5 };
    observation.entries.get_mut(&RelPath::from("f")).unwrap().kind = failed;
    let findings = checker.judge(&observation, &CrashWindow { begun_earliest: 0, ended_latest: 5 }).await.unwrap();
    assert_eq!((findings.len(), findings[0].kind, findings[0].fails), (1, Kind::ReadError, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_built_in_reader_that_reads_nothing_at_the_end_judges_nothing() {
    let view = View::by_reader(Reader::Sqlite, "f".into());
    // An empty file is an empty database. What the program writes is none, and what a crash ruins would look the same.
    let blind = Checker::new(&workload(view), &Trace { before: tree(""), ..recorded() }, &Arc::default());
    insta::assert_snapshot!(blind.err().unwrap(), @"the view sqlite f of true cannot look at the files after the command, without any crash: cannot be read: file is not a database");
    let git = View::by_reader(Reader::Git, RelPath::root());
    assert_eq!(refused(git), "the view git . of true cannot be looked with: this version has no such reader");
}
