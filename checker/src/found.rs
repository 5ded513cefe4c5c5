//! What one file turned out to be, compared with the versions it may have.

use std::borrow::Cow;

use trace::{Content, RelPath, State, thousands};

use crate::{CHUNK, Entry, EntryKind, Guide, Kind, Observation, Seen, describe};

/// The unit in which a disk tears, bytes.
const SECTOR: usize = 512;

/// What an observation says about one name.
pub(crate) enum Found<'a> {
    /// All of it is known.
    Known(State),
    /// A regular file of `size` bytes that is none of the guide's contents, known as far as `bytes` goes.
    Partly { size: u64, bytes: Bytes<'a> },
    /// It could not be read.
    Unreadable(String),
    /// The guest contradicts itself or the guide.
    Nonsense(String),
}

/// The beginning of a file, in two parts: what equals a candidate, and what was read after that.
pub(crate) struct Bytes<'a> {
    head: &'a [u8],
    tail: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// The bytes of `start..end`, fewer where not so many are known.
    fn get(&self, start: usize, end: usize) -> Cow<'a, [u8]> {
        let part = |bytes: &'a [u8], start: usize, end: usize| &bytes[start.min(bytes.len())..end.min(bytes.len())];
        let cut = self.head.len();
        let head = part(self.head, start, end);
        let tail = part(self.tail, start.saturating_sub(cut), end.saturating_sub(cut));
        match (head.is_empty(), tail.is_empty()) {
            (_, true) => Cow::Borrowed(head),
            (true, false) => Cow::Borrowed(tail),
            (false, false) => Cow::Owned([head, tail].concat()),
        }
    }

    pub fn starts_with(&self, prefix: &[u8]) -> bool {
        *self.get(0, prefix.len()) == *prefix
    }
}

/// Looks a name up in an observation of a mounted file system.
pub(crate) fn look<'a>(observation: &'a Observation, guide: &'a Guide, path: &RelPath) -> Found<'a> {
    let Some(entry) = observation.entries.get(path) else {
        return match unreadable_parent(observation, path) {
            Some((directory, errno)) => {
                let directory = if directory.is_root() { String::new() } else { format!(" {directory}") };
                Found::Unreadable(format!("the directory{directory} above it cannot be read ({})", error(errno)))
            }
            None => Found::Known(State::Absent),
        };
    };
    match entry {
        Entry { kind: EntryKind::File { size, seen }, .. } => look_at_file(*size, seen, guide, path),
        Entry { kind: EntryKind::Directory { .. }, .. } => Found::Known(State::Directory),
        Entry { kind: EntryKind::Symlink { target }, .. } => Found::Known(State::Symlink(target.clone())),
        Entry { kind: EntryKind::Special { mode }, .. } => Found::Known(State::Special { mode: mode & 0o170000 }),
        Entry { kind: EntryKind::Unreadable { errno }, .. } => {
            Found::Unreadable(format!("the name is listed, but stat fails ({})", error(*errno)))
        }
    }
}

/// The nearest directory above `path` that could not be listed: a name below it may well exist.
fn unreadable_parent(observation: &Observation, path: &RelPath) -> Option<(RelPath, i32)> {
    let mut directory = path.parent();
    while let Some(above) = directory {
        match observation.entries.get(&above).map(|entry| &entry.kind) {
            Some(EntryKind::Directory { error: Some(errno) } | EntryKind::Unreadable { errno }) => {
                return Some((above, *errno));
            }
            _ => directory = above.parent(),
        }
    }
    None
}

fn look_at_file<'a>(size: u64, seen: &'a Seen, guide: &'a Guide, path: &RelPath) -> Found<'a> {
    let first = |candidates: &[u32]| -> Option<&'a Content> {
        let content = guide.contents.get(*candidates.first()? as usize)?;
        (content.len() as u64 == size).then_some(content)
    };
    let nonsense = |why: &str| Found::Nonsense(format!("the guest's report about {path} makes no sense: {why}"));
    match seen {
        Seen::Equals { candidates } => match first(candidates) {
            Some(content) => Found::Known(State::File(content.clone())),
            None => nonsense("it names a content that it was not to compare with"),
        },
        Seen::Differs { candidates, offset, chunk } => {
            match first(candidates).and_then(|content| content.get(..usize::try_from(*offset).ok()?)) {
                Some(head) => Found::Partly { size, bytes: Bytes { head, tail: chunk } },
                None => nonsense("it names a content that it was not to compare with"),
            }
        }
        Seen::Failed { offset, errno, .. } => {
            Found::Unreadable(format!("{} bytes; reading at byte {offset} fails ({})", thousands(size), error(*errno)))
        }
        Seen::Bytes(content) if content.len() as u64 == size => Found::Known(State::File(content.clone())),
        Seen::Bytes(content) if (content.len() as u64) < size => {
            Found::Partly { size, bytes: Bytes { head: content, tail: &[] } }
        }
        Seen::Bytes(_) => nonsense("it read more than the file's size"),
        Seen::NotRead if size == 0 => Found::Known(State::File(Content::default())),
        Seen::NotRead => {
            let same_size =
                |index: &u32| guide.contents.get(*index as usize).is_some_and(|content| content.len() as u64 == size);
            if guide.files.get(path).is_some_and(|files| files.iter().any(same_size)) {
                return nonsense("it did not read a file whose size leaves candidates");
            }
            Found::Partly { size, bytes: Bytes { head: &[], tail: &[] } }
        }
    }
}

/// What is wrong with `state`, which equals none of `versions`.
pub(crate) fn judge_state(state: &State, versions: &[&State]) -> (Kind, String) {
    let any = |test: fn(&State) -> bool| versions.iter().any(|version| test(version));
    match state {
        State::Absent => (Kind::Missing, "no such file".to_owned()),
        State::File(content) => judge_bytes(content.len() as u64, &Bytes { head: content, tail: &[] }, versions),
        State::Symlink(_) if any(|version| matches!(version, State::Symlink(_))) => (Kind::Garbage, describe(state)),
        _ => (Kind::NotAFile, describe(state)),
    }
}

/// What is wrong with a file of `size` bytes that equals none of `versions`; see [`Kind`] for the definitions.
pub(crate) fn judge_bytes(size: u64, bytes: &Bytes<'_>, versions: &[&State]) -> (Kind, String) {
    let contents: Vec<&[u8]> = versions.iter().filter_map(|version| version.content()).map(|c| c.as_slice()).collect();
    if contents.is_empty() {
        return (Kind::NotAFile, format!("a regular file of {} bytes", thousands(size)));
    }
    if size == 0 {
        return (Kind::Empty, "0 bytes".to_owned());
    }
    let mut left: Vec<&[u8]> = contents.iter().copied().filter(|content| content.len() as u64 == size).collect();
    if left.is_empty() {
        let mut sizes: Vec<u64> = contents.iter().map(|content| content.len() as u64).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let sizes = sizes.into_iter().map(thousands).collect::<Vec<_>>().join(" or ");
        return (Kind::WrongLength, format!("{} bytes, where {sizes} would be right", thousands(size)));
    }
    let mut offset = 0;
    loop {
        let end = (offset + CHUNK).min(size as usize);
        let chunk = bytes.get(offset, end);
        if chunk.len() < end - offset {
            // Only a file that ends early gets here: a guided reading goes on as long as a candidate is left.
            let seen = thousands(bytes.len() as u64);
            return (Kind::WrongLength, format!("{} bytes by its size, but it ends after {seen}", thousands(size)));
        }
        left.retain(|content| content[offset..end] == *chunk);
        if left.is_empty() {
            return judge_chunk(size, offset, &chunk, &contents);
        }
        offset = end;
        if offset as u64 == size {
            // The caller has ruled out equality; said as what it is rather than trusted.
            return (Kind::Garbage, format!("{} bytes", thousands(size)));
        }
    }
}

fn judge_chunk(size: u64, offset: usize, chunk: &[u8], contents: &[&[u8]]) -> (Kind, String) {
    let mut strange = Vec::new();
    for (index, piece) in chunk.chunks(SECTOR).enumerate() {
        let at = offset + index * SECTOR;
        if !contents.iter().any(|content| content.get(at..at + piece.len()) == Some(piece)) {
            strange.push((at, piece));
        }
    }
    let size = thousands(size);
    match strange.first() {
        None => {
            let at = thousands(offset as u64);
            (Kind::Mixed, format!("{size} bytes: from byte {at} on, parts of different versions"))
        }
        Some((at, _)) if strange.iter().all(|(_, piece)| piece.iter().all(|&b| b == 0)) => {
            (Kind::ZeroFilled, format!("{size} bytes: zeros from byte {} on", thousands(*at as u64)))
        }
        Some((at, _)) => (
            Kind::Garbage,
            format!("{size} bytes: from byte {} on, what was never written there", thousands(*at as u64)),
        ),
    }
}

/// An errno with the name of those that crash states show.
pub(crate) fn error(errno: i32) -> String {
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
