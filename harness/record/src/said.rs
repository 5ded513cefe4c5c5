//! The last words of a program that came to a bad end.

use program::{Call, Channel, Op};

/// How much of what a program printed is shown, lines.
const LINES: usize = 20;

/// The end of what `ops` printed on standard output and standard error, in their order, to be put behind a message that
/// says how the program ended. Says so if that was nothing.
pub fn said(ops: &[Op]) -> String {
    let mut bytes = Vec::new();
    for op in ops {
        if let Call::Ack { data, channel: Channel::Stdout | Channel::Stderr } = &op.call {
            bytes.extend_from_slice(data);
        }
    }
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
