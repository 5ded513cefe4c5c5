//! What the author of a workload wants to hold after a crash.

use std::fmt;
use std::num::NonZeroU64;

use program::RelPath;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::view::{Reader, View};

mod view;

/// One `[[invariant]]` of `workload.toml`.
///
/// ```toml
/// [[invariant]]
/// kind = "atomic-replace"
/// path = "config.json"
///
/// [[invariant]]
/// kind = "durable-after"
/// ack = "saved"           # or "exit": the end of the program
/// path = "config.json"    # left out: every file that the command changed
///
/// [[invariant]]
/// kind = "append-only"
/// path = "log"
/// record = "line"         # or a number of bytes; left out: no records
/// garbage-tail = "dropped" # left out: the file may not end in anything else
///
/// [[invariant]]
/// kind = "prefix-of-history"
/// path = "f"
///
/// [[invariant]]
/// kind = "all-or-nothing"
/// paths = ["a", "b"]
///
/// [[invariant]]
/// kind = "one-is-whole"
/// paths = ["data", "data.gz"]
///
/// [[invariant]]
/// kind = "tree"
/// marker = "current"
/// paths = ["store/"]
///
/// [[invariant]]
/// kind = "metadata-preserved"
/// path = "f"
///
/// [[invariant]]
/// kind = "no-leftovers"
///
/// [[invariant]]
/// kind = "view"
/// command = ["git", "-C", "{run}", "log"] # or reader = "sqlite" with path = "a.db": a built-in one
/// between = true                          # left out: only the views before, after and at named acks are right
/// ack = "saved"                           # from then on, nothing older is right
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Wanted {
    /// The file is exactly one of its versions (see [`program::History`]), whenever the crash comes.
    AtomicReplace {
        /// The file, relative to the workload's directory.
        #[serde(with = "text_path")]
        path: RelPath,
    },
    /// Once the program has said so, what it had written by then, or something later, is what is found.
    DurableAfter {
        /// What the program says.
        ack: Ack,
        /// The file; `None` for every file that the command changed.
        #[serde(default, with = "optional_text_path", skip_serializing_if = "Option::is_none")]
        path: Option<RelPath>,
    },
    /// The file is what it was before the run, then whole records of what the command appended, in order, nothing else.
    AppendOnly {
        /// The file.
        #[serde(with = "text_path")]
        path: RelPath,
        /// What the command appends; `None` if a cut at any byte is right.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<Record>,
        /// What the reader does with an end that is no whole record; `None` if nothing. Otherwise only what was there
        /// before the run must be intact, whatever follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        garbage_tail: Option<GarbageTail>,
    },
    /// The file is as it was before the run or after one of its ops, intermediate contents and absence included.
    PrefixOfHistory {
        /// The file.
        #[serde(with = "text_path")]
        path: RelPath,
    },
    /// Either all of these files are as before the run, or all as after it.
    AllOrNothing {
        /// The files, two at least.
        #[serde(with = "text_paths")]
        paths: Vec<RelPath>,
    },
    /// One of these files is made from another, which is then removed: at every moment one of them is whole. A file that
    /// is there after the run is whole if it is exactly what it is then; any other, if it is exactly what it was before.
    OneIsWhole {
        /// The files, two at least.
        #[serde(with = "text_paths")]
        paths: Vec<RelPath>,
    },
    /// Where the marker says that the new tree is there, all of it is.
    ///
    /// If the marker is what it is after the run (where it did not exist before: if it exists), then all that is below
    /// `paths` after the run is there: each file with its final content, each symbolic link with its target, each with its
    /// mode. If the marker is still what it was before, then what was below `paths` before is there in the same way. Names
    /// that are there besides are nobody's business. What else the marker may be is not said: that is for `atomic-replace`.
    Tree {
        /// The file, symbolic link or directory by which a reader knows.
        #[serde(with = "text_path")]
        marker: RelPath,
        /// Directories, with all that is below them, or files; one at least.
        #[serde(with = "some_text_paths")]
        paths: Vec<RelPath>,
    },
    /// Where the file exists, mode, owner and group are those that it had before the run.
    MetadataPreserved {
        /// The file.
        #[serde(with = "text_path")]
        path: RelPath,
    },
    /// Every name that is there was there before the run or is there after it. What breaks this is told, but fails
    /// nothing.
    NoLeftovers {},
    /// What a program, or a built-in reader, makes of the recovered directory is what it would have made of it, had only
    /// the program been killed.
    View(View),
}

/// How a log is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Each record ends with a newline. Written `"line"`.
    Line,
    /// Each record has this many bytes, counted from the end of what was there before the run.
    Bytes(NonZeroU64),
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Line => f.write_str("a line"),
            Record::Bytes(length) => write!(f, "{length} bytes"),
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Record::Line => serializer.serialize_str("line"),
            Record::Bytes(length) => length.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Bytes(i64),
        }
        let length = match Written::deserialize(deserializer) {
            Ok(Written::Text(text)) if text == "line" => return Ok(Record::Line),
            Ok(Written::Bytes(length)) => u64::try_from(length).ok().and_then(NonZeroU64::new),
            _ => None,
        };
        let wrong = || serde::de::Error::custom("a record is \"line\" or a number of bytes, at least 1");
        length.map(Record::Bytes).ok_or_else(wrong)
    }
}

/// What the reader of a log does with an end that is no whole record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GarbageTail {
    /// It recognises it, by a checksum, say, and drops it.
    Dropped,
}

/// What a program does to tell its user that the data are safe.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ack {
    /// It ends. Written `exit` in `workload.toml`.
    Exit,
    /// It prints this text on one of its channels; each occurrence is a promise of its own.
    Text(String),
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ack::Exit => f.write_str("exit"),
            Ack::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Serialize for Ack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Ack::Exit => "exit",
            Ack::Text(text) => text,
        })
    }
}

impl<'de> Deserialize<'de> for Ack {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Err(serde::de::Error::custom(
                "an ack cannot be empty: name a text that the command prints, or \"exit\"",
            ));
        }
        Ok(if text == "exit" { Ack::Exit } else { Ack::Text(text) })
    }
}

fn parse(text: &str) -> Result<RelPath, String> {
    RelPath::new(text)
        .filter(|path| !path.is_root())
        .ok_or_else(|| format!("{text:?} is no path of a file relative to the workload's directory (without `..`)"))
}

mod text_path {
    use super::{Deserialize, Deserializer, RelPath, Serializer, parse};

    pub fn serialize<S: Serializer>(path: &RelPath, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(path)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RelPath, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

mod optional_text_path {
    use super::{Deserializer, RelPath, Serializer, text_path};

    pub fn serialize<S: Serializer>(path: &Option<RelPath>, serializer: S) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => text_path::serialize(path, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RelPath>, D::Error> {
        text_path::deserialize(deserializer).map(Some)
    }
}

/// As [`optional_text_path`], and the directory itself may be meant.
mod optional_any_path {
    use super::{Deserialize, Deserializer, RelPath, parse};

    pub use super::optional_text_path::serialize;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RelPath>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if RelPath::new(&text).is_some_and(|path| path.is_root()) {
            return Ok(Some(RelPath::root()));
        }
        parse(&text).map(Some).map_err(serde::de::Error::custom)
    }
}

mod text_paths {
    use super::{Deserialize, Deserializer, RelPath, Serializer, parse};

    pub fn serialize<S: Serializer>(paths: &[RelPath], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(paths.iter().map(RelPath::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RelPath>, D::Error> {
        let paths = distinct(deserializer)?;
        if paths.len() < 2 {
            return Err(serde::de::Error::custom(
                "`paths` names fewer than two files: such an invariant is about several",
            ));
        }
        Ok(paths)
    }

    /// In the order of paths.
    pub fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RelPath>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let mut paths =
            texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>().map_err(serde::de::Error::custom)?;
        paths.sort();
        paths.dedup();
        Ok(paths)
    }
}

mod some_text_paths {
    use super::text_paths::distinct;
    use super::{Deserializer, RelPath};

    pub use super::text_paths::serialize;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RelPath>, D::Error> {
        let paths = distinct(deserializer)?;
        if paths.is_empty() {
            return Err(serde::de::Error::custom("`paths` is empty: name the directories that the marker is about"));
        }
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct File {
        invariant: Vec<Wanted>,
    }

    #[test]
    fn both_kinds_are_read_from_toml_and_written_back() {
        let text = "[[invariant]]\nkind = \"atomic-replace\"\npath = \"d/f\"\n\n\
                    [[invariant]]\nkind = \"durable-after\"\nack = \"saved\"\npath = \"f\"\n\n\
                    [[invariant]]\nkind = \"durable-after\"\nack = \"exit\"\n";
        let file: File = toml::from_str(text).unwrap();
        let expected = [
            Wanted::AtomicReplace { path: "d/f".into() },
            Wanted::DurableAfter { ack: Ack::Text("saved".into()), path: Some("f".into()) },
            Wanted::DurableAfter { ack: Ack::Exit, path: None },
        ];
        assert_eq!(file.invariant, expected);
        assert_eq!(toml::to_string(&file).unwrap(), text);
    }

    #[test]
    fn the_other_kinds_too() {
        let text = "[[invariant]]\nkind = \"append-only\"\npath = \"log\"\nrecord = \"line\"\n\n\
                    [[invariant]]\nkind = \"append-only\"\npath = \"wal\"\nrecord = 64\ngarbage-tail = \"dropped\"\n\n\
                    [[invariant]]\nkind = \"append-only\"\npath = \"raw\"\n\n\
                    [[invariant]]\nkind = \"prefix-of-history\"\npath = \"f\"\n\n\
                    [[invariant]]\nkind = \"all-or-nothing\"\npaths = [\"a\", \"b\"]\n\n\
                    [[invariant]]\nkind = \"one-is-whole\"\npaths = [\"a\", \"b\"]\n\n\
                    [[invariant]]\nkind = \"tree\"\nmarker = \"current\"\npaths = [\"store\"]\n\n\
                    [[invariant]]\nkind = \"metadata-preserved\"\npath = \"f\"\n\n\
                    [[invariant]]\nkind = \"no-leftovers\"\n";
        let file: File = toml::from_str(text).unwrap();
        let bytes = NonZeroU64::new(64).map(Record::Bytes);
        let expected = [
            Wanted::AppendOnly { path: "log".into(), record: Some(Record::Line), garbage_tail: None },
            Wanted::AppendOnly { path: "wal".into(), record: bytes, garbage_tail: Some(GarbageTail::Dropped) },
            Wanted::AppendOnly { path: "raw".into(), record: None, garbage_tail: None },
            Wanted::PrefixOfHistory { path: "f".into() },
            Wanted::AllOrNothing { paths: vec!["a".into(), "b".into()] },
            Wanted::OneIsWhole { paths: vec!["a".into(), "b".into()] },
            Wanted::Tree { marker: "current".into(), paths: vec!["store".into()] },
            Wanted::MetadataPreserved { path: "f".into() },
            Wanted::NoLeftovers {},
        ];
        assert_eq!(file.invariant, expected);
        assert_eq!(toml::to_string(&file).unwrap(), text);
    }

    #[test]
    fn views_too() {
        let text = "[[invariant]]\nkind = \"view\"\ncommand = [\"git\", \"-C\", \"{run}\", \"log\"]\nbetween = true\n\
                    ack = \"saved\"\nnormalise = [\"sort\"]\n\n\
                    [[invariant]]\nkind = \"view\"\nreader = \"sqlite\"\npath = \"a.db\"\n\n\
                    [[invariant]]\nkind = \"view\"\nreader = \"git\"\npath = \".\"\n";
        let file: File = toml::from_str(text).unwrap();
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let command = View {
            command: words(&["git", "-C", "{run}", "log"]),
            between: true,
            ack: Some(Ack::Text("saved".into())),
            normalise: words(&["sort"]),
            ..View::default()
        };
        let reader = |reader, path: &str| Wanted::View(View::by_reader(reader, path.into()));
        let expected = [Wanted::View(command), reader(Reader::Sqlite, "a.db"), reader(Reader::Git, ".")];
        assert_eq!(file.invariant, expected);
        assert_eq!(toml::to_string(&file).unwrap(), text);
        let shown = expected.map(|wanted| match wanted {
            Wanted::View(view) => view.to_string(),
            _ => String::new(),
        });
        assert_eq!(shown, ["git -C '{run}' log", "sqlite a.db", "git ."]);
        assert_eq!(View::by_command("sqlite3 a.db .dump").to_string(), "sqlite3 a.db .dump");
    }

    #[test]
    fn mistakes_are_named() {
        let error =
            |line: &str| toml::from_str::<File>(&format!("[[invariant]]\n{line}")).unwrap_err().message().to_owned();
        insta::assert_snapshot!(
            [
                error("kind = \"atomic\""),
                error("kind = \"atomic-replace\""),
                error("kind = \"atomic-replace\"\npath = \"/etc/x\""),
                error("kind = \"atomic-replace\"\npath = \"f\"\nack = \"x\""),
                error("kind = \"durable-after\"\nack = \"\""),
                error("kind = \"durable-after\"\nack = \"x\"\npath = \"../f\""),
                error("kind = \"append-only\"\npath = \"f\"\nrecord = 0"),
                error("kind = \"append-only\"\npath = \"f\"\nrecord = \"word\""),
                error("kind = \"append-only\"\npath = \"f\"\ngarbage-tail = \"kept\""),
                error("kind = \"all-or-nothing\"\npaths = [\"f\", \"./f\"]"),
                error("kind = \"tree\"\nmarker = \"f\"\npaths = []"),
                error("kind = \"no-leftovers\"\npath = \"f\""),
                error("kind = \"view\""),
                error("kind = \"view\"\ncommand = [\"a\"]\nreader = \"git\"\npath = \".\""),
                error("kind = \"view\"\ncommand = []"),
                error("kind = \"view\"\ncommand = [\"cat\"]\npath = \"f\""),
                error("kind = \"view\"\nreader = \"sqlite\""),
                error("kind = \"view\"\nreader = \"sqlite\"\npath = \".\""),
                error("kind = \"view\"\nreader = \"mysql\"\npath = \"f\""),
                error("kind = \"view\"\ncommand = [\"cat\"]\nnormalise = [\"\"]"),
                error("kind = \"view\"\ncommand = [\"cat\"]\nbefore = true"),
            ]
            .join("\n")
        );
    }
}
