//! What the author of a workload wants to hold after a crash.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trace::RelPath;

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
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Wanted {
    /// The file is exactly one of its versions (see [`trace::History`]), whenever the crash comes.
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
            ]
            .join("\n")
        );
    }
}
