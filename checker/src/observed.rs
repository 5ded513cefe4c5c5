//! What is seen of a crash state that breaks a rule: data, of which reporters make sentences.

use program::{OpId, RelPath, State};
use serde::{Deserialize, Serialize};

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum Observed {
    /// No such file.
    NoFile,
    /// Something else than what is right.
    Other {
        /// What it is.
        is: Description,
    },
    /// A regular file, where there should be none.
    RegularFile {
        /// Its size, bytes.
        size: u64,
    },
    /// A regular file without content.
    Empty,
    /// A regular file of a size that is not right.
    WrongSize {
        /// Its size, bytes.
        size: u64,
        /// The first of the sizes that would be right.
        right: Vec<SizeRange>,
        /// What is not in `right`, if there are many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        more: Option<MoreSizes>,
    },
    /// A regular file that ends before its size.
    EndsEarly {
        /// Its size, bytes.
        size: u64,
        /// How much of it can be read, bytes.
        read: u64,
    },
    /// A regular file of a right size that is none of its versions: whose bytes it holds.
    Contents {
        /// Its size, bytes.
        size: u64,
        /// The first ranges of bytes, which follow each other.
        ranges: Vec<ByteRange>,
        /// Whether the ranges do not reach the end of the file.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cut: bool,
    },
    /// A log from which something is gone that was there before the run.
    LogTruncated {
        /// Its size, bytes.
        size: u64,
        /// Its size before the run, bytes.
        old: u64,
    },
    /// A log that ends within a record.
    LogTorn {
        /// Its size, bytes.
        size: u64,
        /// The last end of a record before that, bytes.
        before: u64,
        /// The first end of a record after that, bytes.
        after: u64,
    },
    /// A log that is right up to a byte.
    LogDamaged {
        /// Its size, bytes.
        size: u64,
        /// The first byte that is wrong.
        from: u64,
        /// Whether all is zeros from there on; else something stands there that was never written there.
        zeros: bool,
    },
    /// Something older than what had been promised.
    Stale {
        /// What it is.
        is: Description,
        /// The op that promised something else.
        promise: OpId,
        /// What that promised.
        promised: Description,
    },
    /// Of files that belong together, one is as before the run, and another as after it.
    Partial {
        /// A file that is as before.
        old: String,
        /// A file that is as after.
        new: String,
    },
    /// Mode, owner or group are not the old file's.
    Metadata {
        /// The mode.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<Changed>,
        /// The owner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<Changed>,
        /// The group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<Changed>,
    },
    /// Of a tree that a marker says to be there, something is not as it should be.
    Incomplete {
        /// The marker.
        marker: String,
        /// Whether it says that the tree is as after the run; else as before it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_new: bool,
        /// The first name that is not as it should be.
        path: String,
        /// How it is not.
        #[cfg_attr(feature = "schemas", schemars(with = "String"))]
        kind: crate::Kind,
        /// What was seen of it.
        observed: Box<Observed>,
        /// How many names are not as they should be.
        wrong: usize,
        /// How many there should be.
        of: usize,
    },
    /// A name that is there neither before nor after the run.
    Leftover,
    /// It cannot be read.
    Unreadable {
        /// What cannot be, and why.
        what: Unreadable,
    },
    /// The guest's report of it makes no sense.
    Nonsense {
        /// Why.
        why: Nonsense,
    },
    /// The file system does not mount.
    NotMounted {
        /// What mount(2) says.
        errno: i32,
    },
    /// The guest died.
    GuestDied {
        /// Its last words.
        reason: String,
    },
    /// The workload's own check does not hold.
    Check {
        /// How it ended: `exit 11`.
        ended: String,
        /// The message in what it printed.
        message: String,
        /// Whether it does not hold only if no more acks are taken as given than at the earliest point.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        earliest_acks: bool,
    },
    /// The workload's own check cannot be given a whole tree.
    NoWholeTree {
        /// What cannot be read.
        path: String,
        /// As above.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        earliest_acks: bool,
    },
    /// What a view shows.
    View {
        /// What it shows that is not right.
        shows: ViewLines,
        /// What it shows of the directory at the nearest of the points at which it is right.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        right: Option<ViewLines>,
        /// The first line in which they differ, from 1.
        line: usize,
        /// Whether that is what the view shows if the program is killed at this point.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        killed: Option<ViewedAt>,
    },
    /// In words: in reports of older versions.
    Text {
        /// The words.
        text: String,
    },
}

/// What a view shows, in short.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct ViewLines {
    /// How it ended: `exit 0`.
    pub ended: String,
    /// A few lines from the first that differs on; none if it ends there.
    pub lines: Vec<String>,
    /// The point of the run at which the directory shows this, had only the program been killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<ViewedAt>,
}

/// A point of the run at which a view was looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct ViewedAt {
    /// The last op that had begun; `None` before the first.
    pub op: Option<OpId>,
    /// How much that had written, bytes, if it was under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<u64>,
    /// Whether it is the end of the run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end: bool,
}

/// What a name stands for, in short.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Description {
    /// Nothing.
    NoFile,
    /// A regular file.
    File {
        /// Its size, bytes.
        size: u64,
        /// What it holds.
        content: ContentSummary,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: String,
    },
    /// A directory.
    Directory,
    /// A FIFO, socket or device.
    Special,
    /// Something that cannot be read.
    Unreadable {
        /// What cannot be, and why.
        what: Unreadable,
    },
    /// In words: in reports of older versions.
    Text {
        /// The words.
        text: String,
    },
}

/// What a file holds, in short.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ContentSummary {
    /// Zeros alone, or nothing at all.
    Zeros,
    /// What is no text.
    Binary,
    /// Text: the beginning of it, all of it if it is short.
    Text(String),
}

/// Sizes that would be right, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct SizeRange {
    /// The smallest.
    pub first: u64,
    /// The largest; none if there is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
}

/// Sizes that are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct MoreSizes {
    /// How many ranges of sizes.
    pub ranges: usize,
    /// The largest of all, bytes.
    pub up_to: u64,
}

/// Bytes of a file, from `start` to `end`, which is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct ByteRange {
    /// The first.
    pub start: u64,
    /// The one behind the last.
    pub end: u64,
    /// Whose bytes stand there.
    pub of: ByteSource,
    /// Whether that content ends with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
}

/// Whose bytes stand somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ByteSource {
    /// Those of the content before the run, at the same place.
    Old,
    /// Those of the content after it.
    New,
    /// Those of a version in between.
    Between,
    /// Those that were written there, of a file that only grows.
    Written,
    /// Zeros.
    Zeros,
    /// What was never written there.
    Unknown,
}

/// A number that is another one than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct Changed {
    /// What it was.
    pub old: u32,
    /// What it is.
    pub new: u32,
}

impl Changed {
    /// If it is another one.
    pub fn from_to(old: u32, new: u32) -> Option<Self> {
        (old != new).then_some(Self { old, new })
    }
}

/// Mode, owner or group of a file that the command itself changed, no crash needed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct ChangedMetadata {
    /// The file.
    pub path: String,
    /// The mode, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Changed>,
    /// Owner and group, if one of them is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_and_group: Option<[Owners; 2]>,
}

/// To whom a file belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct Owners {
    /// The owner.
    pub owner: u32,
    /// The group.
    pub group: u32,
}

/// What cannot be read, by which errno.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Unreadable {
    /// A directory above the file cannot be listed.
    Directory {
        /// The directory.
        path: String,
        /// Why.
        errno: i32,
    },
    /// The name is listed, but stat(2) fails.
    Name {
        /// Why.
        errno: i32,
    },
    /// Its data.
    Data {
        /// Its size, bytes.
        size: u64,
        /// Where reading fails.
        offset: u64,
        /// Why.
        errno: i32,
    },
}

/// The guest contradicts itself, or did not read as it was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[error("the guest's report about {path} makes no sense: {contradiction}")]
pub struct Nonsense {
    /// The file.
    pub path: String,
    /// What is wrong.
    pub contradiction: Contradiction,
}

/// What a report of the guest cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Contradiction {
    /// See the message.
    #[error("it names a content that it was not to compare with")]
    OtherContent,
    /// See the message.
    #[error("it read more than the file's size")]
    LargerThanItsSize,
    /// See the message.
    #[error("it did not read a file whose size leaves candidates")]
    NotRead,
}

/// What a name stands for, in short: the size, and the beginning if it is text.
pub fn describe(state: &State) -> Description {
    match state {
        State::Absent => Description::NoFile,
        State::File(content) => describe_bytes(content),
        State::Symlink(target) => Description::Symlink { target: String::from_utf8_lossy(target).into_owned() },
        State::Directory => Description::Directory,
        State::Special { .. } => Description::Special,
    }
}

/// The same of a regular file with this content.
pub(crate) fn describe_bytes(bytes: &[u8]) -> Description {
    Description::File { size: bytes.len() as u64, content: content(bytes) }
}

fn content(bytes: &[u8]) -> ContentSummary {
    /// Enough to tell versions apart at a glance, little enough for one line.
    const SHOWN: usize = 32;
    if bytes.iter().all(|&byte| byte == 0) {
        return ContentSummary::Zeros;
    }
    let start = &bytes[..bytes.len().min(SHOWN)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character cut in two at the end of what is shown is no reason to call it binary.
        Err(error) if bytes.len() > SHOWN && error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return ContentSummary::Binary,
    };
    if text.is_empty() || text.chars().any(|c| c.is_control() && !c.is_ascii_whitespace()) {
        return ContentSummary::Binary;
    }
    ContentSummary::Text(text.to_owned())
}

/// A path as reports have it.
pub(crate) fn shown(path: &RelPath) -> String {
    path.to_string()
}
