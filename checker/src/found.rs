//! What one file turned out to be, compared with the versions it may have.

use std::borrow::Cow;

use program::{Content, RelPath, State};

use crate::observed::{describe_bytes, shown};
use crate::ranges::contents;
use crate::{
    CHUNK, Contradiction, Description, Entry, EntryKind, Kind, Nonsense, Observation, Observed, ReadPlan, Seen, Sizes,
    Unreadable, describe,
};

/// What an observation says about one name.
pub(crate) enum Found<'a> {
    /// No regular file.
    Other(State),
    /// A regular file of `size` bytes, known as far as `bytes` goes: to its end, or so far that no candidate of the
    /// read plan can differ further on.
    File { size: u64, bytes: Bytes<'a> },
    /// It could not be read.
    Unreadable(Unreadable),
    /// The guest contradicts itself or the read plan.
    Nonsense(Nonsense),
}

impl Found<'_> {
    /// Whether it is the regular file with this content.
    pub fn is_file(&self, content: &[u8]) -> bool {
        match self {
            Found::File { size, bytes } => *size == content.len() as u64 && bytes.starts_with(content),
            _ => false,
        }
    }

    /// In short, as [`describe`].
    pub fn describe(&self) -> Description {
        match self {
            Found::Other(state) => describe(state),
            Found::File { bytes, .. } => describe_bytes(&bytes.get(0, bytes.len())),
            Found::Unreadable(what) => Description::Unreadable { what: what.clone() },
            Found::Nonsense(why) => Description::Text { text: why.to_string() },
        }
    }
}

/// The beginning of a file, in two parts: what equals a candidate, and what was read after that.
pub(crate) struct Bytes<'a> {
    pub head: &'a [u8],
    pub tail: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// The bytes of `start..end` in the two parts, fewer where not so many are known.
    fn parts(&self, start: usize, end: usize) -> [&'a [u8]; 2] {
        let part = |bytes: &'a [u8], start: usize, end: usize| {
            let end = end.min(bytes.len());
            &bytes[start.min(end)..end]
        };
        let cut = self.head.len();
        [part(self.head, start, end), part(self.tail, start.saturating_sub(cut), end.saturating_sub(cut))]
    }

    /// How many of the bytes of `start..end` are, from `start` on, those of `content` at the same place.
    pub fn common(&self, start: usize, end: usize, content: &[u8]) -> usize {
        let content = content.get(start..).unwrap_or_default();
        let [head, tail] = self.parts(start, end);
        let common = common(head, content);
        if common < head.len() { common } else { common + self::common(tail, &content[common..]) }
    }

    /// How many of the bytes of `start..end` are, from `start` on, zeros.
    pub fn zeros(&self, start: usize, end: usize) -> usize {
        self.parts(start, end).into_iter().flatten().take_while(|byte| **byte == 0).count()
    }

    /// The bytes of `start..end`, fewer where not so many are known.
    pub fn get(&self, start: usize, end: usize) -> Cow<'a, [u8]> {
        let [head, tail] = self.parts(start, end);
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

/// How many bytes two pieces have in common from their beginnings on.
fn common(one: &[u8], other: &[u8]) -> usize {
    let length = one.len().min(other.len());
    let (one, other) = (&one[..length], &other[..length]);
    let whole = one.chunks(CHUNK).zip(other.chunks(CHUNK)).take_while(|(one, other)| same(one, other)).count();
    let start = (whole * CHUNK).min(length);
    start + one[start..].iter().zip(&other[start..]).take_while(|(one, other)| one == other).count()
}

/// Looks a name up in an observation of a mounted file system.
pub(crate) fn look<'a>(observation: &'a Observation, read_plan: &'a ReadPlan, path: &RelPath) -> Found<'a> {
    let Some(entry) = observation.entries.get(path) else {
        return match unreadable_parent(observation, path) {
            Some((directory, errno)) => Found::Unreadable(Unreadable::Directory { path: shown(&directory), errno }),
            None => Found::Other(State::Absent),
        };
    };
    match entry {
        Entry { kind: EntryKind::File { size, seen }, .. } => look_at_file(*size, seen, read_plan, path),
        Entry { kind: EntryKind::Directory { .. }, .. } => Found::Other(State::Directory),
        Entry { kind: EntryKind::Symlink { target }, .. } => Found::Other(State::Symlink(target.clone())),
        Entry { kind: EntryKind::Special { mode }, .. } => Found::Other(State::Special { mode: mode & 0o170000 }),
        Entry { kind: EntryKind::Unreadable { errno }, .. } => Found::Unreadable(Unreadable::Name { errno: *errno }),
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

fn look_at_file<'a>(size: u64, seen: &'a Seen, read_plan: &'a ReadPlan, path: &RelPath) -> Found<'a> {
    let candidates = read_plan.candidates(path, size);
    // The longest of those named that the file was to be compared with.
    let longest = |named: &[u32]| -> Option<&'a Content> {
        let known = named.iter().filter(|index| candidates.contains(index));
        known.filter_map(|index| read_plan.contents.get(*index as usize)).max_by_key(|content| content.len())
    };
    let nonsense = |contradiction| Found::Nonsense(Nonsense { path: shown(path), contradiction });
    let file = |head: &'a [u8], tail: &'a [u8]| Found::File { size, bytes: Bytes { head, tail } };
    match seen {
        Seen::Equals { candidates } => match longest(candidates) {
            Some(content) => file(&content[..content.len().min(size as usize)], &[]),
            None => nonsense(Contradiction::OtherContent),
        },
        Seen::Differs { candidates, offset, chunk } => {
            match longest(candidates).and_then(|content| content.get(..usize::try_from(*offset).ok()?)) {
                Some(head) => file(head, chunk),
                None => nonsense(Contradiction::OtherContent),
            }
        }
        Seen::Failed { offset, errno, .. } => {
            Found::Unreadable(Unreadable::Data { size, offset: *offset, errno: *errno })
        }
        Seen::Bytes(content) if content.len() as u64 <= size => file(content, &[]),
        Seen::Bytes(_) => nonsense(Contradiction::LargerThanItsSize),
        Seen::NotRead if size > 0 && !candidates.is_empty() => nonsense(Contradiction::NotRead),
        Seen::NotRead => file(&[], &[]),
    }
}

/// Whose content it is that a file is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// What was there before the run.
    Old,
    /// What was there after it.
    New,
    /// A version in between.
    Between,
    /// All that a log was in the course of time.
    Log,
}

/// One content, and of what size a file must be that is right if it equals it as far as both go.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    pub content: Content,
    pub sizes: Sizes,
    pub origin: Origin,
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
    /// The states of a name in the order of time, the first that from before the run.
    fn from_iter<T: IntoIterator<Item = &'s State>>(states: T) -> Self {
        let states: Vec<&State> = states.into_iter().collect();
        let mut right = Self::default();
        for (index, state) in states.iter().enumerate() {
            let origin = match index {
                0 => Origin::Old,
                _ if index + 1 == states.len() => Origin::New,
                _ => Origin::Between,
            };
            match state {
                State::File(content) => {
                    let sizes = Sizes::only(content.len() as u64);
                    right.files.push(Allowed { content: content.clone(), sizes, origin });
                }
                other => right.others.push((*other).clone()),
            }
        }
        right
    }
}

impl Right {
    /// This alone.
    pub fn only(state: &State, origin: Origin) -> Self {
        let mut right: Self = [state].into_iter().collect();
        right.files.iter_mut().for_each(|allowed| allowed.origin = origin);
        right
    }

    /// What is wrong with what was found; `None` if it is right. See [`Kind`] for the definitions.
    pub fn judge(&self, found: &Found<'_>) -> Option<(Kind, Observed)> {
        match found {
            Found::Other(state) if self.others.contains(state) => None,
            Found::Other(State::Absent) => Some((Kind::Missing, Observed::NoFile)),
            Found::Other(state @ State::Symlink(_))
                if self.others.iter().any(|other| matches!(other, State::Symlink(_))) =>
            {
                Some((Kind::Garbage, Observed::Other { is: describe(state) }))
            }
            Found::Other(state) => Some((Kind::NotAFile, Observed::Other { is: describe(state) })),
            Found::File { size, bytes } => self.judge_file(*size, bytes),
            Found::Unreadable(what) => Some((Kind::ReadError, Observed::Unreadable { what: what.clone() })),
            Found::Nonsense(why) => Some((Kind::ReadError, Observed::Nonsense { why: why.clone() })),
        }
    }

    fn judge_file(&self, size: u64, bytes: &Bytes<'_>) -> Option<(Kind, Observed)> {
        if self.files.is_empty() {
            return Some((Kind::NotAFile, Observed::RegularFile { size }));
        }
        let fit = self.files.iter().filter(|allowed| allowed.sizes.contains(size));
        let mut left: Vec<&[u8]> = fit.map(|allowed| allowed.content.as_slice()).collect();
        if left.is_empty() && size == 0 {
            return Some((Kind::Empty, Observed::Empty));
        }
        if left.is_empty() {
            let sizes = self.files.iter().fold(Sizes::default(), |all, allowed| all.union(&allowed.sizes));
            let (right, more) = sizes.listed();
            return Some((Kind::WrongLength, Observed::WrongSize { size, right, more }));
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
                return Some((Kind::WrongLength, Observed::EndsEarly { size, read: bytes.len() as u64 }));
            }
            if left.is_empty() {
                let chunk = &chunk[..chunk.len().min(reach)];
                return Some((self.kind(offset, chunk), contents(size, bytes, offset + chunk.len(), &self.files)));
            }
            offset = end;
        }
        None
    }

    /// What kind of content has these bytes at `offset`, where it stops being any that is right.
    fn kind(&self, offset: usize, chunk: &[u8]) -> Kind {
        let known = |at: usize, byte: u8| self.files.iter().any(|allowed| allowed.content.get(at) == Some(&byte));
        let strange = || chunk.iter().enumerate().filter(|(at, byte)| !known(offset + at, **byte));
        if strange().next().is_none() {
            Kind::Mixed
        } else if strange().all(|(_, byte)| *byte == 0) {
            Kind::ZeroFilled
        } else {
            Kind::Garbage
        }
    }

    /// What a file that was read whole holds, in ranges of bytes; `None` of anything else.
    pub fn describe(&self, found: &Found<'_>) -> Option<Observed> {
        let Found::File { size, bytes } = found else { return None };
        // What follows the longest of them is nobody's business.
        let reach = self.files.iter().map(|allowed| allowed.content.len()).max()?;
        let size = usize::try_from(*size).ok().filter(|size| *size == bytes.len())?;
        Some(contents(size as u64, bytes, size.min(reach), &self.files))
    }
}

/// Whether two pieces are equal. Most of what was seen of a large file is borrowed from the content that it is compared
/// with.
fn same(one: &[u8], other: &[u8]) -> bool {
    std::ptr::eq(one, other) || one == other
}
