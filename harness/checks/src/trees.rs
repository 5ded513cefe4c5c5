//! Trees as guests report them: made from those in memory, cut to what matters, and told apart.

use std::collections::{BTreeMap, HashMap};

use checker::{Entry, EntryKind, Reader, Seen, View};
use program::{RelPath, Tree};
use sha2::{Digest, Sha256};

use crate::LARGEST_FILE;

/// What a guest saw, by name.
pub(crate) type Entries = BTreeMap<RelPath, Entry>;

/// What tells trees apart: the same if they are unpacked to the same.
pub(crate) type TreeId = [u8; 32];

/// A tree as a guest that reads everything would see it.
pub(crate) fn entries(tree: &Tree) -> Entries {
    let mut first: HashMap<u64, &RelPath> = HashMap::new();
    let mut entries = Entries::new();
    for (path, node) in &tree.0 {
        let kind = match &node.kind {
            program::Kind::File(content) => {
                EntryKind::File { size: content.len() as u64, seen: Seen::Bytes(content.clone()) }
            }
            program::Kind::Directory => EntryKind::Directory { error: None },
            program::Kind::Symlink(target) => EntryKind::Symlink { target: target.clone() },
            program::Kind::Special { mode, .. } => EntryKind::Special { mode: *mode },
        };
        let name = *first.entry(node.inode).or_insert(path);
        let same_as = (name != path && !matches!(kind, EntryKind::Directory { .. })).then(|| name.clone());
        let entry = Entry { kind, mode: node.mode, uid: node.uid, gid: node.gid, links: 1, same_as };
        entries.insert(path.clone(), entry);
    }
    entries
}

/// What a view looks at of a tree: all of it, or the files of a built-in reader.
pub(crate) fn relevant(entries: &Entries, view: &View) -> Entries {
    let (Some(reader), Some(path)) = (view.reader, &view.path) else { return entries.clone() };
    let matters = |name: &RelPath, entry: &Entry| {
        // What cannot be listed may hold it.
        let is_hidden = matches!(entry.kind, EntryKind::Directory { error: Some(_) } | EntryKind::Unreadable { .. });
        (is_hidden && path.starts_with(name))
            || match reader {
                Reader::Sqlite => sqlite_file(name, path).is_some() || is_super_journal(name, path),
                Reader::Git => name.starts_with(path),
            }
    };
    let own = |(name, entry): (&RelPath, &Entry)| (name.clone(), entry.clone());
    entries.iter().filter(|(name, entry)| matters(name, entry)).map(own).collect()
}

/// What a name adds to that of the database `path`, if it is one of its files. The index of a log, `-shm`, is no part of a
/// database: it is made anew.
pub(crate) fn sqlite_file<'a>(name: &'a RelPath, path: &RelPath) -> Option<&'a [u8]> {
    let suffix = name.name().strip_prefix(path.name()).filter(|_| name.parent() == path.parent())?;
    matches!(suffix, b"" | b"-journal" | b"-wal").then_some(suffix)
}

/// `X-mjNNNNNNNNN` beside the database `X` that a transaction over several began with (sqlite.org/tempfiles.html); that
/// may be another than this one.
fn is_super_journal(name: &RelPath, path: &RelPath) -> bool {
    name.parent() == path.parent() && name.name().windows(3).any(|part| part == b"-mj")
}

/// What tells a tree from others, of which each file is known to its end.
pub(crate) fn id(entries: &Entries) -> TreeId {
    let mut hasher = Sha256::new();
    let mut text = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for (path, Entry { kind, mode, same_as, .. }) in entries {
        // Owners and the number of links are not unpacked.
        text(path.as_path().as_os_str().as_encoded_bytes());
        text(&mode.to_le_bytes());
        text(same_as.as_ref().map_or(&[][..], |first| first.as_path().as_os_str().as_encoded_bytes()));
        match kind {
            EntryKind::File { size, seen } => {
                text(b"f");
                text(&size.to_le_bytes());
                if let Seen::Bytes(content) = seen {
                    text(content);
                }
            }
            EntryKind::Directory { .. } => text(b"d"),
            EntryKind::Symlink { target } => {
                text(b"l");
                text(target);
            }
            EntryKind::Special { mode } => {
                text(b"s");
                text(&mode.to_le_bytes());
            }
            EntryKind::Unreadable { .. } => text(b"u"),
        }
    }
    hasher.finalize().into()
}

/// Why a tree cannot be unpacked as it is.
pub(crate) enum NotWhole {
    /// A file is larger than any that is read whole: by name, and its size in bytes.
    TooLarge(RelPath, u64),
    /// This could not be read.
    Unreadable(RelPath),
}

/// Whether every file is known to its end.
pub(crate) fn whole(entries: &Entries) -> Result<(), NotWhole> {
    for (path, entry) in entries {
        match &entry.kind {
            EntryKind::File { size, seen: Seen::Bytes(content) } if content.len() as u64 == *size => {}
            EntryKind::File { size: 0, seen: Seen::NotRead } => {}
            EntryKind::File { size, .. } if *size > LARGEST_FILE => {
                return Err(NotWhole::TooLarge(path.clone(), *size));
            }
            EntryKind::File { .. } | EntryKind::Unreadable { .. } | EntryKind::Directory { error: Some(_) } => {
                return Err(NotWhole::Unreadable(path.clone()));
            }
            _ => {}
        }
    }
    Ok(())
}
