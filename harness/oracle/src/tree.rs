//! A directory as it is found after a crash, in a few letters.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::io;
use std::path::Path;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// A file and its bytes.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(String),
    /// Something that cannot be looked at: errno.
    Unreadable(i32),
}

/// All names below a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tree(pub BTreeMap<String, Entry>);

impl Tree {
    /// Reads what is below `root`.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut pending = vec![String::new()];
        while let Some(directory) = pending.pop() {
            for found in fs::read_dir(root.join(&directory))? {
                let name = found?.file_name().to_string_lossy().into_owned();
                let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
                let entry = look(&root.join(&path))
                    .unwrap_or_else(|error| Entry::Unreadable(error.raw_os_error().unwrap_or(libc::EIO)));
                if entry == Entry::Directory {
                    pending.push(path.clone());
                }
                tree.0.insert(path, entry);
            }
        }
        Ok(tree)
    }
}

fn look(path: &Path) -> io::Result<Entry> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(if metadata.is_dir() {
        Entry::Directory
    } else if metadata.is_symlink() {
        Entry::Symlink(fs::read_link(path)?.to_string_lossy().into_owned())
    } else {
        Entry::File(fs::read(path)?)
    })
}

impl fmt::Display for Tree {
    /// `{d/, d/g:A, f:O0, y->f}`: a letter is a page of it, `0` one of zeros, `O*100` are 100 bytes of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = |(path, entry): (&String, &Entry)| match entry {
            Entry::File(content) if content.is_empty() => format!("{path}:empty"),
            Entry::File(content) => format!("{path}:{}", content_text(content)),
            Entry::Directory => format!("{path}/"),
            Entry::Symlink(target) => format!("{path}->{target}"),
            Entry::Unreadable(errno) => format!("{path}:errno {errno}"),
        };
        write!(f, "{{{}}}", self.0.iter().map(entry).collect::<Vec<_>>().join(", "))
    }
}

/// A content by its pages; in quotes where not all of it is letters and zeros. No two contents have the same text.
pub fn content_text(content: &[u8]) -> String {
    if content.iter().any(|byte| *byte != 0 && !byte.is_ascii_alphabetic()) {
        return format!("\"{}\"", content.escape_ascii());
    }
    let mut text = String::new();
    for page in content.chunks(4096) {
        let runs: Vec<&[u8]> = page.chunk_by(|one, other| one == other).collect();
        for run in &runs {
            text.push(if run[0] == 0 { '0' } else { run[0].into() });
            if run.len() < 4096 {
                let _ = write!(text, "*{} ", run.len());
            }
        }
    }
    text.trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_short() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/g"), [b'A'; 4096]).unwrap();
        fs::write(at("f"), [[b'O'; 4096], [0; 4096]].concat()).unwrap();
        fs::write(at("e"), "").unwrap();
        fs::write(at("h"), [&[b'B'; 2048][..], &[0; 2048], &[b'C'; 10]].concat()).unwrap();
        std::os::unix::fs::symlink("f", at("y")).unwrap();
        let text = Tree::read(directory.path()).unwrap().to_string();
        assert_eq!(text, "{d/, d/g:A, e:empty, f:O0, h:B*2048 0*2048 C*10, y->f}");
        assert_eq!(content_text(b"a 1\n\0"), r#""a 1\n\x00""#);
    }
}
