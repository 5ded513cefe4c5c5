//! The text of `report.json`.

use crate::Report;

/// The text of `report.json`.
pub fn to_json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("a report holds nothing that JSON cannot");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CellReport, Note, testing};

    #[test]
    fn the_report_is_written_and_read_back() {
        let text = to_json(&testing::report());
        insta::assert_snapshot!(text);
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), testing::report());
    }

    /// Whatever a violation holds, and a note.
    #[test]
    fn values_are_written_and_read_back() {
        let owners = |owner| checker::Owners { owner, group: 0 };
        let changed = checker::ChangedMetadata {
            path: "f".into(),
            mode: checker::Changed::from_to(0o644, 0o600),
            owner_and_group: Some([owners(1000), owners(0)]),
        };
        let notes = vec![
            Note::BudgetSpent,
            Note::SchedulesChosen { chosen: 1000, of: 20_000 },
            Note::ChangedMetadata { changed },
        ];
        let cell = CellReport { violations: vec![testing::known_violation()], notes, ..testing::cell("xfs") };
        let report = Report::new(vec![cell]).with_ops(testing::ops);
        let text = to_json(&report);
        insta::assert_snapshot!(text);
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        assert_eq!(testkit::conforms(crate::schema().as_value(), &serde_json::from_str(&text).unwrap()), Ok(()));
    }

    #[test]
    fn process_crashes_are_written_and_read_back() {
        let report = Report { cells: vec![], ..testing::with_process_crashes() };
        let text = to_json(&report);
        insta::assert_snapshot!(text);
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
