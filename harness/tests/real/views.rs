//! Views: what programs show of what a crash has left, with real guests.

use std::path::Path;
use std::sync::Arc;

use checker::{Invariant, Kind, View, Wanted};
use engine::permit::Permit;
use engine::run::Finished;
use engine::spec::Crash;
use engine::store::Store;
use report::{CellReport, Durable, Verdict};
use vm::{Limits, Paths};
use workload::Workload;

use crate::judged::{judged, said};
use crate::support::{options, run, uml, workloads};

fn with_view(workload: Workload, view: View) -> Workload {
    Workload { invariants: vec![Wanted::View(view)], ..workload }
}

fn kinds(cell: &CellReport) -> Vec<(String, Kind)> {
    cell.violations.iter().map(|violation| (violation.invariant.clone(), violation.kind)).collect()
}

/// A view of an emptied file excuses nothing, though a kill leaves one.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_empties_its_file_first_is_found_fault_with_by_cat() {
    if uml().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let cat = || View::by_command("cat settings.json");
    let all: Vec<Workload> =
        workloads(&["naive_config", "naive_config_py"]).into_iter().map(|it| with_view(it, cat())).collect();
    let Finished { report, store, .. } = run(&all, &options(&["ext4"]), &directory.path().join("run")).await;
    for cell in &report.cells {
        assert_eq!((cell.verdict(), &cell.failure), (Verdict::Violation, &None), "{}", cell.id);
        let name = Invariant::View("cat settings.json".into()).to_string();
        assert!(kinds(cell).contains(&(name, Kind::KilledView)), "{:?}", kinds(cell));
    }
    // What stands in the results is not run unasked; and shows the same again.
    let violation = &report.cells[0].violations[0];
    let again = async |permit: &Permit| {
        let token = violation.token.parse().unwrap();
        harness::commands::reproduce::reproduce_token(&store, token, permit, vm::Choice::Uml).await.unwrap()
    };
    let refused = again(&Permit::default()).await;
    assert!(refused.unsure && refused.text.contains("check not run"), "{}", refused.text);
    let permitted = again(&Permit::everything()).await;
    let found = permitted.findings.iter().find(|finding| finding.fails).unwrap();
    assert_eq!((found.kind, &found.observed), (violation.kind, &violation.observed));
    assert!(!permitted.unsure, "{}", permitted.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_is_judged_by_views_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&["ext4"]);
    options.spec.crash = Crash::Process;
    let verdict = async |between: bool, name: &str| {
        let view = View { between, ..View::by_command("cat settings.json") };
        let workload = with_view(workloads(&["naive_config_py"]).remove(0), view);
        let report = run(&[workload], &options, &directory.path().join(name)).await.report;
        assert_eq!(report.process_crashes[0].failure, None);
        (
            report.process_crashes[0].verdict(),
            report.process_crashes[0].violations.iter().map(|it| it.kind).collect::<Vec<_>>(),
        )
    };
    assert_eq!(verdict(false, "ends").await, (Verdict::Violation, vec![Kind::KilledView]));
    assert_eq!(verdict(true, "between").await, (Verdict::Pass, vec![]));
}

/// What a run saw is enough, or looked at again; and what stands in its results is not run unasked.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_judged_again_by_a_view() {
    if uml().is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let options = options(&["ext4"]);
    run(&workloads(&["naive_config_py"]), &options, &at("first")).await;
    let given = with_view(workloads(&["naive_config_py"]).remove(0), View::by_command("cat settings.json"));
    let (again, _) = judged(&at("first"), std::slice::from_ref(&given), &at("again")).await;
    let new = run(std::slice::from_ref(&given), &options, &at("new")).await.report;
    assert_eq!(said(&again.report), said(&new));
    let (same, looked) = judged(&at("new"), &[], &at("same")).await;
    assert_eq!((said(&same.report), looked), (said(&new), false));

    let (sender, _) = tokio::sync::mpsc::unbounded_channel();
    let (permit, paths, stop) = (Permit::default(), Paths::from_environment(), Arc::default());
    let store = Store::open(&at("new")).unwrap();
    let Err(error) = engine::run::resume(store, &permit, 1, Limits::default(), &paths, &stop, sender).await else {
        panic!("what stands in the results was run")
    };
    assert!(error.to_string().contains("has views of its own for naive_config_py, and what stands in"), "{error}");
    assert!(error.to_string().contains("sh -c 'cat settings.json'"), "{error}");
}

/// A workload whose command writes an SQLite database.
fn sqlite(directory: &Path, command: &str) -> Workload {
    let manifest = format!(
        "setup = ['sqlite3', 'a.db', \"create table t(a); insert into t values('old')\"]\n\
         command = ['sqlite3', 'a.db', \"{command}update t set a = 'new'\"]\n\
         [[invariant]]\nkind = 'view'\nreader = 'sqlite'\npath = 'a.db'\n"
    );
    std::fs::create_dir(directory).unwrap();
    std::fs::write(directory.join("workload.toml"), manifest).unwrap();
    Workload::load(directory).unwrap()
}

/// The directory is not synced after the journal is removed, unless one asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_recovers_and_what_it_does_not_sync_is_found() {
    if uml().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let full = sqlite(&at("full"), "");
    let extra = sqlite(&at("extra"), "pragma synchronous=extra; ");
    let off = sqlite(&at("off"), "pragma synchronous=off; ");
    let Finished { report, .. } = run(&[full, extra, off], &options(&["ext4", "xfs"]), &at("run")).await;
    for cell in &report.cells {
        assert_eq!(cell.failure, None, "{}", cell.id);
        let expected = match cell.id.workload.as_str() {
            "full" => (Verdict::Pass, Durable::No),
            "extra" => (Verdict::Pass, Durable::Yes),
            _ => (Verdict::Violation, Durable::No),
        };
        assert_eq!((cell.verdict(), cell.durable_after_exit), expected, "{}: {:?}", cell.id, kinds(cell));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_shows_the_time_makes_the_cell_invalid() {
    if uml().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let view = View::by_command("cat settings.json; date +%N");
    let workload = with_view(workloads(&["naive_config_py"]).remove(0), view);
    let cell = run(&[workload], &options(&["ext4"]), &directory.path().join("run")).await.report.cells.remove(0);
    assert_eq!(cell.verdict(), Verdict::Invalid);
    assert!(cell.failure.as_ref().is_some_and(|why| why.contains("two looks at the same files differ")), "{cell:?}");
}

/// What is not durable after the exit is told; a promise that was asked for is broken by it.
#[tokio::test(flavor = "multi_thread")]
async fn durability_after_the_exit_fails_only_if_it_is_required() {
    if uml().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("saves");
    let save = "setup = ['sh', '-c', 'echo old > f']\n\
                command = ['sh', '-c', 'echo new > f.tmp; sync f.tmp; mv f.tmp f']\n";
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("workload.toml"), save).unwrap();
    let verdict = async |required: bool, view: bool, name: &str| {
        let mut options = options(&["ext4"]);
        options.spec.require_durable = required;
        let mut workload = Workload::load(&place).unwrap();
        workload.invariants = match view {
            true => vec![Wanted::View(View::by_command("cat f"))],
            false => vec![Wanted::AtomicReplace { path: "f".into() }],
        };
        let cell = run(&[workload], &options, &directory.path().join(name)).await.report.cells.remove(0);
        assert_eq!((&cell.failure, cell.durable_after_exit), (&None, Durable::No), "{name}");
        cell.verdict()
    };
    for view in [false, true] {
        assert_eq!(verdict(false, view, &format!("told-{view}")).await, Verdict::Pass);
        assert_eq!(verdict(true, view, &format!("required-{view}")).await, Verdict::Violation);
    }
}
