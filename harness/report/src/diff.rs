//! Two runs compared: what is fixed, what is new.

use std::collections::{BTreeMap, BTreeSet};

use crate::text::{many, tame};
use crate::{CellId, CellReport, ExitStatus, Report, Verdict, ViolationReport};

/// What makes a violation the same in two runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Workload, file system and options.
    pub cell: CellId,
    /// The rule.
    pub invariant: String,
    /// How it is broken, as the report names it.
    pub kind: String,
    /// The file.
    pub path: String,
}

/// What differs between two runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Violations of the later run alone, with their tokens.
    pub new: Vec<(Key, String)>,
    /// Violations that the later run would have found, and did not: its cell covered every state and could be judged.
    pub fixed: Vec<Key>,
    /// Violations that the later run did not find, in a cell that it did not fully cover or could not judge.
    pub not_seen: Vec<Key>,
    /// Violations of both.
    pub unchanged: Vec<Key>,
    /// Cells that only the earlier run has; its violations there are in no other list.
    pub only_before: Vec<CellId>,
    /// Cells that only the later run has; its violations there are new.
    pub only_after: Vec<CellId>,
    /// Cells that the earlier run covered fully, and the later one did not.
    pub no_longer_exhaustive: Vec<CellId>,
    /// Cells that could be judged, and no longer can.
    pub no_longer_judged: Vec<CellId>,
}

/// Compares two runs.
pub fn diff(before: &Report, after: &Report) -> Diff {
    let (old, new) = (cells(before), cells(after));
    let mut diff = Diff::default();
    let all: BTreeSet<&CellId> = old.keys().chain(new.keys()).copied().collect();
    for id in all {
        let (earlier, later) = match (old.get(id), new.get(id)) {
            (Some(earlier), Some(later)) => (earlier.as_slice(), later.as_slice()),
            (Some(_), None) => {
                diff.only_before.push(id.clone());
                continue;
            }
            (None, Some(later)) => {
                diff.only_after.push(id.clone());
                (&[][..], later.as_slice())
            }
            (None, None) => continue,
        };
        let every = |cells: &[&CellReport], test: fn(&CellReport) -> bool| cells.iter().all(|cell| test(cell));
        let judged =
            |cell: &CellReport| cell.limits.is_empty() && cell.failure.is_none() && cell.verdict() != Verdict::Invalid;
        let (full, sound) = (every(later, CellReport::exhaustive), every(later, judged));
        if every(earlier, CellReport::exhaustive) && !full && !earlier.is_empty() {
            diff.no_longer_exhaustive.push(id.clone());
        }
        if every(earlier, judged) && !sound && !earlier.is_empty() {
            diff.no_longer_judged.push(id.clone());
        }
        let (was, is) = (violations(earlier), violations(later));
        for (key, token) in &is {
            if was.contains_key(key) {
                diff.unchanged.push(key.clone());
            } else {
                diff.new.push((key.clone(), token.clone()));
            }
        }
        for key in was.keys().filter(|key| !is.contains_key(*key)) {
            if full && sound { diff.fixed.push(key.clone()) } else { diff.not_seen.push(key.clone()) }
        }
    }
    diff
}

fn cells(report: &Report) -> BTreeMap<&CellId, Vec<&CellReport>> {
    let mut cells: BTreeMap<&CellId, Vec<&CellReport>> = BTreeMap::new();
    for cell in &report.cells {
        cells.entry(&cell.id).or_default().push(cell);
    }
    cells
}

fn violations(cells: &[&CellReport]) -> BTreeMap<Key, String> {
    let key = |cell: &CellReport, violation: &ViolationReport| Key {
        cell: cell.id.clone(),
        invariant: violation.invariant.clone(),
        kind: violation.kind.to_string(),
        path: violation.path.clone(),
    };
    let all = cells.iter().flat_map(|cell| cell.violations.iter().map(move |violation| (*cell, violation)));
    all.map(|(cell, violation)| (key(cell, violation), violation.token.clone())).collect()
}

impl Diff {
    /// 1 if any violation is new.
    pub fn exit_status(&self) -> ExitStatus {
        if self.new.is_empty() { ExitStatus::Holds } else { ExitStatus::Violation }
    }

    /// For people: what is new first, and one line at the end that sums up.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        let show = |key: &Key| format!("{}: {} is {} ({})", key.cell, key.path, key.kind, key.invariant);
        lines.extend(self.new.iter().map(|(key, token)| format!("new        {}: harness replay {token}", show(key))));
        lines.extend(self.fixed.iter().map(|key| format!("fixed      {}", show(key))));
        lines.extend(self.not_seen.iter().map(|key| {
            format!("not seen   {}; but not every state of this cell was covered and judged this time", show(key))
        }));
        lines.extend(self.unchanged.iter().map(|key| format!("unchanged  {}", show(key))));
        for (cells, what) in [
            (&self.only_before, "is in the earlier results only"),
            (&self.only_after, "is in the later results only"),
            (&self.no_longer_exhaustive, "is no longer exhaustive"),
            (&self.no_longer_judged, "can no longer be judged"),
        ] {
            lines.extend(cells.iter().map(|cell| format!("cell       {cell} {what}")));
        }
        let mut sum = format!(
            "{} new, {} fixed, {} unchanged",
            many(self.new.len(), "violation"),
            self.fixed.len(),
            self.unchanged.len()
        );
        if !self.not_seen.is_empty() {
            sum.push_str(&format!(", {} not seen", self.not_seen.len()));
        }
        lines.push(sum);
        lines.iter().map(|line| tame(line) + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bare_violation, cell, incomplete, invalid, violated, violation};

    fn compare(before: &[CellReport], after: &[CellReport]) -> Diff {
        diff(&Report::new(before.to_vec()), &Report::new(after.to_vec()))
    }

    #[test]
    fn a_run_compared_with_itself() {
        let cells = [violated("ext4"), incomplete("xfs"), invalid("btrfs")];
        let diff = compare(&cells, &cells);
        assert_eq!(diff, Diff { unchanged: diff.unchanged.clone(), ..Diff::default() });
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

    #[test]
    fn another_option_is_another_cell() {
        let diff = compare(&[violated("ext4")], &[violated("ext4:noauto_da_alloc")]);
        assert_eq!((diff.new.len(), diff.only_before.len(), diff.only_after.len()), (1, 1, 1));
        assert_eq!(diff.exit_status(), ExitStatus::Violation);
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
        let after =
            [with("ext4", vec![violation(), bare_violation()]), incomplete("xfs"), invalid("btrfs"), cell("f2fs")];
        insta::assert_snapshot!(compare(&before, &after).text());
    }
}
