//! Each rule by its definition, on traces of a few calls. Here is what these tests share.

use program::Call;

use super::*;
use crate::testing::{CREATE, observation, observed_text, open, rename, see, trace, write};
use crate::{GarbageTail, Record};

mod append;
mod content;
mod durable;
mod growing;
mod history;
mod hostile;
mod read_plan;
mod tree;
mod wanted;
mod whole;

fn rules(trace: &Trace, wanted: &[Wanted]) -> Rules {
    Rules::new(trace, &History::new(trace), wanted).unwrap()
}

const NEVER: CrashWindow = CrashWindow { begun_earliest: 0, ended_latest: 0 };

fn at(op: usize) -> CrashWindow {
    CrashWindow { begun_earliest: op, ended_latest: op }
}

fn wants_durable(ack: &str) -> Vec<Wanted> {
    vec![Wanted::DurableAfter { ack: Ack::Text(ack.into()), path: None }]
}

/// The kinds found of `f` with this content, `None` for no such file, as `invariant kind`.
fn kinds(rules: &Rules, content: Option<&[u8]>, window: &CrashWindow) -> Vec<String> {
    let path = RelPath::from("f");
    let seen = content.map(|content| (path.clone(), see(rules.read_plan(), &path, content)));
    let findings = rules.judge(&observation(seen.into_iter().collect()), window);
    findings.iter().map(|finding| format!("{} {}", finding.invariant, finding.kind)).collect()
}

fn save(text: &str) -> Vec<Call> {
    vec![open(1, "tmp", CREATE), write(1, 0, text.as_bytes()), rename("tmp", "f")]
}

/// A file of sectors: each letter fills 512 bytes, `.` with zeros; a digit makes 10 bytes.
fn sectors(letters: &str) -> Vec<u8> {
    let sector = |c: char| match c {
        '.' => vec![0; 512],
        digit if digit.is_ascii_digit() => vec![digit as u8; 10],
        letter => vec![letter as u8; 512],
    };
    letters.chars().flat_map(sector).collect()
}

/// What is found of `f` with this content, `None` for no such file; the empty text if nothing is wrong.
fn found(rules: &Rules, content: Option<&[u8]>) -> String {
    let path = RelPath::from("f");
    let seen = content.map(|content| (path.clone(), see(rules.read_plan(), &path, content)));
    let findings = rules.judge(&observation(seen.into_iter().collect()), &NEVER);
    let text = |finding: &Finding| format!("{}: {}", finding.kind, observed_text(&finding.observed));
    findings.iter().map(text).collect::<Vec<_>>().join("; ")
}

/// A log that begins with `old` and gets these writes, each at the end.
fn log(old: Option<&[u8]>, writes: &[&[u8]]) -> Trace {
    let mut calls = vec![open(1, "f", CREATE)];
    let mut end = old.map_or(0, <[u8]>::len) as u64;
    for data in writes {
        calls.push(write(1, end, data));
        end += data.len() as u64;
    }
    let before: Vec<(&str, &[u8])> = old.iter().map(|old| ("f", *old)).collect();
    trace(&before, calls)
}

fn append_only(record: Option<Record>, garbage_tail: Option<GarbageTail>) -> [Wanted; 1] {
    [Wanted::AppendOnly { path: "f".into(), record, garbage_tail }]
}
