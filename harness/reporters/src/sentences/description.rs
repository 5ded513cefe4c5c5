//! What a name stands for.

use checker::{ContentSummary, Description, Unreadable};
use program::thousands;

/// What a name stands for, in a few words: the size, and the beginning if it is text.
pub fn description(description: &Description) -> String {
    match description {
        Description::NoFile => "no file".to_owned(),
        Description::File { size: 0, .. } => "an empty file".to_owned(),
        Description::File { size, content } => {
            let size_text = format!("{} {}", thousands(*size), if *size == 1 { "byte" } else { "bytes" });
            match content {
                ContentSummary::Zeros => format!("{size_text}, all zeros"),
                ContentSummary::Binary => format!("{size_text}, binary"),
                ContentSummary::Text(text) => {
                    let more = if (text.len() as u64) < *size { " …" } else { "" };
                    format!("{size_text}, {text:?}{more}")
                }
            }
        }
        Description::Symlink { target } => format!("a symbolic link to {target:?}"),
        Description::Directory => "a directory".to_owned(),
        Description::Special => "a FIFO, socket or device".to_owned(),
        Description::Unreadable { what } => unreadable(what),
        Description::Text { text } => text.clone(),
    }
}

/// What cannot be read, and why.
pub(super) fn unreadable(what: &Unreadable) -> String {
    match what {
        Unreadable::Directory { path, errno } => {
            // The directory that the command works in has no name.
            let path = if path == "." { String::new() } else { format!(" {path}") };
            format!("the directory{path} above it cannot be read ({})", error(*errno))
        }
        Unreadable::Name { errno } => format!("the name is listed, but stat fails ({})", error(*errno)),
        Unreadable::Data { size, offset, errno } => {
            format!("{} bytes; reading at byte {offset} fails ({})", thousands(*size), error(*errno))
        }
    }
}

/// An errno with the name of those that crash states show.
pub(super) fn error(errno: i32) -> String {
    let name = match errno {
        2 => "ENOENT",
        5 => "EIO",
        22 => "EINVAL",
        28 => "ENOSPC",
        30 => "EROFS",
        74 => "EBADMSG, a bad checksum",
        116 => "ESTALE",
        117 => "EUCLEAN, a damaged structure",
        _ => return format!("errno {errno}"),
    };
    format!("errno {errno}, {name}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use checker::describe;
    use program::State;

    use super::*;

    #[test]
    fn states_in_words() {
        let file = |bytes: &[u8]| description(&describe(&State::File(Arc::new(bytes.to_vec()))));
        insta::assert_snapshot!(
            [
                description(&describe(&State::Absent)),
                file(b""),
                file(b"x"),
                file(b"key = 1\n"),
                file(&[b'a'; 12345]),
                file(&[0; 4096]),
                file(&[7, 0, 255]),
                file("ääääääääääääääääx".repeat(9).as_bytes()),
                file("xääääääääääääääääx".repeat(9).as_bytes()),
                description(&describe(&State::Symlink(b"v2".to_vec()))),
                description(&describe(&State::Directory)),
                description(&describe(&State::Special { mode: 0o010000 })),
            ]
            .join("\n"),
            @r#"
        no file
        an empty file
        1 byte, "x"
        8 bytes, "key = 1\n"
        12,345 bytes, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" …
        4,096 bytes, all zeros
        3 bytes, binary
        297 bytes, "ääääääääääääääää" …
        306 bytes, "xäääääääääääääää" …
        a symbolic link to "v2"
        a directory
        a FIFO, socket or device
        "#
        );
    }
}
