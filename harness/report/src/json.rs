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
    use crate::testing;

    #[test]
    fn the_report_is_written_and_read_back() {
        let text = to_json(&testing::report());
        insta::assert_snapshot!(text);
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), testing::report());
    }

    #[test]
    fn process_crashes_are_written_and_read_back() {
        let report = Report { cells: vec![], ..testing::with_process_crashes() };
        let text = to_json(&report);
        insta::assert_snapshot!(text);
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
