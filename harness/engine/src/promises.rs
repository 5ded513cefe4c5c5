//! What a program had promised by the time of a crash.

use checker::Invariant;
use program::{Call, OpId, Trace};
use report::{AckRef, Promised};

/// What the program had promised: no more of it than fits into a report.
pub struct Promises {
    /// All, or the first and the last ones.
    pub acks: Vec<AckRef>,
    /// How many in the middle are not in it.
    pub left_out: usize,
    /// The promise that the invariant waits for, or else the last one given by then.
    pub promised: Option<Promised>,
}

/// How many of the first, and of the last promises are listed.
const LISTED: usize = 3;

/// What the program had promised once `ended` ops had, for a state that breaks this invariant. The end of a line is no
/// promise of its own.
pub fn promises(trace: &Trace, invariant: &Invariant, ended: usize) -> Promises {
    let given = trace.ops.iter().enumerate().take(ended);
    let is_promise = |op: &program::Op| matches!(op.call, Call::Ack { .. } | Call::Exit { .. }) && !op.ends_line();
    let ops: Vec<usize> = given.filter(|(_, op)| is_promise(op)).map(|(index, _)| index).collect();
    let ack = |op: &usize| AckRef::Op(OpId(*op));
    let waited_for = match invariant {
        Invariant::DurableAfter(ack) | Invariant::ViewAfter(_, ack) => checker::last_ack(trace, ack, ended),
        _ => None,
    };
    let matters = waited_for.map_or(ops.len(), |op| ops.partition_point(|given| *given <= op)).checked_sub(1);
    let promised = matters.and_then(|index| Some(Promised { ack: ack(ops.get(index)?), before: index }));
    let left_out = ops.len().saturating_sub(2 * LISTED);
    let last = if left_out > 0 { LISTED + left_out } else { LISTED.min(ops.len()) };
    let listed = ops.iter().take(LISTED).chain(&ops[last..]);
    Promises { acks: listed.map(ack).collect(), left_out, promised }
}

#[cfg(test)]
mod tests {
    use checker::Ack;
    use program::Op;

    use super::*;

    /// Whatever a program prints.
    #[test]
    fn few_promises_are_listed_and_the_one_that_matters() {
        let op = |call| Op { call, syscall: "test".into(), result: 0, thread: 0 };
        let print = |text: String| op(Call::Ack { channel: program::Channel::Stdout, data: text.into_bytes() });
        let mut ops: Vec<Op> = (0..8000).map(|line| print(format!("line {line}"))).collect();
        ops.extend([op(Call::SyncAll), print("\n".into()), op(Call::Exit { status: 0 })]);
        let trace = Trace { ops, ..Trace::default() };
        let told = |invariant: &Invariant, ended| {
            let Promises { acks, left_out, promised } = promises(&trace, invariant, ended);
            let text = |ack: AckRef| match ack {
                AckRef::Op(op) => trace.ops[op.0].to_string(),
                AckRef::Text(text) => text,
            };
            let promised = promised.map(|promised| format!("{} after {}", text(promised.ack), promised.before));
            let acks: Vec<String> = acks.into_iter().map(text).collect();
            format!("{} with {left_out} left out; {}", acks.join(", "), promised.unwrap_or_default())
        };
        let line = |text: &str| Invariant::DurableAfter(Ack::Text(text.into()));
        insta::assert_snapshot!(
            [
                told(&Invariant::AtomicReplace, 0),
                told(&Invariant::AtomicReplace, 1),
                told(&Invariant::AtomicReplace, 4),
                told(&Invariant::AtomicReplace, 7),
                // What follows the last line is its end.
                told(&Invariant::AtomicReplace, 8002),
                told(&Invariant::AtomicReplace, 8003),
                told(&line("line 70"), 8003),
                told(&line("line 7999\n"), 8003),
                told(&Invariant::DurableAfter(Ack::Exit), 8003),
            ]
            .join("\n")
        );
    }
}
