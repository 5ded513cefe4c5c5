//! The text of `report.json`.

use serde_json::Value;

use crate::Report;

/// The field that holds the checksum of all others.
const CHECKSUM: &str = "checksum";

/// The fields of a report, in this version or those before it. What has another name may be one of these whose name was
/// damaged.
const FIELDS: [&str; 8] = ["schema", "workload", "explored", "asked", "cells", "process_crashes", "ops", CHECKSUM];

/// The text of `report.json`. Its last field is a checksum, which tells what a disk or a slip of the hand has damaged.
pub fn to_json(report: &Report) -> String {
    let text = serde_json::to_string_pretty(report).expect("a report holds nothing that JSON cannot");
    let value = serde_json::to_value(report).expect("a report holds nothing that JSON cannot");
    let fields = text.strip_suffix("\n}").unwrap_or(&text);
    format!("{fields},\n  \"{CHECKSUM}\": \"{}\"\n}}\n", sum(&value))
}

/// Takes the checksum out of a report, which is JSON, and says what is wrong with it. Older builds wrote none.
pub(crate) fn unseal(report: &mut Value) -> Result<(), String> {
    let Some(fields) = report.as_object_mut() else { return Ok(()) };
    let checksum = fields.remove(CHECKSUM);
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(format!("it has a field {unknown:?}, which no report has"));
    }
    match checksum {
        Some(checksum) if checksum.as_str() != Some(&sum(report)) => {
            Err("it does not hold what its checksum was made of".into())
        }
        _ => Ok(()),
    }
}

/// However it is indented.
fn sum(report: &Value) -> String {
    format!("{:08x}", crc32fast::hash(report.to_string().as_bytes()))
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
