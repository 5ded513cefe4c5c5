//! Reads reports of version 1, in which most of what was found stands in words.
//!
//! A report is translated as JSON, field by field; whether it is whole is found out when the result is read.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::SCHEMA;

/// The version that is translated.
pub const VERSION: u64 = 1;

/// The ops of a workload, by index.
type Calls = BTreeMap<u64, String>;

/// What a report of version 1 is in this version: its words stay words.
pub fn translate(mut report: Value) -> Value {
    let mut all: Vec<(String, Calls)> = Vec::new();
    for cell in list(&mut report, "cells") {
        let calls = calls(&mut all, cell);
        for told in ["violations", "not_durable", "weaknesses", "warnings"] {
            list(cell, told).for_each(|violation| power(violation, calls));
        }
        rename(cell, "limits", "unmodelled_calls");
        if let Some(reach) = cell.get_mut("reach") {
            rename(reach, "replayed", "executed");
        }
        list(cell, "notes").for_each(|note| *note = json!({ "note": "text", "text": note.take() }));
    }
    for killed in list(&mut report, "process_crashes") {
        let calls = calls(&mut all, killed);
        list(killed, "violations").for_each(|violation| process(violation, calls));
        rename(killed, "limits", "unmodelled_calls");
        list(killed, "notes").for_each(|note| *note = json!({ "note": "text", "text": note.take() }));
    }
    let shown = |calls: Calls| calls.into_iter().map(|(id, call)| json!({ "id": id, "call": call })).collect::<Value>();
    let ops = all.into_iter().filter(|(_, calls)| !calls.is_empty());
    let ops: Value = ops.map(|(workload, calls)| json!({ "workload": workload, "ops": shown(calls) })).collect();
    if let Some(report) = report.as_object_mut() {
        report.insert("ops".into(), ops);
        report.insert("schema".into(), SCHEMA.into());
    }
    report
}

/// Gives a field that is there another name.
fn rename(of: &mut Value, was: &str, is: &str) {
    if let Some(fields) = of.as_object_mut()
        && let Some(value) = fields.remove(was)
    {
        fields.insert(is.into(), value);
    }
}

fn list<'a>(of: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    of.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The calls that are known of the workload that something is about.
fn calls<'a>(all: &'a mut Vec<(String, Calls)>, of: &Value) -> &'a mut Calls {
    let workload = of.get("workload").and_then(Value::as_str).unwrap_or_default();
    let known = all.iter().position(|(name, _)| name == workload);
    let index = known.unwrap_or_else(|| {
        all.push((workload.to_owned(), Calls::new()));
        all.len() - 1
    });
    &mut all[index].1
}

fn power(violation: &mut Value, calls: &mut Calls) {
    let Some(fields) = violation.as_object_mut() else { return };
    common(fields);
    replace(fields, "schedule", |text| json!({ "text": text }));
    for name in ["after_op", "after_op_latest"] {
        replace(fields, name, |op| id(op, calls));
    }
    if let Some(reason) = fields.remove("reason").filter(|reason| !reason.is_null()) {
        fields.insert("hint".into(), json!({ "hint": "text", "text": reason }));
    }
    for name in ["lost", "kept", "unwritten"] {
        for write in fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            let op = write.get_mut("op").map_or(Value::Null, |op| id(op.take(), calls));
            let text = write.get_mut("write").map_or(Value::Null, Value::take);
            *write = json!({ "text": text, "op": op });
        }
    }
}

fn process(violation: &mut Value, calls: &mut Calls) {
    let Some(fields) = violation.as_object_mut() else { return };
    common(fields);
    if let Some(op) = fields.get_mut("killed").and_then(|killed| killed.get_mut("op")) {
        *op = id(op.take(), calls);
    }
}

fn common(fields: &mut Map<String, Value>) {
    replace(fields, "observed", |text| json!({ "seen": "text", "text": text }));
    for name in ["old", "new"] {
        replace(fields, name, |text| json!({ "is": "text", "text": text }));
    }
}

/// Replaces a field that is there.
fn replace(fields: &mut Map<String, Value>, name: &str, by: impl FnOnce(Value) -> Value) {
    if let Some(value) = fields.get_mut(name).filter(|value| !value.is_null()) {
        *value = by(value.take());
    }
}

/// The id of an op, whose call is noted. What is none stays, to be refused.
fn id(op: Value, calls: &mut Calls) -> Value {
    let (index, text) = (op.get("index").and_then(Value::as_u64), op.get("text").and_then(Value::as_str));
    match (index, text) {
        (Some(index), Some(text)) => {
            calls.insert(index, text.to_owned());
            index.into()
        }
        _ => op,
    }
}

#[cfg(test)]
mod tests {
    use program::OpId;

    use super::*;
    use crate::{AckRef, Report};

    /// A part of a report that a harness of that version wrote.
    const SAMPLE: &str = include_str!("v1/sample.json");

    #[test]
    fn what_was_in_words_stays_in_words_and_ops_are_known_again() {
        let report: Report = serde_json::from_value(translate(serde_json::from_str(SAMPLE).unwrap())).unwrap();
        assert_eq!((report.schema, report.cells.len(), report.process_crashes.len()), (SCHEMA, 4, 3));
        let cell = &report.cells[0];
        insta::assert_json_snapshot!(&cell.violations[0]);
        let ops = report.ops_of(&cell.id.workload);
        assert!(cell.ops().into_iter().all(|op| ops.get(op).is_some()), "{ops:?}");
        let killed = &report.process_crashes[0].violations[0];
        assert_eq!(killed.killed.op, Some(OpId(2)));
        assert!(matches!(killed.acks.as_slice(), [AckRef::Text(text)] if text.starts_with("stdout: saved")));
    }

    #[test]
    fn some_fields_had_other_names() {
        let mut sample: Value = serde_json::from_str(SAMPLE).unwrap();
        let limits = json!([{ "call": "mmap", "detail": "shared mapping of data.db", "count": 2 }]);
        for of in ["cells", "process_crashes"] {
            sample[of][0]["limits"] = limits.clone();
            sample[of][0]["verdict"] = "invalid".into();
            sample[of][0]["violations"] = json!([]);
        }
        sample["cells"][0]["reach"] = json!({ "replayed": 12, "by_losses": [] });
        let report: Report = serde_json::from_value(translate(sample)).unwrap();
        assert_eq!(report.cells[0].reach.as_ref().map(|reach| reach.executed), Some(12));
        assert_eq!(serde_json::to_value(&report.cells[0].unmodelled_calls).unwrap(), limits);
        assert_eq!(serde_json::to_value(&report.process_crashes[0].unmodelled_calls).unwrap(), limits);
    }

    /// Not made to look right.
    #[test]
    fn what_is_damaged_stays_so() {
        let read = |from: &str, to: &str| {
            assert!(SAMPLE.contains(from), "{from}");
            let value = serde_json::from_str(&SAMPLE.replacen(from, to, 1)).unwrap();
            serde_json::from_value::<Report>(translate(value)).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(read("\"observed\"", "\"observed\""), Ok(()));
        assert!(read("\"observed\"", "\"seen\"").is_err());
        assert!(read("\"index\"", "\"number\"").is_err());
        assert!(read("\"verdict\": \"violation\"", "\"verdict\": \"pass\"").is_err());
    }
}
