//! Every token of a report rebuilds a state that shows what the report says.

use engine::token::Token;
use harness::commands::reproduce::reproduce_token;
use report::{BlockContent, BlockWrite, WriteReport};
use reporters::sentences;
use vm::Choice;

use crate::support::{options, run, uml, workloads};

#[tokio::test(flavor = "multi_thread")]
async fn every_token_shows_its_violation_again() {
    if uml().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let finished = run(&workloads(&["naive_config"]), &options(&["ext4", "xfs", "btrfs"]), directory.path()).await;
    // The file is emptied and nothing else has happened: its new data come later, or are under way, which btrfs does not know
    // of before their end.
    let late = |violation: &report::ViolationReport| {
        let under_way = violation.kept.iter().chain(&violation.lost);
        !violation.unwritten.is_empty()
            || under_way.into_iter().any(|write| {
                matches!(write, WriteReport::Known(BlockWrite {
                holds: Some(BlockContent::Data { path, .. }), ..
            }) if path == "settings.json")
            })
    };
    let unwritten = |cell: &report::CellReport| cell.violations.iter().any(late);
    let mut shown = 0;
    for cell in &finished.report.cells {
        let ops = finished.report.ops_of(&cell.id.workload);
        let lists = [(&cell.violations, true), (&cell.not_durable, false), (&cell.weaknesses, false)];
        for (violation, fails) in lists.iter().flat_map(|(list, fails)| list.iter().map(move |found| (found, *fails))) {
            let token: Token = violation.token.parse().unwrap();
            let executed = reproduce_token(&finished.store, token, &engine::permit::Permit::everything(), Choice::Uml)
                .await
                .unwrap();
            let again = executed.findings.iter().any(|finding| {
                (finding.invariant.to_string(), finding.kind, finding.path.to_string(), finding.fails)
                    == (violation.invariant.clone(), violation.kind, violation.path.clone(), fails)
            });
            assert!(again, "{}: {violation:?}\n{}", cell.id, executed.text);
            let said = [
                Some(format!("\nearliest: {}\n", sentences::after(violation.after_op, ops))),
                violation.after_op_latest.map(|op| format!("\nlatest: {}\n", sentences::after(Some(op), ops))),
                violation.hint.as_ref().map(|hint| sentences::hint(hint, ops)),
            ];
            for said in said.into_iter().flatten() {
                assert!(executed.text.contains(&said), "{}: {said}\n{}", violation.token, executed.text);
            }
            shown += 1;
        }
        assert!(unwritten(cell), "{}: {:?}", cell.id, cell.violations);
    }
    assert!(shown >= 6, "{shown} tokens");
}
