//! Runs judged again by their journals, against runs that were judged so from the beginning.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checker::{Ack, Wanted};
use engine::judge::{Judging, judge};
use engine::permit::Permit;
use engine::run::{Finished, Options};
use engine::store::Store;
use report::{Event, Report};
use vm::{Limits, Paths};
use workload::Workload;

use crate::support::{options, run, uml, workloads};

/// Judges the run in `first` as `given` say, into `place`; and whether anything had to be looked at again.
pub(crate) async fn judged(first: &Path, given: &[Workload], place: &Path) -> (Finished, bool) {
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let permit = Permit::everything();
    let paths = Paths::from_environment();
    let judging = Judging { workloads: given, permit: &permit, workers: 2, limits: Limits::default(), paths: &paths };
    let place = |_: &str| -> PathBuf { place.into() };
    let finished = judge(&Store::open(first).unwrap(), &judging, &Arc::default(), sender, place).await.unwrap();
    let mut again = false;
    while let Some(event) = events.recv().await {
        again |= matches!(event, Event::Note { text, .. } if text.contains("must be made again"));
    }
    (finished, again)
}

/// What a report says of states: verdicts, counts, and which violations there are of how many states.
pub(crate) fn said(report: &Report) -> Vec<(String, String, BTreeMap<String, String>)> {
    let cell = |cell: &report::CellReport| {
        let all = [&cell.violations, &cell.not_durable, &cell.weaknesses, &cell.warnings];
        let violations = all.into_iter().enumerate().flat_map(|(place, violations)| {
            let text = move |it: &report::ViolationReport| {
                let observed = reporters::sentences::observed(&it.observed);
                (format!("{place} {} {} {}: {observed}", it.invariant, it.kind, it.path), it.states.to_string())
            };
            violations.iter().map(text)
        });
        // What else was executed before a budget of mounts was spent counts when it is judged again, though nobody looked.
        let counts = format!("{} {}", cell.exhaustive(), cell.crash_states.covered);
        (cell.verdict().to_string(), counts, violations.collect())
    };
    report.cells.iter().map(cell).collect()
}

/// Whatever a run is: judged as before, its report is the same to the last byte.
#[tokio::test(flavor = "multi_thread")]
async fn as_before() {
    if uml().is_none() {
        return;
    }
    let from = old_state();
    // A check, and states of a second crash.
    let checked = overwrites(from.path(), Some("test -s f"));
    let mut recovering = options(&["ext4"]);
    (recovering.spec.recovery_crashes, recovering.spec.schedules) = (true, 0);
    let mut cut_short = options(&["ext4", "btrfs"]);
    cut_short.spec.budget.mounts = Some(40);
    let runs: [(Vec<Workload>, Options); 3] = [
        (workloads(&["naive_config_py", "append_log"]), options(&["ext4", "btrfs"])),
        (vec![checked], recovering),
        (workloads(&["naive_config_py"]), cut_short),
    ];
    for (all, options) in runs {
        let place = tempfile::tempdir().unwrap();
        let (first, second) = (place.path().join("first"), place.path().join("second"));
        let before = run(&all, &options, &first).await.report;
        let (after, again) = judged(&first, &[], &second).await;
        assert!(!again);
        assert_eq!(said(&after.report), said(&before));
        let text = |place: &Path| std::fs::read_to_string(place.join("report.json")).unwrap();
        holds_to_schemas(&first);
        if options.spec.budget.mounts.is_none() {
            assert_eq!(text(&second), text(&first));
        }
        // What was judged can be judged again, and its tokens can be looked at.
        let (third, again) = judged(&second, &[], &place.path().join("third")).await;
        assert!(!again);
        assert_eq!(said(&third.report), said(&before));
    }
}

/// What a run leaves is as the committed schemas say.
fn holds_to_schemas(place: &Path) {
    let text = |name: &str| std::fs::read_to_string(place.join(name)).unwrap();
    let report = serde_json::from_str(&text("report.json")).unwrap();
    assert_eq!(testkit::conforms(report::schema().as_value(), &report), Ok(()));
    let schema = engine::journal::line::schema();
    // Compiled anew for each line: some of each kind will do.
    for kind in ["execution", "content", "observation", "visit", "look"] {
        let is = |line: &serde_json::Value| line["line"] == kind;
        let lines = text("journal.jsonl");
        for line in lines.lines().map(|line| serde_json::from_str(line).unwrap()).filter(is).take(20) {
            assert_eq!(testkit::conforms(schema.as_value(), &line), Ok(()), "{line}");
        }
    }
}

/// A file that is overwritten, and one that nobody touches.
fn old_state() -> tempfile::TempDir {
    let from = tempfile::tempdir().unwrap();
    std::fs::write(from.path().join("f"), "old").unwrap();
    std::fs::write(from.path().join("other"), "other").unwrap();
    from
}

/// Overwrites `f`, without care; with a check of its own, if it is to have one.
fn overwrites(from: &Path, check: Option<&str>) -> Workload {
    let words = |script: &str| ["sh", "-c", script].map(String::from).to_vec();
    let mut workload = Workload::bare(words("printf new > f"), Some(from)).unwrap();
    workload.check = check.map(words);
    workload
}

/// The same workload with other invariants.
fn with(name: &str, invariants: &[Wanted]) -> Workload {
    let mut workload = workloads(&[name]).remove(0);
    workload.invariants = invariants.to_vec();
    workload
}

#[tokio::test(flavor = "multi_thread")]
async fn under_other_invariants() {
    if uml().is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let options = options(&["ext4", "xfs"]);
    let first = place.path().join("first");
    run(&workloads(&["naive_config_py"]), &options, &first).await;
    let path = || "settings.json".into();
    let others: [(&[Wanted], bool); 3] = [
        (&[Wanted::DurableAfter { ack: Ack::Exit, path: None }], false),
        (&[Wanted::NoLeftovers {}, Wanted::MetadataPreserved { path: path() }], false),
        // Asks for all that the file ever was: also where a size that no version has said enough before.
        (&[Wanted::PrefixOfHistory { path: path() }], true),
    ];
    for (index, (wanted, asks_for_more)) in others.into_iter().enumerate() {
        let workload = with("naive_config_py", wanted);
        let (after, again) =
            judged(&first, std::slice::from_ref(&workload), &place.path().join(format!("j{index}"))).await;
        assert_eq!(again, asks_for_more, "{wanted:?}");
        let fresh = run(&[workload], &options, &place.path().join(format!("f{index}"))).await.report;
        assert_eq!(said(&after.report), said(&fresh), "{wanted:?}");
    }
}

/// Overwrites a file on ext4, with a check or without, and judges it again with another or without: what that says is what a
/// run says that was judged so from the beginning. Whether anything had to be looked at again.
async fn with_another_check(before: Option<&str>, after: Option<&str>) -> bool {
    let place = tempfile::tempdir().unwrap();
    let from = old_state();
    let options = options(&["ext4"]);
    let first = place.path().join("first");
    run(&[overwrites(from.path(), before)], &options, &first).await;
    let workload = overwrites(from.path(), after);
    let (judged, again) = judged(&first, std::slice::from_ref(&workload), &place.path().join("judged")).await;
    let fresh = run(&[workload], &options, &place.path().join("fresh")).await.report;
    assert_eq!(said(&judged.report), said(&fresh));
    again
}

/// A check reads files whole, more than the rules asked for: what is missing is looked at again, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn under_a_check_that_asks_for_more() {
    if uml().is_some() {
        assert!(with_another_check(None, Some("test -s f && grep -q other other")).await);
    }
}

/// A check reads more than the rules ask for: enough for them, and for the words of the report.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_check_that_it_had() {
    if uml().is_some() {
        assert!(!with_another_check(Some("test -s f"), None).await);
    }
}
