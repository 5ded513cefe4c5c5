use checker::{Hint, Observed};
use report::{AckRef, CellReport, Durable, OTHER_FAILURES, Promised, Reach, Schedules, ViolationReport, testing};

use super::*;

#[test]
fn every_kind_of_line_side_by_side() {
    insta::assert_snapshot!(final_text(&testing::report(), false, None));
}

#[test]
fn colours_are_those_of_verdicts_and_change_nothing_else() {
    let mut report = testing::report();
    // What a bar and a wide letter in a name do to the columns must not matter.
    for cell in report.cells.iter_mut().filter(|cell| cell.id.workload == "naive_config") {
        cell.id.workload = "na|ve 設定".into();
    }
    let process = testing::with_process_crashes().process_crashes;
    let more = report.cells[0].clone();
    report.cells.push(CellReport { violations: vec![], ..more });
    let report = Report::with_process_crashes(report.cells, process);
    let (plain, coloured) = (final_text(&report, false, None), final_text(&report, true, None));
    let mut bare = coloured.clone();
    for code in ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[0m"] {
        bare = bare.replace(code, "");
    }
    assert_eq!(bare, plain);
    let table: Vec<&str> = coloured.lines().take_while(|line| !line.is_empty()).collect();
    insta::assert_snapshot!(table.join("\n").replace('\x1b', "ESC"));
}

#[test]
fn a_program_that_is_killed_has_a_column_and_blocks_of_its_own() {
    let report = testing::with_process_crashes();
    insta::assert_snapshot!(final_text(&Report { cells: vec![], ..report }, false, None));
}

#[test]
fn process_crashes_stand_beside_file_systems() {
    let report = Report { cells: testing::report().cells.split_off(3), ..testing::with_process_crashes() };
    insta::assert_snapshot!(final_text(&report, false, None));
}

#[test]
fn a_count_over_some_states_says_so() {
    let cell = CellReport { violations: vec![testing::violation()], ..testing::incomplete("xfs") };
    let text = final_text(&Report::new(vec![cell]), false, None);
    let line = text.lines().find(|line| line.trim_start().starts_with("states")).unwrap();
    assert_eq!(line, "  states    332 of about 3.85 × 10^76 covered so far; the disk model allows about 1.15 × 10^77");
    assert!(text.contains("violation: 1 kind, not all covered"), "{text}");
}

#[test]
fn where_nothing_was_lost_it_tells_what_came_too_late() {
    let violation = testing::violation();
    let violation = ViolationReport { unwritten: violation.lost[..1].to_vec(), lost: vec![], ..violation };
    let cell = CellReport { violations: vec![violation], ..testing::cell("xfs") };
    let text = final_text(&Report::new(vec![cell]).with_ops(testing::ops), false, None);
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("  kept")).take(2).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// However much a program prints, and its check.
#[test]
fn nothing_grows_with_what_is_printed() {
    let lines: Vec<String> = (0..40).map(|number| format!("frame {number}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let check = ViolationReport {
        invariant: "check".into(),
        kind: checker::Kind::CheckFailed,
        path: ".".into(),
        observed: Observed::Check { ended: "exit 11".into(), message: "one is empty".into(), earliest_acks: false },
        cause: Some("exit #: one is empty".into()),
        output: Some(checker::Output::of(&lines, 5)),
        promised: Some(Promised { ack: AckRef::Text("ack stdout \"done\\n\"".into()), before: 7999 }),
        ..testing::bare_violation()
    };
    let others = ViolationReport {
        cause: Some(OTHER_FAILURES.into()),
        output: Some(checker::Output::of(&["one is empty"], 5)),
        promised: Some(Promised { ack: AckRef::Text("exit 0".into()), before: 1 }),
        ..check.clone()
    };
    // Of an older version.
    let acks = (0..3).map(|number| AckRef::Text(format!("ack stdout \"{number}\""))).collect();
    let older = ViolationReport { cause: None, output: None, promised: None, acks, ..check.clone() };
    let cell = CellReport { violations: vec![check, others, older], ..testing::cell("xfs") };
    let report = Report::new(vec![cell]);
    insta::assert_snapshot!(final_text(&report, false, None));
}

#[test]
fn a_cell_that_was_not_begun_says_so() {
    let cell = CellReport { crash_states: Default::default(), notes: vec![], ..testing::incomplete("xfs") };
    insta::assert_snapshot!(final_text(&Report::new(vec![cell]), false, None));
}

#[test]
fn a_cell_that_is_not_whole_says_what_is() {
    let line = |cell: CellReport| {
        let text = final_text(&Report::new(vec![cell]), false, None);
        let line = text.lines().find(|line| line.contains("not exhaustive")).unwrap().to_owned();
        line.replacen("naive_config on xfs: not exhaustive: about 3.85 × 10^76 of about 1.15 × 10^77 states ", "", 1)
    };
    let known = testing::incomplete("xfs");
    let whole = "all 24 with no loss, all 3,072 with one loss or tear, 12 % of 196,608 with two";
    assert_eq!(line(known.clone()), format!("of all 12 schedules: {whole}"));
    let some = known.reach.clone().map(|reach| Reach { executed: 9, ..reach });
    let some = CellReport { reach: some, ..known.clone() };
    assert_eq!(line(some), format!("of the 9 schedules executed of 12: {whole}"));
    // Of an older version.
    assert_eq!(line(CellReport { reach: None, ..known }), "of 3 of 12 schedules");
}

/// Whoever asks for it sees it, and it is no violation.
#[test]
fn what_could_not_be_judged_is_no_violation() {
    let seen = CellReport { violations: vec![testing::violation()], ..testing::invalid("xfs") };
    let text = final_text(&Report::new(vec![seen]), true, None);
    assert!(text.contains("\nseen, not judged, in naive_config on xfs: config.json is empty"), "{text}");
    assert!(!text.contains("violation"), "{text}");
}

#[test]
fn what_was_not_explored_says_how_to() {
    let CellReport { schedules, .. } = testing::invalid("xfs");
    let schedules = Schedules { explored: 0, new: 0, ..schedules };
    let cell = CellReport { schedules, crash_states: Default::default(), ..testing::invalid("xfs") };
    let text = final_text(&Report::new(vec![cell]), false, None);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("naive_config on xfs: ")).collect();
    assert!(lines[0].ends_with("not followed: mmap, shared mapping of data.db (2 times)"), "{text}");
    assert!(lines[1].contains("nothing was explored") && lines[1].contains("--explore-invalid"), "{text}");
    assert_eq!(lines.len(), 2, "{text}");
}

/// As in `matrix.md`; what one missing call shows in many ways is said once.
#[test]
fn what_is_not_durable_has_its_hint() {
    let lost = |path: &str, hint: Option<&str>| ViolationReport {
        path: path.into(),
        hint: hint.map(|text| Hint::Text { text: text.into() }),
        ..testing::bare_violation()
    };
    let hint = Some("no fsync of the directory");
    let not_durable =
        vec![lost("a", hint), lost("b", hint), lost("c", None), lost("d", hint), lost("e", hint), lost("f", hint)];
    let cell = CellReport { not_durable, durable_after_exit: Durable::No, ..testing::cell("xfs") };
    let violated = CellReport { violations: vec![testing::violation()], ..cell.clone() };
    let alike = vec![lost("config.json", hint), lost("config.json", None)];
    let short = CellReport { not_durable: alike, ..violated };
    let text = final_text(&Report::new(vec![cell, short]), false, None);
    let start = text.find("Not durable once").unwrap();
    insta::assert_snapshot!(&text[start..]);
}

/// What nobody can judge is told with what to do about it.
#[test]
fn files_without_a_rule_are_named() {
    let text = final_text(&Report::new(vec![testing::unjudged("xfs"), testing::cell("ext4")]), false, None);
    insta::assert_snapshot!(text);
}

#[test]
fn commands_find_results_that_are_elsewhere() {
    let mut out = Vec::new();
    let mut human = Human::new(&mut out, false).with_results(Some("my results".into()));
    human.event(&Event::RunFinished(testing::report()));
    human.finish().unwrap();
    let text = String::from_utf8(out).unwrap();
    let commands = || text.lines().filter(|line| line.contains("harness reproduce "));
    assert!(commands().count() > 2 && commands().all(|line| line.ends_with(" --results 'my results'")), "{text}");
}

#[test]
fn colours_on_request_only() {
    let report = Report::new(vec![testing::violated("xfs"), testing::cell("ext4")]);
    let text = final_text(&report, true, None);
    assert!(text.contains("\x1b[31mviolation\x1b[0m in naive_config on xfs"), "{text}");
    assert_eq!(text.matches('\x1b').count(), 6, "two cells of the table and one headline: {text:?}");
    assert!(!final_text(&report, false, None).contains('\x1b'));
}

#[test]
fn a_run_of_nothing_says_so() {
    assert_eq!(final_text(&Report::new(vec![]), false, None), "nothing was tested\n");
}

#[test]
fn the_reporter_writes_at_the_end_only() {
    let mut out = Vec::new();
    let mut human = Human::new(&mut out, false);
    for event in testing::events() {
        human.event(&event);
    }
    human.finish().unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), final_text(&testing::report(), false, None));
}

/// Whatever version it has, and with the ops that it names.
#[test]
fn a_report_of_the_first_version_is_shown() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../report/src/v1/sample.json");
    insta::assert_snapshot!(final_text(&report::read_report(Path::new(sample)).unwrap(), false, None));
}

#[test]
fn a_violation_of_this_version_is_shown() {
    let cell = CellReport { violations: vec![testing::known_violation()], ..testing::cell("xfs") };
    insta::assert_snapshot!(final_text(&Report::new(vec![cell]).with_ops(testing::ops), false, None));
}
