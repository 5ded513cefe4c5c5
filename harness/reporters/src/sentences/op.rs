//! Ops, and points in time that they name.

use program::{OpId, thousands};
use report::{AckRef, Killed, Ops};

/// `op 4: rename("config.tmp", "config.json")`.
pub(crate) fn op(id: OpId, ops: &Ops) -> String {
    format!("op {id}: {}", ops.get(id).map_or("", |op| &op.call))
}

/// `after op 4: rename("config.tmp", "config.json")`.
pub fn after(id: Option<OpId>, ops: &Ops) -> String {
    id.map_or_else(|| "before the first op".to_owned(), |id| format!("after {}", op(id, ops)))
}

/// When a program was killed: `after op 4: rename("config.tmp", "config.json")`, `4,096 bytes into op 2: write(…)`.
pub fn killed(killed: &Killed, ops: &Ops) -> String {
    match (killed.op, killed.written) {
        (Some(id), Some(bytes)) => format!("{} bytes into {}", thousands(bytes), op(id, ops)),
        (id, _) => after(id, ops),
    }
}

/// A promise.
pub(crate) fn ack<'a>(ack: &'a AckRef, ops: &'a Ops) -> &'a str {
    match ack {
        AckRef::Op(id) => ops.get(*id).map_or("", |op| &op.call),
        AckRef::Text(text) => text,
    }
}
