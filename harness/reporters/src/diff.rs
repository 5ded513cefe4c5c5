//! What differs between two runs, for people.

use std::path::Path;

use report::{Diff, Explored, Key, Subject, Unseen};

use crate::human::reproduce;
use crate::text::{headline, many, tame};

/// For people: what is new first, and one line at the end that sums up. `results` is where tokens of the later run
/// have to be looked for, if it is not where they are looked for by themselves.
pub fn diff_text(diff: &Diff, results: Option<&Path>) -> String {
    let mut lines = Vec::new();
    let show = |key: &Key| format!("{}: {}", subject(&key.subject), of_key(key));
    lines.extend(diff.new.iter().map(|(key, token)| {
        let reproduce = token.as_ref().map_or_else(String::new, |token| format!(": {}", reproduce(token, results)));
        format!("new        {}{reproduce}", show(key))
    }));
    let lost = diff.no_longer_durable.iter();
    lines.extend(
        lost.map(|cell| format!("new        {}: no longer durable after exit (which fails nothing)", subject(cell))),
    );
    lines.extend(diff.fixed.iter().map(|key| format!("fixed      {}", show(key))));
    lines.extend(diff.now_durable.iter().map(|cell| format!("fixed      {}: now durable after exit", subject(cell))));
    lines.extend(diff.not_seen.iter().map(|(key, why)| format!("not seen   {}; {}", show(key), unseen(*why))));
    if let Some([before, after]) = &diff.narrower {
        let sets = [before, after].map(|run| run.as_ref().map(|run| run.set));
        let told = |run: &Option<Explored>| match run {
            None => "what its report does not tell".to_owned(),
            Some(run) if sets[0] == sets[1] => run.to_string(),
            Some(run) => format!("{run}, the schedules of set {}", run.set),
        };
        lines.push(format!("explored   the earlier run: {}", told(before)));
        lines.push(format!("explored   the later run: {}", told(after)));
    }
    lines.extend(diff.unchanged.iter().map(|key| format!("unchanged  {}", show(key))));
    let lost = diff.still_not_durable.iter();
    lines
        .extend(lost.map(|cell| format!("unchanged  {}: not durable after exit (which fails nothing)", subject(cell))));
    for (cells, what) in [
        (&diff.only_before, "is in the earlier results only"),
        (&diff.only_after, "is in the later results only"),
        (&diff.no_longer_exhaustive, "is no longer exhaustive"),
        (&diff.no_longer_judged, "can no longer be judged"),
        (&diff.no_longer_ruled, "has changed files now that no rule is held against"),
    ] {
        lines.extend(cells.iter().map(|cell| format!("cell       {} {what}", subject(cell))));
    }
    let mut sum = format!(
        "{} new, {} fixed, {} unchanged",
        many(diff.new.len(), "violation"),
        diff.fixed.len(),
        diff.unchanged.len()
    );
    if !diff.not_seen.is_empty() {
        sum.push_str(&format!(", {} not seen", diff.not_seen.len()));
    }
    for (cells, what) in [
        (&diff.now_durable, "now durable"),
        (&diff.no_longer_durable, "no longer durable"),
        (&diff.still_not_durable, "not durable as before"),
    ] {
        if !cells.is_empty() {
            sum.push_str(&format!(", {} {what}", cells.len()));
        }
    }
    lines.push(sum);
    lines.iter().map(|line| tame(line) + "\n").collect()
}

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Power(cell) => cell.to_string(),
        Subject::Process(workload) => format!("{workload} killed"),
    }
}

fn of_key(key: &Key) -> String {
    headline(&key.path, &key.kind, &key.invariant, key.cause.as_deref())
}

/// Why a violation is not fixed.
fn unseen(why: Unseen) -> &'static str {
    match why {
        Unseen::NotAsked => "but the later run does not ask for that, as far as its report tells (see asked)",
        Unseen::Narrower => "but it is not known that the later run looked for it (see explored)",
        Unseen::NotCovered => "but not every state of this cell was covered and judged this time",
    }
}

#[cfg(test)]
mod tests;
