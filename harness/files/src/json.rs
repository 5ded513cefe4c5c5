//! How much memory JSON takes that anyone may have written.

/// No JSON is parsed that may take more, bytes.
const MOST: u64 = 512 << 20;

/// Refuses JSON that may take more than half a gigabyte as a tree of values (`serde_json::Value`), however small its text is.
/// An object of one field takes hundreds of bytes: it has a node of a B-tree, with room for eleven.
///
/// # Errors
/// What is wrong with it.
pub fn check_json(text: &[u8]) -> Result<(), String> {
    // Strings hold some of these, too: never less than there are. An object has a node, a field a part of another and its
    // name; a list that grows takes up to twice what it needs.
    let weight = |byte: &u8| match byte {
        b'{' => 704,
        b':' => 192,
        b',' | b'[' => 64,
        _ => 0,
    };
    let weight: u64 = text.iter().map(weight).sum();
    match weight > MOST {
        true => Err(format!("its values may take {} MiB of memory, and none of its kind takes so much", weight >> 20)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_texts_of_many_values_are_refused() {
        let objects = |count| format!("[{}{{\"\":0}}]", "{\"\":0},".repeat(count));
        assert!(check_json(objects(100_000).as_bytes()).is_ok());
        let error = check_json(objects(1 << 20).as_bytes()).unwrap_err();
        assert_eq!(error, "its values may take 960 MiB of memory, and none of its kind takes so much");
        assert!(check_json("[0".repeat(9 << 20).as_bytes()).is_err());
        assert!(check_json("long words".repeat(9 << 20).as_bytes()).is_ok());
    }
}
