//! What one file turned out to be, compared with the versions it may have.

use std::borrow::Cow;

use trace::{Content, RelPath, State, thousands};

use crate::finding::describe_bytes;
use crate::{CHUNK, Entry, EntryKind, Guide, Kind, Observation, Seen, Sizes, describe};

/// The unit in which a disk tears, bytes.
const SECTOR: usize = 512;

/// What an observation says about one name.
pub(crate) enum Found<'a> {
    /// No regular file.
    Other(State),
    /// A regular file of `size` bytes, known as far as `bytes` goes: to its end, or so far that no candidate of the
    /// guide can differ further on.
    File { size: u64, bytes: Bytes<'a> },
    /// It could not be read.
    Unreadable(String),
    /// The guest contradicts itself or the guide.
    Nonsense(String),
}

impl Found<'_> {
    /// Whether it is the regular file with this content.
    pub fn is_file(&self, content: &[u8]) -> bool {
        match self {
            Found::File { size, bytes } => *size == content.len() as u64 && bytes.starts_with(content),
            _ => false,
        }
    }

    /// In a few words, as [`describe`].
    pub fn describe(&self) -> String {
        match self {
            Found::Other(state) => describe(state),
            Found::File { bytes, .. } => describe_bytes(&bytes.get(0, bytes.len())),
            Found::Unreadable(why) | Found::Nonsense(why) => why.clone(),
        }
    }
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

    /// How many bytes from the start on are those of `content`.
    pub fn common(&self, content: &[u8]) -> usize {
        self.head.iter().chain(self.tail).zip(content).take_while(|(a, b)| a == b).count()
    }

    /// The bytes of `start..end`, fewer where not so many are known.
    pub fn get(&self, start: usize, end: usize) -> Cow<'a, [u8]> {
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
            None => Found::Other(State::Absent),
        };
    };
    match entry {
        Entry { kind: EntryKind::File { size, seen }, .. } => look_at_file(*size, seen, guide, path),
        Entry { kind: EntryKind::Directory { .. }, .. } => Found::Other(State::Directory),
        Entry { kind: EntryKind::Symlink { target }, .. } => Found::Other(State::Symlink(target.clone())),
        Entry { kind: EntryKind::Special { mode }, .. } => Found::Other(State::Special { mode: mode & 0o170000 }),
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
    let candidates = guide.candidates(path, size);
    // The longest of those named that the file was to be compared with.
    let longest = |named: &[u32]| -> Option<&'a Content> {
        let known = named.iter().filter(|index| candidates.contains(index));
        known.filter_map(|index| guide.contents.get(*index as usize)).max_by_key(|content| content.len())
    };
    let nonsense = |why: &str| Found::Nonsense(format!("the guest's report about {path} makes no sense: {why}"));
    let file = |head: &'a [u8], tail: &'a [u8]| Found::File { size, bytes: Bytes { head, tail } };
    match seen {
        Seen::Equals { candidates } => match longest(candidates) {
            Some(content) => file(&content[..content.len().min(size as usize)], &[]),
            None => nonsense("it names a content that it was not to compare with"),
        },
        Seen::Differs { candidates, offset, chunk } => {
            match longest(candidates).and_then(|content| content.get(..usize::try_from(*offset).ok()?)) {
                Some(head) => file(head, chunk),
                None => nonsense("it names a content that it was not to compare with"),
            }
        }
        Seen::Failed { offset, errno, .. } => {
            Found::Unreadable(format!("{} bytes; reading at byte {offset} fails ({})", thousands(size), error(*errno)))
        }
        Seen::Bytes(content) if content.len() as u64 <= size => file(content, &[]),
        Seen::Bytes(_) => nonsense("it read more than the file's size"),
        Seen::NotRead if size > 0 && !candidates.is_empty() => {
            nonsense("it did not read a file whose size leaves candidates")
        }
        Seen::NotRead => file(&[], &[]),
    }
}

/// One content, and of what size a file must be that is right if it equals it as far as both go.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    pub content: Content,
    pub sizes: Sizes,
}

/// What a name may stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Right {
    /// A regular file.
    pub files: Vec<Allowed>,
    /// Anything else.
    pub others: Vec<State>,
}

impl<'s> FromIterator<&'s State> for Right {
    fn from_iter<T: IntoIterator<Item = &'s State>>(states: T) -> Self {
        let mut right = Self::default();
        for state in states {
            match state {
                State::File(content) => {
                    let sizes = Sizes::only(content.len() as u64);
                    right.files.push(Allowed { content: content.clone(), sizes });
                }
                other => right.others.push(other.clone()),
            }
        }
        right
    }
}

impl Right {
    /// What is wrong with what was found; `None` if it is right. See [`Kind`] for the definitions.
    pub fn judge(&self, found: &Found<'_>) -> Option<(Kind, String)> {
        match found {
            Found::Other(state) if self.others.contains(state) => None,
            Found::Other(State::Absent) => Some((Kind::Missing, "no such file".to_owned())),
            Found::Other(state @ State::Symlink(_))
                if self.others.iter().any(|other| matches!(other, State::Symlink(_))) =>
            {
                Some((Kind::Garbage, describe(state)))
            }
            Found::Other(state) => Some((Kind::NotAFile, describe(state))),
            Found::File { size, bytes } => self.judge_file(*size, bytes),
            Found::Unreadable(why) | Found::Nonsense(why) => Some((Kind::ReadError, why.clone())),
        }
    }

    fn judge_file(&self, size: u64, bytes: &Bytes<'_>) -> Option<(Kind, String)> {
        if self.files.is_empty() {
            return Some((Kind::NotAFile, format!("a regular file of {} bytes", thousands(size))));
        }
        let fit = self.files.iter().filter(|allowed| allowed.sizes.contains(size));
        let mut left: Vec<&[u8]> = fit.map(|allowed| allowed.content.as_slice()).collect();
        if left.is_empty() && size == 0 {
            return Some((Kind::Empty, "0 bytes".to_owned()));
        }
        if left.is_empty() {
            let sizes = self.files.iter().fold(Sizes::default(), |all, allowed| all.union(&allowed.sizes));
            return Some((Kind::WrongLength, format!("{} bytes, where {sizes} would be right", thousands(size))));
        }
        let mut offset = 0;
        // A file is right once it equals one of them as far as both go.
        while offset as u64 != size && left.iter().all(|content| content.len() > offset) {
            let end = (offset + CHUNK).min(size as usize);
            let chunk = bytes.get(offset, end);
            // What follows the longest of them is nobody's business.
            let reach = left.iter().map(|content| content.len() - offset).max().unwrap_or(0);
            left.retain(|content| {
                let wanted = &content[offset..end.min(content.len())];
                chunk.get(..wanted.len()).is_some_and(|chunk| same(chunk, wanted))
            });
            if left.is_empty() && chunk.len() < end - offset {
                // Only a file that ends early gets here: a guided reading goes on as long as a candidate is left.
                let seen = thousands(bytes.len() as u64);
                let observed = format!("{} bytes by its size, but it ends after {seen}", thousands(size));
                return Some((Kind::WrongLength, observed));
            }
            if left.is_empty() {
                return Some(judge_chunk(size, offset, &chunk[..chunk.len().min(reach)], &self.files));
            }
            offset = end;
        }
        None
    }
}

/// Whether two pieces are equal. Most of what was seen of a large file is borrowed from the content that it is compared
/// with.
fn same(one: &[u8], other: &[u8]) -> bool {
    std::ptr::eq(one, other) || one == other
}

fn judge_chunk(size: u64, offset: usize, chunk: &[u8], versions: &[Allowed]) -> (Kind, String) {
    let mut strange = Vec::new();
    for (index, piece) in chunk.chunks(SECTOR).enumerate() {
        let at = offset + index * SECTOR;
        if !versions.iter().any(|version| version.content.get(at..at + piece.len()) == Some(piece)) {
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
