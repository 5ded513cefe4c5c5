//! The last pass over the recorded ops.

use std::collections::{HashMap, HashSet};

use program::{ArrivalKind, Call, Channel, Handle, Op, Target};

/// Every handle that a call names, to look at or to change.
fn handles(call: &mut Call) -> Vec<&mut Handle> {
    match call {
        Call::Open { handle, .. }
        | Call::Close { handle }
        | Call::Write { handle, .. }
        | Call::Store { handle, .. }
        | Call::Msync { handle, .. }
        | Call::Allocate { handle, .. }
        | Call::Fsync { handle }
        | Call::Fdatasync { handle }
        | Call::SyncRange { handle, .. }
        | Call::DontNeed { handle, .. }
        | Call::SyncFs { handle }
        | Call::Truncate { target: Target::Handle(handle), .. }
        | Call::Link { from: Target::Handle(handle), .. }
        | Call::Chmod { target: Target::Handle(handle), .. }
        | Call::Chown { target: Target::Handle(handle), .. }
        | Call::SetTimes { target: Target::Handle(handle), .. }
        | Call::SetXattr { target: Target::Handle(handle), .. }
        | Call::RemoveXattr { target: Target::Handle(handle), .. } => vec![handle],
        Call::CopyRange { from, to, .. } => vec![from, to],
        Call::Arrive { entries, .. } => {
            let files = entries.iter_mut().map(|entry| match &mut entry.kind {
                ArrivalKind::File(handle) => Some(handle),
                _ => None,
            });
            files.flatten().collect()
        }
        _ => Vec::new(),
    }
}

/// Whether opening like this can change something by itself.
fn only_reads(flags: u32) -> bool {
    flags & (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u32 == 0
}

/// Puts the end of a line that was printed by a call of its own, as unbuffered programs do, to the ack before it on the
/// same channel: it promises nothing by itself. Only where nothing was done to a file between the two, so that it makes
/// no difference when it was promised. Sockets of one program are one channel: there the two must follow each other.
fn join_lines(ops: Vec<Op>) -> Vec<Op> {
    let mut joined: Vec<Op> = Vec::with_capacity(ops.len());
    for op in ops {
        if op.ends_line()
            && let Call::Ack { channel, data } = &op.call
        {
            let acks = joined.iter_mut().rev().take_while(|before| matches!(before.call, Call::Ack { .. }));
            let looked_at = if *channel == Channel::Socket { 1 } else { usize::MAX };
            let line = acks.take(looked_at).find_map(|before| match &mut before.call {
                Call::Ack { channel: same, data } if same == channel && before.thread == op.thread => {
                    Some((data, &mut before.result))
                }
                _ => None,
            });
            if let Some((line, result)) = line {
                line.extend_from_slice(data);
                *result += op.result;
                continue;
            }
        }
        joined.push(op);
    }
    joined
}

/// Drops files that were opened for reading only and then used for nothing, numbers handles in the order of opening, and
/// joins lines with their ends.
pub(crate) fn normalise(ops: Vec<Op>) -> Vec<Op> {
    let mut ops = join_lines(ops);
    let mut used = HashSet::new();
    for op in &mut ops {
        let keep = match op.call {
            Call::Close { .. } => false,
            Call::Open { flags, .. } => !only_reads(flags),
            _ => true,
        };
        if keep {
            used.extend(handles(&mut op.call).into_iter().map(|handle| *handle));
        }
    }
    ops.retain_mut(|op| match op.call {
        Call::Open { handle, .. } | Call::Close { handle } => used.contains(&handle),
        _ => true,
    });
    let mut numbers = HashMap::new();
    for op in &mut ops {
        for handle in handles(&mut op.call) {
            let next = Handle(numbers.len() as u32);
            *handle = *numbers.entry(*handle).or_insert(next);
        }
    }
    ops
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(call: Call) -> Op {
        Op { call, syscall: "test".into(), result: 0, thread: 0 }
    }

    fn open(handle: u32, flags: i32) -> Op {
        op(Call::Open { handle: Handle(handle), path: "f".into(), flags: flags as u32, mode: 0 })
    }

    #[test]
    fn useless_opens_go_and_handles_are_numbered_anew() {
        let ops = vec![
            open(3, libc::O_RDONLY),
            open(5, libc::O_RDONLY),
            open(9, libc::O_RDONLY | libc::O_CREAT),
            op(Call::Close { handle: Handle(3) }),
            op(Call::Fsync { handle: Handle(5) }),
            op(Call::Close { handle: Handle(5) }),
            op(Call::Close { handle: Handle(9) }),
        ];
        assert_eq!(
            normalise(ops),
            vec![
                open(0, libc::O_RDONLY),
                open(1, libc::O_RDONLY | libc::O_CREAT),
                op(Call::Fsync { handle: Handle(0) }),
                op(Call::Close { handle: Handle(0) }),
                op(Call::Close { handle: Handle(1) }),
            ]
        );
    }
}
