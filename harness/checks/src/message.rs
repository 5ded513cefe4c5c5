//! The message in what a check printed: pure.

/// How much of a message counts, characters.
const LONGEST: usize = 200;
/// What Python prints before the message, which comes last.
const TRACEBACK: &str = "Traceback (most recent call last):";

/// The message in what a check printed: the first line that is not blank, and the one behind it if it ends with a colon;
/// of a Python traceback, the last line.
pub(crate) fn message(lines: &[&str]) -> String {
    let mut lines = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
    let message = match lines.next() {
        None => "it printed nothing".to_owned(),
        Some(TRACEBACK) => lines.next_back().unwrap_or(TRACEBACK).to_owned(),
        Some(first) if first.ends_with(':') => {
            lines.next().map_or_else(|| first.to_owned(), |second| format!("{first} {second}"))
        }
        Some(first) => first.to_owned(),
    };
    message.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_where_people_look_for_it() {
        assert_eq!(message(&["", "  one is empty ", "frame 1"]), "one is empty");
        assert_eq!(message(&["check failed:", "two is empty", "more"]), "check failed: two is empty");
        assert_eq!(message(&["check failed:"]), "check failed:");
        let python = [TRACEBACK, "  File \"check.py\", line 3, in <module>", "AssertionError: three"];
        assert_eq!(message(&python), "AssertionError: three");
        assert_eq!(message(&[" "]), "it printed nothing");
        assert_eq!(message(&["ä".repeat(300).as_str()]), "ä".repeat(200));
    }
}
