use checker::Wanted;
use report::testing::{
    self, bare_violation, cell, explored, incomplete, invalid, killed, killed_and_violated, violated, violation,
};
use report::{
    Asked, CellReport, Durable, ExitStatus, OTHER_FAILURES, ProcessReport, Report, Tear, ViolationReport, diff,
};

use super::*;

fn compare(before: &[CellReport], after: &[CellReport]) -> Diff {
    diff(&Report::new(before.to_vec()), &Report::new(after.to_vec()))
}

#[test]
fn a_run_compared_with_itself() {
    let cells = [violated("ext4"), incomplete("xfs"), invalid("btrfs")];
    let diff = compare(&cells, &cells);
    let still_not_durable = vec![Subject::Power(cells[0].id.clone())];
    assert_eq!(diff, Diff { unchanged: diff.unchanged.clone(), still_not_durable, ..Diff::default() });
    assert_eq!(diff.exit_status(), ExitStatus::Holds);
}

#[test]
fn only_a_cell_that_was_covered_and_judged_can_fix() {
    let fixed = compare(&[violated("ext4")], &[cell("ext4")]);
    assert_eq!((fixed.fixed.len(), fixed.not_seen.len()), (1, 0));
    for after in [incomplete("ext4"), invalid("ext4")] {
        let diff = compare(&[violated("ext4")], &[after]);
        assert_eq!((diff.fixed.len(), diff.not_seen.len()), (0, 1));
    }
    assert_eq!(compare(&[violated("ext4")], &[]).fixed, []);
}

/// A run that looks at less finds less.
#[test]
fn only_a_run_that_looks_at_as_much_can_fix() {
    let run = |cell, tear, schedules| Report {
        explored: Some(Explored { tear, schedules, ..explored() }),
        ..Report::new(vec![cell])
    };
    let before = run(violated("ext4"), Tear::One, 1);
    for (tear, schedules) in [(Tear::One, 1), (Tear::Any, 1), (Tear::One, 2)] {
        let diff = diff(&before, &run(cell("ext4"), tear, schedules));
        assert_eq!((diff.fixed.len(), diff.not_seen.len(), diff.narrower), (1, 0, None));
    }
    let less = diff(&before, &run(cell("ext4"), Tear::None, 1));
    assert_eq!((less.fixed.len(), less.not_seen.len()), (0, 1));
    insta::assert_snapshot!(diff_text(&less, None));
    let of_set = |set, cell| Report { explored: Some(Explored { set, ..explored() }), ..Report::new(vec![cell]) };
    let other = diff(&of_set(1, violated("ext4")), &of_set(2, cell("ext4")));
    assert_eq!((other.fixed.len(), other.not_seen.len()), (0, 1));
    assert!(
        diff_text(&other, None).contains(
            "the later run: --disk writeback --sector 512 --tear one --schedules 1, the schedules of set 2\n"
        )
    );
    let unknown = diff(&before, &Report::new(vec![cell("ext4")]));
    assert_eq!((unknown.fixed.len(), unknown.not_seen.len()), (0, 1));
    let killed = |killed| Report { process_crashes: vec![killed], ..run(cell("ext4"), Tear::One, 1) };
    let after = Report { process_crashes: vec![testing::killed("saver")], ..run(cell("ext4"), Tear::None, 1) };
    let fixed = diff(&killed(killed_and_violated("saver")), &after);
    assert_eq!((fixed.fixed.len(), fixed.not_seen.len()), (1, 0));
}

/// Whoever deletes an invariant has mended nothing.
#[test]
fn only_a_run_that_asks_for_as_much_can_fix() {
    let atomic = |path: &str| Wanted::AtomicReplace { path: path.into() };
    let asking = |cell: CellReport, invariants: &[Wanted]| {
        let workload = cell.id.workload.clone();
        let (invariants, chosen, ignore) = (invariants.to_vec(), None, vec![]);
        let asked = vec![Asked { workload, invariants, chosen, ignore, check: None, require_durable: false }];
        Report { asked, ..Report::new(vec![cell]) }
    };
    let before = asking(violated("ext4"), &[atomic("config.json"), atomic("other")]);
    for asked in [&[atomic("config.json")][..], &[]] {
        let diff = diff(&before, &asking(cell("ext4"), asked));
        assert_eq!((diff.fixed.len(), diff.not_seen.len()), (1, 0), "{asked:?}");
    }
    let less = diff(&before, &asking(cell("ext4"), &[atomic("other")]));
    assert_eq!((less.fixed.len(), less.not_seen.len()), (0, 1));
    insta::assert_snapshot!(diff_text(&less, None));
    let unknown = diff(&before, &Report::new(vec![cell("ext4")]));
    assert_eq!((unknown.fixed.len(), unknown.not_seen.len()), (0, 1));
    // A report of an older version can be compared with, and what the later one asks for can be fixed.
    let older = Report::new(vec![violated("ext4")]);
    assert_eq!(diff(&older, &asking(cell("ext4"), &[atomic("config.json")])).fixed.len(), 1);
    assert_eq!(diff(&older, &asking(cell("ext4"), &[atomic("other")])).fixed.len(), 0);
    let killed =
        |killed, invariants: &[Wanted]| Report { process_crashes: vec![killed], ..asking(cell("ext4"), invariants) };
    let workload = &cell("ext4").id.workload;
    let before = killed(killed_and_violated(workload), &[atomic("config.json")]);
    let after = |asked: &[Wanted]| diff(&before, &killed(testing::killed(workload), asked)).fixed.len();
    assert_eq!((after(&[atomic("config.json")]), after(&[atomic("other")])), (1, 0));
}

/// What is still found, though nobody asks for it any more, is not fixed, whatever reports do not tell.
#[test]
fn what_is_still_told_is_not_fixed() {
    let before = CellReport { violations: vec![bare_violation()], ..cell("ext4") };
    let not_durable = CellReport { not_durable: vec![bare_violation()], ..cell("ext4") };
    let warned = CellReport { warnings: vec![bare_violation()], ..cell("ext4") };
    for after in [not_durable, warned] {
        let diff = compare(std::slice::from_ref(&before), &[after]);
        assert_eq!((diff.fixed, diff.not_seen[0].1), (vec![], Unseen::NotAsked));
    }
}

/// The second mend, an fsync of the directory, mends no violation that anyone asked for.
#[test]
fn durability_counts_and_fails_nothing() {
    let with = |durable_after_exit| CellReport { durable_after_exit, ..cell("ext4") };
    let [no, yes, unknown] = [Durable::No, Durable::Yes, Durable::Unknown].map(with);
    let [one, other] = [&no, &yes].map(std::slice::from_ref);
    let (better, worse) = (compare(one, other), compare(other, one));
    assert_eq!((better.exit_status(), worse.exit_status()), (ExitStatus::Holds, ExitStatus::Holds));
    let sum = "0 violations new, 0 fixed, 0 unchanged";
    let fixed = format!("fixed      naive_config on ext4: now durable after exit\n{sum}, 1 now durable\n");
    assert_eq!(diff_text(&better, None), fixed);
    let new = "new        naive_config on ext4: no longer durable after exit (which fails nothing)";
    assert_eq!(diff_text(&worse, None), format!("{new}\n{sum}, 1 no longer durable\n"));
    let still = "unchanged  naive_config on ext4: not durable after exit (which fails nothing)";
    assert_eq!(diff_text(&compare(one, one), None), format!("{still}\n{sum}, 1 not durable as before\n"));
    assert_eq!(compare(one, std::slice::from_ref(&unknown)), Diff::default());
    assert_eq!(compare(other, std::slice::from_ref(&unknown)), Diff::default());
    // Fewer states prove nothing.
    let run = |cell: &CellReport, tear| Report {
        explored: Some(Explored { tear, ..explored() }),
        ..Report::new(vec![cell.clone()])
    };
    assert_eq!(diff(&run(&no, Tear::One), &run(&yes, Tear::None)).now_durable, []);
    assert_eq!(diff(&run(&no, Tear::One), &run(&yes, Tear::Any)).now_durable.len(), 1);
    // What is asked for is a violation, and told once.
    let asked = CellReport { violations: vec![bare_violation()], ..no.clone() };
    let [asked, yes] = [&asked, &yes].map(std::slice::from_ref);
    assert_eq!(diff_text(&compare(asked, yes), None).lines().count(), 2);
    assert_eq!(diff_text(&compare(yes, asked), None).lines().count(), 2);
}

/// One fault of two that is mended is fixed, though the check still fails.
#[test]
fn failures_of_a_check_are_compared_by_their_causes() {
    let failing = |causes: &[Option<&str>]| {
        let failure = |cause: &Option<&str>| ViolationReport {
            invariant: "check".into(),
            kind: checker::Kind::CheckFailed,
            path: ".".into(),
            cause: cause.map(str::to_owned),
            ..bare_violation()
        };
        [CellReport { violations: causes.iter().map(failure).collect(), ..cell("ext4") }]
    };
    let counts = |before: &[Option<&str>], after: &[Option<&str>]| {
        let diff = compare(&failing(before), &failing(after));
        (diff.new.len(), diff.fixed.len(), diff.unchanged.len())
    };
    let (one, two, others) = (Some("exit 11: one"), Some("exit 22: two"), Some(OTHER_FAILURES));
    assert_eq!(counts(&[one, two], &[two]), (0, 1, 1));
    assert_eq!(counts(&[one], &[two]), (1, 1, 0));
    // Where a report does not tell them apart, nobody knows.
    assert_eq!(counts(&[None], &[one, two]), (0, 0, 2));
    assert_eq!(counts(&[one, two], &[None]), (0, 0, 1));
    assert_eq!(counts(&[one, others], &[two]), (0, 1, 1));
    assert_eq!(counts(&[one, two], &[two, others]), (0, 0, 2));
    insta::assert_snapshot!(diff_text(&compare(&failing(&[one, two]), &failing(&[two])), None));
}

/// It is neither a pass nor a violation.
#[test]
fn what_cannot_be_judged_is_no_violation() {
    let both = CellReport { violations: vec![violation(), bare_violation()], ..invalid("ext4") };
    let diff = compare(&[violated("ext4")], std::slice::from_ref(&both));
    assert_eq!((diff.new.len(), diff.unchanged.len(), diff.not_seen.len()), (0, 0, 1));
    assert_eq!((diff.no_longer_judged.len(), diff.exit_status()), (1, ExitStatus::Holds));
    insta::assert_snapshot!(diff_text(&diff, None));
    let diff = compare(&[], &[both]);
    assert_eq!((diff.new.len(), diff.only_after.len(), diff.exit_status()), (0, 1, ExitStatus::Holds));
    let failed = ProcessReport { failure: Some("no".into()), ..killed_and_violated("saver") };
    let run = |killed| Report::with_process_crashes(vec![], vec![killed]);
    assert_eq!(report::diff(&run(killed("saver")), &run(failed)).exit_status(), ExitStatus::Holds);
}

/// What was shown there was no violation: it cannot be fixed, and nobody has failed for it before.
#[test]
fn what_could_not_be_judged_was_no_violation() {
    let before = CellReport { violations: vec![violation()], ..invalid("ext4") };
    let diff = compare(std::slice::from_ref(&before), &[violated("ext4")]);
    assert_eq!((diff.new.len(), diff.unchanged.len(), diff.exit_status()), (1, 0, ExitStatus::Violation));
    for after in [cell("ext4"), before.clone()] {
        assert_eq!(compare(std::slice::from_ref(&before), &[after]), Diff::default());
    }
    let failed = ProcessReport { failure: Some("no".into()), ..killed_and_violated("saver") };
    let run = |killed| Report::with_process_crashes(vec![], vec![killed]);
    assert_eq!(report::diff(&run(failed.clone()), &run(killed_and_violated("saver"))).new.len(), 1);
    assert_eq!(report::diff(&run(failed), &run(killed("saver"))), Diff::default());
}

#[test]
fn commands_find_the_results_that_were_compared() {
    let worse = diff_text(&compare(&[cell("ext4")], &[violated("ext4")]), Some(Path::new("my results")));
    assert!(worse.contains(": harness reproduce cc1-7f3k-9a --results 'my results'\n"), "{worse}");
}

#[test]
fn another_option_is_another_cell() {
    let diff = compare(&[violated("ext4")], &[violated("ext4:noauto_da_alloc")]);
    assert_eq!((diff.new.len(), diff.only_before.len(), diff.only_after.len()), (1, 1, 1));
    assert_eq!(diff.exit_status(), ExitStatus::Violation);
}

/// A program that loses more than before when it is killed is worse than before.
#[test]
fn process_crashes_count() {
    let run = |killed: &[ProcessReport]| Report::with_process_crashes(vec![cell("ext4")], killed.to_vec());
    let (held, lost) = (killed("saver"), killed_and_violated("saver"));
    let worse = diff(&run(std::slice::from_ref(&held)), &run(std::slice::from_ref(&lost)));
    assert_eq!((worse.new.len(), worse.exit_status()), (1, ExitStatus::Violation));
    insta::assert_snapshot!(diff_text(&worse, None));
    let better = diff(&run(std::slice::from_ref(&lost)), &run(&[held]));
    assert_eq!((better.fixed.len(), better.exit_status()), (1, ExitStatus::Holds));
    let failed = ProcessReport { failure: Some("no".into()), violations: vec![], ..lost.clone() };
    let unknown = diff(&run(std::slice::from_ref(&lost)), &run(&[failed]));
    assert_eq!((unknown.not_seen.len(), unknown.no_longer_judged.len()), (1, 1));
    assert_eq!(diff(&run(&[]), &run(&[lost])).exit_status(), ExitStatus::Violation);
}

#[test]
fn every_kind_of_line_side_by_side() {
    let with = |fs, violations| CellReport { violations, ..cell(fs) };
    let before = [
        with("ext4", vec![violation(), ViolationReport { path: "other".into(), ..violation() }]),
        violated("xfs"),
        cell("btrfs"),
        cell("xfs:ro"),
    ];
    let after = [with("ext4", vec![violation(), bare_violation()]), incomplete("xfs"), invalid("btrfs"), cell("f2fs")];
    insta::assert_snapshot!(diff_text(&compare(&before, &after), None));
}
