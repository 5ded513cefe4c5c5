//! The last words of a program that came to a bad end.

use program::{Call, Channel, Op};

/// How much of what a program printed is shown, lines.
const LINES: usize = 20;
/// And bytes.
pub(crate) const MOST: u64 = 16 << 10;

/// The end of what `ops` printed on standard output and standard error, in their order, to be put behind a message that
/// says how the program ended. Says so if that was nothing.
pub fn said(ops: &[Op]) -> String {
    let acks = ops.iter().rev().filter_map(|op| match &op.call {
        Call::Ack { data, channel: Channel::Stdout | Channel::Stderr } => Some(data.as_slice()),
        _ => None,
    });
    let (mut pieces, mut left) = (Vec::new(), MOST as usize);
    for data in acks {
        if left == 0 {
            break;
        }
        let piece = &data[data.len().saturating_sub(left)..];
        left -= piece.len();
        pieces.push(piece);
    }
    pieces.reverse();
    let bytes = pieces.concat();
    let text = String::from_utf8_lossy(&bytes);
    // Without the control characters that could confuse a terminal.
    let text: String = text.chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    if lines.is_empty() {
        return "; it printed nothing".into();
    }
    let end = lines[lines.len().saturating_sub(LINES)..].join("\n  | ");
    format!("; the end of its output:\n  | {end}")
}
