//! Checks of a workload's own, against the invariants that say the same.

use std::path::Path;

use checker::Kind;
use num_bigint::BigUint;
use report::{CellReport, Verdict};
use workload::Workload;

use engine::run::Finished;

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

/// Reading whole trees decides more writes than reading along a read plan, and must count the same states.
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
    let script = "test f -ef g || { echo not linked; exit 1; }\n\
                  case $(cat f) in old|newer) ;; *) echo broken: $(wc -c < f); exit 1; esac";
    let cells = both("echo old > f; ln f g", "echo newer > f", invariant, script).await;
    for (ruled, checked) in &cells {
        agree(ruled, checked);
        assert_eq!(checked.verdict(), Verdict::Violation, "truncated and written in place");
        // Emptied, or zeros of its new length: one failure, whose numbers are left out.
        let observed = reporters::sentences::observed(&checked.violations[0].observed);
        assert!(["broken: 0", "broken: 6"].iter().any(|broken| observed.contains(broken)), "{observed}");
        assert_eq!(checked.violations.len(), 1);
        assert_eq!((&checked.violations[0].old, &*checked.violations[0].path), (&None, "."));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_check_is_checked_again() {
    if uml().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("workload");
    std::fs::create_dir(&place).unwrap();
    let check = "check = ['sh', '-c', 'test -s f || { echo nothing left; exit 1; }']";
    let workload = workload(&place, "echo old > f", "echo newer > f", check);
    let Finished { report, store, .. } = run(&[workload], &options(&["ext4"]), &directory.path().join("run")).await;
    let violation = &report.cells[0].violations[0];
    let token = violation.token.parse().unwrap();
    let executed = harness::commands::reproduce::reproduce_token(
        &store,
        token,
        &engine::permit::Permit::everything(),
        vm::Choice::Uml,
    )
    .await
    .unwrap();
    let failed: Vec<_> = executed.findings.iter().filter(|finding| finding.fails).collect();
    assert_eq!(failed.len(), 1, "no atomic replace was asked for");
    assert_eq!((failed[0].kind, &failed[0].observed), (Kind::CheckFailed, &violation.observed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_finds_the_states_that_append_only_and_durable_after_find() {
    if uml().is_none() {
        return;
    }
    // Lines of 3,001 bytes, each printed when it was logged; nothing is synced.
    let line = |letter: char| format!("head -c 3000 /dev/zero | tr \"\\0\" {letter} >> log; echo >> log");
    let command = format!("{}; echo logged; {}; echo logged", line('a'), line('b'));
    let invariant = "[[invariant]]\nkind = 'append-only'\npath = 'log'\nrecord = 'line'\n\
                     [[invariant]]\nkind = 'durable-after'\nack = 'logged'\npath = 'log'";
    let script = format!(
        "size=$(wc -c < log)\nmv log found\n{}\n{}\n{}\n\
         cmp -s -n $size found log || {{ echo garbage; exit 1; }}\n\
         case $size in 3001|6002|9003) ;; *) echo torn; exit 1; esac\n\
         test $((size / 3001)) -gt $(wc -l < $HARNESS_ACKS) || {{ echo lost; exit 1; }}",
        line('o'),
        line('a'),
        line('b')
    );
    for (ruled, checked) in &both(&line('o'), &command, invariant, &script).await {
        assert_eq!((&ruled.failure, &checked.failure), (&None, &None));
        assert!(ruled.exhaustive() && checked.exhaustive(), "{}", ruled.id);
        // One state can break two rules, and is one for the script.
        let broken = |rule: &str| -> BigUint {
            ruled.violations.iter().filter(|it| it.invariant.starts_with(rule)).map(|it| &it.states).sum()
        };
        let (torn, lost, all) = (broken("append-only"), broken("durable-after"), states(checked));
        assert!(torn <= all && lost <= all && all <= &torn + &lost, "{}: {torn}, {lost}: {all}", ruled.id);
        assert!(lost > BigUint::ZERO, "{}: nothing is synced", ruled.id);
        println!("{}: {torn} torn, {lost} lost, {all} for the script", ruled.id);
    }
}
