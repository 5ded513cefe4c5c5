use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use ::checker::{CheckFailure, Entry, EntryKind, Seen};
use program::{Channel, Op};
use workload::ErrorKind;

use super::*;
use crate::LARGEST_FILE;
use crate::place::LINE;
use crate::testing::tree;
use crate::trees::Entries;
use crate::unpack::{UnpackError, Unpacked};

fn workload(check: &[&str]) -> Workload {
    let mut workload = Workload::bare(vec!["true".into()], None).unwrap();
    workload.check = Some(check.iter().map(|word| (*word).into()).collect());
    workload
}

fn shell(script: &str) -> Workload {
    workload(&["sh", "-c", script, "sh"])
}

fn file(content: &[u8]) -> Entry {
    let seen = Seen::Bytes(Arc::new(content.to_vec()));
    entry(EntryKind::File { size: content.len() as u64, seen }, 0o644)
}

fn entry(kind: EntryKind, mode: u32) -> Entry {
    Entry { kind, mode, uid: 0, gid: 0, links: 1, same_as: None }
}

fn mounted(names: Vec<(&str, Entry)>) -> Observation {
    let mut entries: Entries = names.into_iter().map(|(path, entry)| (path.into(), entry)).collect();
    entries.insert(RelPath::root(), entry(EntryKind::Directory { error: None }, 0o755));
    Observation { mount: Mount::Mounted, entries }
}

/// A command that prints `one`, then `two`, and turns `old` into `new`.
fn recorded() -> Trace {
    let op = |call| Op { call, syscall: "test".into(), result: 0, thread: 0 };
    let print = |text: &str| op(Call::Ack { channel: Channel::Stdout, data: text.into() });
    let ops = vec![op(Call::SyncAll), print("one\n"), op(Call::SyncAll), print("two\n"), op(Call::Exit { status: 0 })];
    Trace { before: tree("old"), ops, after: tree("new"), ..Trace::default() }
}

fn checker(workload: &Workload) -> Result<Checker, CheckError> {
    Checker::new(workload, &recorded(), &Arc::default())
}

const END: CrashWindow = CrashWindow { begun_earliest: 5, ended_latest: 5 };

async fn judge(checker: &Checker, observation: &Observation, window: CrashWindow) -> String {
    let findings = checker.judge(observation, &window).await.unwrap();
    let text = |it: &Finding| {
        format!("{} {} {}: {}", it.path, it.invariant, it.kind, reporters::sentences::observed(&it.observed))
    };
    findings.iter().map(text).collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_check_says_is_the_finding() {
    let script =
        r#"case $(cat f) in old|new) ;; *) echo "in $PWD, with $1 and $HARNESS_ACKS:"; echo f is wrong; exit 3; esac"#;
    let checker = checker(&shell(script)).unwrap();
    assert_eq!(judge(&checker, &mounted(vec![("f", file(b"new"))]), END).await, "");
    assert_eq!(
        judge(&checker, &mounted(vec![("f", file(b"bad"))]), END).await,
        ". check check-failed: exit 3: in ., with $HARNESS_ACKS and $HARNESS_ACKS: f is wrong"
    );
    let refused = Observation { mount: Mount::Refused { errno: 5, log: String::new() }, entries: BTreeMap::new() };
    assert_eq!(judge(&checker, &refused, END).await, "", "that it does not mount is another finding");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tree_is_checked_once_for_the_same_acks() {
    let counted = tempfile::NamedTempFile::new().unwrap();
    let runs = || fs::read_to_string(counted.path()).unwrap().lines().count();
    let script = format!(r#"echo run >> "{}"; cat f >/dev/null"#, counted.path().display());
    let checker = Arc::new(checker(&shell(&script)).unwrap());
    let start = runs();
    assert_eq!(start, 2, "on the trees before and after the command");
    let at_once = (0..8).map(|_| {
        let checker = checker.clone();
        tokio::spawn(async move { judge(&checker, &mounted(vec![("f", file(b"x"))]), END).await })
    });
    for task in at_once.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), "");
    }
    assert_eq!(runs() - start, 1);
    let between = CrashWindow { begun_earliest: 3, ended_latest: 3 };
    judge(&checker, &mounted(vec![("f", file(b"x"))]), between).await;
    assert_eq!(runs() - start, 2, "other acks");
    judge(&checker, &mounted(vec![("f", file(b"y"))]), END).await;
    judge(&checker, &mounted(vec![("f", entry(file(b"y").kind, 0o600))]), END).await;
    assert_eq!(runs() - start, 4, "another content, another mode");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_acks_of_both_ends_of_the_moment_count() {
    // It wants as many lines of acks as `f` says; on the trees of the run it does not look.
    let script =
        r#"case $(cat f) in old|new) exit 0; esac; test "$(cat f)" -le "$(wc -l < "$1")" || { cat "$1"; exit 1; }"#;
    let checker = checker(&shell(script)).unwrap();
    let wants = |count: &str| mounted(vec![("f", file(count.as_bytes()))]);
    let window = |begun_earliest, ended_latest| CrashWindow { begun_earliest, ended_latest };
    assert_eq!(judge(&checker, &wants("0"), window(0, 5)).await, "");
    assert_eq!(judge(&checker, &wants("2"), window(4, 5)).await, "");
    assert_eq!(judge(&checker, &wants("1"), window(2, 2)).await, "");
    assert_eq!(judge(&checker, &wants("1"), window(1, 1)).await, ". check check-failed: exit 1: it printed nothing");
    assert_eq!(
        judge(&checker, &wants("2"), window(2, 5)).await,
        ". check check-failed: exit 1: one (if only the acks of the earliest point are taken as given)"
    );
    assert_eq!(judge(&checker, &wants("2"), window(2, 3)).await, ". check check-failed: exit 1: one");
}

/// So two faults are two kinds. What differs in numbers only is put together by whoever counts.
#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_apart_by_status_and_message() {
    let script = r#"read -r status text < f; case $status in old|new) exit 0; esac; echo "$text"; exit "$status""#;
    let checker = checker(&shell(script)).unwrap();
    let cause = async |content: &str| {
        let findings = checker.judge(&mounted(vec![("f", file(content.as_bytes()))]), &END).await.unwrap();
        let CheckFailure { ended, message, .. } = findings[0].check.clone().unwrap();
        format!("{ended}: {message}")
    };
    assert_eq!(cause("11 one is empty").await, "exit 11: one is empty");
    assert_eq!(cause("22 one is empty").await, "exit 22: one is empty");
    assert_eq!(cause("22 two is empty").await, "exit 22: two is empty");
    assert_eq!(cause("1 value is 1234").await, "exit 1: value is 1234");
}

#[tokio::test(flavor = "multi_thread")]
async fn first_and_last_lines_are_kept_and_all_of_them_on_request() {
    let script =
        r#"case $(cat f) in old|new) exit 0; esac; echo CAUSE; seq 1000; head -c 1000 /dev/zero | tr '\0' x; exit 1"#;
    let output = async |checker: Checker| {
        let findings = checker.judge(&mounted(vec![("f", file(b"bad"))]), &END).await.unwrap();
        findings[0].check.clone().unwrap().output
    };
    let shown = output(checker(&shell(script)).unwrap()).await;
    assert_eq!((shown.first.join(" "), shown.left_out), ("CAUSE 1 2 3 4".to_owned(), 992));
    assert_eq!(shown.last[..4].join(" "), "997 998 999 1000");
    assert_eq!(shown.last[4], format!("{} …", "x".repeat(LINE)));
    let all = output(checker(&shell(script)).unwrap().keeping_all()).await;
    assert_eq!((all.first.len(), all.left_out, all.first[1001].len()), (1002, 0, 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_killed_is_told_with_the_signal() {
    let checker = checker(&shell("case $(cat f) in old|new) exit 0; esac; echo looking; kill -SEGV $$")).unwrap();
    assert_eq!(
        judge(&checker, &mounted(vec![("f", file(b"x"))]), END).await,
        ". check check-failed: killed by SIGSEGV (signal 11): looking"
    );
}

/// As by a host that runs out of memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_killed_once_is_asked_again() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("killed");
    let script = format!(
        r#"case $(cat f) in old|new) exit 0; esac; [ -e "{0}" ] && exit; touch "{0}"; kill -KILL $$"#,
        mark.display()
    );
    let checker = checker(&shell(&script)).unwrap();
    assert_eq!(judge(&checker, &mounted(vec![("f", file(b"x"))]), END).await, "");
    assert!(mark.exists());
}

#[test]
fn a_check_that_was_changed_is_another() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("check.sh");
    let kept = |content: &str| {
        fs::write(&script, content).unwrap();
        checker(&workload(&["sh", &script.to_string_lossy()])).unwrap().kept().unwrap()
    };
    let first = kept("exit 0");
    assert_eq!(kept("exit 0"), first);
    assert_ne!(kept("true"), first);
}

#[test]
fn a_check_that_cannot_hold_is_found_out_before() {
    let error = |workload: &Workload| {
        let error = checker(workload).map(|_| ()).unwrap_err();
        format!("{:?}: {error}", error.kind())
    };
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("check");
    fs::write(&broken, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    insta::assert_snapshot!(
        [
            error(&workload(&["no-such-program-anywhere"])),
            error(&workload(&[&broken.to_string_lossy()])),
            error(&shell("grep -q new f || { echo f is old; exit 1; }")),
            error(&shell("grep -q old f")),
            error(&shell("kill -9 $$")),
        ]
        .join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_hangs_is_killed_and_told() {
    let checker = checker(&shell("case $(cat f) in hang) echo waiting; sleep 1000 & wait; esac")).unwrap();
    assert_eq!(
        judge(&checker, &mounted(vec![("f", file(b"hang"))]), END).await,
        ". check check-timed-out: still running after 10 s, and killed: waiting"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_a_check_that_runs() {
    let stop = Arc::new(AtomicBool::new(false));
    let checker = Checker::new(&shell("case $(cat f) in hang) sleep 1000; esac"), &recorded(), &stop).unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = checker.judge(&mounted(vec![("f", file(b"hang"))]), &END).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_read_whole_is_never_passed_over() {
    let checker = checker(&shell("true")).unwrap();
    let part = |size, seen| mounted(vec![("f", entry(EntryKind::File { size, seen }, 0o644))]);
    let error = checker.judge(&part(LARGEST_FILE + 1, Seen::NotRead), &END).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the check of true cannot be given f: it has 201,326,593 bytes, and files of up to 192 MiB can be read whole"
    );
    let failed = Seen::Failed { candidates: vec![], offset: 0, errno: 5 };
    let told = ". check read-error: f cannot be read, so the check has no whole tree";
    assert_eq!(judge(&checker, &part(5, failed), END).await, told);
    assert_eq!(judge(&checker, &part(5, Seen::Bytes(Arc::new(b"abc".to_vec()))), END).await, told);
    let unreadable = mounted(vec![("d", entry(EntryKind::Directory { error: Some(74) }, 0o755))]);
    assert_eq!(judge(&checker, &unreadable, END).await, told.replace(" f ", " d "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unpacked_tree_is_what_the_guest_saw() {
    let script = r#"test -f f && exit 0
        stat -c '%n %F %a %h' -- * */* | sort
        test hard -ef dir/name && echo linked; readlink -- '- odd
name'; cat hard; exit 1"#;
    let checker = checker(&shell(script)).unwrap();
    let link = Entry { same_as: Some("dir/name".into()), ..file(b"shared\n") };
    let seen = mounted(vec![
        ("- odd\nname", entry(EntryKind::Symlink { target: b"/no where".to_vec() }, 0o777)),
        ("dir", entry(EntryKind::Directory { error: None }, 0o555)),
        ("dir/name", entry(file(b"shared\n").kind, 0o4711)),
        ("hard", link),
        ("pipe", entry(EntryKind::Special { mode: 0o010640 }, 0o640)),
    ]);
    let whole = |workload: &Workload| {
        let runner = Runner { workload, stop: &AtomicBool::new(false), whole: true };
        run(runner, &seen.entries, b"").unwrap()
    };
    let verdict = whole(&checker.shared.workload);
    let lines = |verdict: Verdict| verdict.unwrap().check.unwrap().output.lines().collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(lines(verdict));
    let script = script.replace("test hard", "exit 1; test hard");
    let listing = whole(&shell(&script));
    insta::assert_snapshot!(lines(listing));
}

#[test]
fn a_tree_that_no_guest_can_have_seen_is_refused() {
    let unpack =
        |names: Vec<(&str, Entry)>| Unpacked::new(&mounted(names).entries).map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        unpack(vec![("f", entry(EntryKind::Symlink { target: b"/".to_vec() }, 0o777)), ("f/g", file(b""))]),
        "\"f/g\" is a name that no tree can have"
    );
    assert_eq!(unpack(vec![("dev", entry(EntryKind::Special { mode: 0o020600 }, 0o600))]), "dev is a device");
    let up: RelPath = serde_json::from_value(serde_json::json!([46, 46])).unwrap();
    let mut tree = mounted(vec![]).entries;
    tree.insert(up, file(b""));
    assert!(matches!(Unpacked::new(&tree), Err(UnpackError::Name { .. })));
}

#[test]
fn an_unpacked_tree_is_removed_though_it_is_read_only() {
    let seen = mounted(vec![
        ("d", entry(EntryKind::Directory { error: None }, 0)),
        ("d/e", entry(EntryKind::Directory { error: None }, 0o500)),
        ("d/e/f", file(b"x")),
    ]);
    let unpacked = Unpacked::new(&seen.entries).unwrap();
    let place = unpacked.tree();
    assert_eq!(fs::metadata(place.join("d")).unwrap().permissions().mode() & 0o7777, 0);
    drop(unpacked);
    assert!(!place.exists());
}
