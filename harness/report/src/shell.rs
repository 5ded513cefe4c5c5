//! Words of commands.

/// A word of a command for a shell, quoted if need be.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell() {
        let words = ["", "after/run-2", "my results", "it's", "$HOME", "ä"].map(word);
        assert_eq!(words, ["''", "after/run-2", "'my results'", r"'it'\''s'", "'$HOME'", "'ä'"]);
    }
}
