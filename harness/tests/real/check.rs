//! Checks of a workload's own, against the invariants that say the same.

use std::path::Path;

use checker::Kind;
use num_bigint::BigUint;
use report::{CellReport, Verdict};
use workload::Workload;

use crate::support::{options, run, uml};

/// A workload in a directory of its own: `setup` and `command` are scripts, `more` ends its manifest.
fn workload(directory: &Path, setup: &str, command: &str, more: &str) -> Workload {
    let manifest = format!(
        "setup = ['sh', '-c', '{setup}']\ncommand = ['sh', '-c', '{command}']\n{more}\n",
        setup = setup,
        more = more
    );
    std::fs::write(directory.join("workload.toml"), manifest).unwrap();
    Workload::load(directory).unwrap()
}

/// The same command judged by an invariant and by a script.
async fn both(setup: &str, command: &str, invariant: &str, script: &str) -> Vec<(CellReport, CellReport)> {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("workload");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("check.sh"), script).unwrap();
    let options = options(&["ext4", "xfs", "btrfs"]);
    let ruled = workload(&place, setup, command, invariant);
    let ruled = run(&[ruled], &options, &directory.path().join("ruled")).await.report;
    let checked = workload(&place, setup, command, "check = ['sh', '{workload}/check.sh']");
    let checked = run(&[checked], &options, &directory.path().join("checked")).await.report;
    ruled.cells.into_iter().zip(checked.cells).collect()
}

fn states(cell: &CellReport) -> BigUint {
    cell.violations.iter().map(|violation| &violation.states).sum()
}

/// Reading whole trees decides more writes than reading along a guide, and must count the same states.
fn agree(ruled: &CellReport, checked: &CellReport) {
    assert_eq!((&ruled.failure, &checked.failure), (&None, &None));
    assert!(ruled.exhaustive() && checked.exhaustive(), "{}", ruled.id);
    assert_eq!(ruled.crash_states.allowed, checked.crash_states.allowed, "{}", ruled.id);
    assert_eq!(states(ruled), states(checked), "{}: {:?} {:?}", ruled.id, ruled.violations, checked.violations);
    assert_eq!(ruled.durable_after_exit, checked.durable_after_exit);
    assert!(checked.violations.iter().all(|violation| violation.kind == Kind::CheckFailed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_finds_the_states_that_atomic_replace_finds() {
    if uml().is_none() {
        return;
    }
    let invariant = "[[invariant]]\nkind = 'atomic-replace'\npath = 'f'";
    let script = "case $(cat f) in old|newer) ;; *) echo broken: $(wc -c < f); exit 1; esac";
    let cells = both("echo old > f", "echo newer > f", invariant, script).await;
    for (ruled, checked) in &cells {
        agree(ruled, checked);
        assert_eq!(checked.verdict(), Verdict::Violation, "truncated and written in place");
        assert!(checked.violations[0].observed.contains("broken: 0"), "{}", checked.violations[0].observed);
        assert_eq!((&checked.violations[0].old, &*checked.violations[0].path), (&None, "."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_finds_the_states_that_append_only_and_durable_after_find() {
    if uml().is_none() {
        return;
    }
    // Lines of 3,000 bytes, each printed when it was logged; nothing is synced.
    let line =
        |letter: char| format!("yes {letter} | head -n 1500 | tr -d \"\\n\" > line; echo >> line; cat line >> log");
    let setup = format!("{}; rm line", line('o'));
    let log = |letter| format!("head -c 3000 /dev/zero | tr \"\\0\" {letter} >> log; echo >> log; echo logged");
    let command = format!("{}; {}", log('a'), log('b'));
    let invariant = "[[invariant]]\nkind = 'append-only'\npath = 'log'\nrecord = 'line'\n\
                     [[invariant]]\nkind = 'durable-after'\nack = 'logged'\npath = 'log'";
    let script = "promised=$(wc -l < $HARNESS_ACKS)\n\
                  test -z $(tail -c 1 log | tr -d \"\\n\") || { echo torn; exit 1; }\n\
                  test $(wc -l < log) -gt $promised || { echo lost; exit 1; }\n\
                  test $(wc -c < log) -le 7503 || { echo too long; exit 1; }\n\
                  n=0; while read -r line; do n=$((n + 1)); case $n in 1) want=o;; 2) want=a;; 3) want=b;; esac\n\
                  test -z $(echo $line | tr -d $want) || { echo garbage; exit 1; }; done < log";
    for (ruled, checked) in &both(&setup, &command, invariant, script).await {
        assert_eq!((&ruled.failure, &checked.failure), (&None, &None));
        assert!(ruled.exhaustive() && checked.exhaustive(), "{}", ruled.id);
        // One state can break two rules, and is one for the script.
        let durable = |cell: &CellReport| -> BigUint {
            cell.violations.iter().filter(|it| it.invariant.starts_with("durable")).map(|it| &it.states).sum()
        };
        let lost = durable(ruled);
        assert!(lost > BigUint::ZERO && states(checked) >= lost, "{}", ruled.id);
        assert!(states(checked) <= states(ruled), "{}", ruled.id);
    }
}
