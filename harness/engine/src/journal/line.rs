//! The lines of a journal: one object of JSON each.
//!
//! A line says nothing that a line before it does not give the parts of: a visit names an observation by its id, and an
//! observation names the contents of files by their hashes, so that each is written once.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use checker::{Entry, EntryKind, Mount, Observation, Seen};
use program::{Content, RelPath};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::{LogShape, State};

/// A hash that names something, 16 bytes of a SHA-256; in hexadecimal where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        Self(std::array::from_fn(|index| digest[index]))
    }

    /// The hash of a value, by its form in postcard.
    pub fn of_value(value: &impl Serialize) -> Self {
        Self::of(&postcard::to_stdvec(value).unwrap_or_default())
    }
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(&text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

impl JsonSchema for Id {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
    }
}

/// The JSON Schema (draft 2020-12) of a line. It is committed as `harness/engine/schema/journal.schema.json`.
///
/// Beside what stands there, each line begins with its checksum.
pub fn schema() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Line>()
}

/// See [`storage::State`].
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands for a type of a crate that needs no schemas")]
struct KeptState {
    /// Writes that did not reach the disk at all.
    lost: Vec<u32>,
    /// The torn write, if there is one, and the boundary up to which, or from which on, it survived.
    torn: Vec<(u32, KeptTear)>,
    /// Single units that did not reach the disk: write and unit.
    lost_units: Vec<(u32, u32)>,
}

/// See [`storage::Tear`].
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
enum KeptTear {
    Head(u32),
    Tail(u32),
}

/// See [`checker::Mount`].
#[derive(JsonSchema)]
#[expect(dead_code, reason = "as above")]
enum KeptMount {
    Mounted,
    Refused { errno: i32, log: String },
    Died { reason: String },
}

/// One decision: the volatile write, the unit of it, and whether that survived ([`storage::Decision`]).
pub type Settled = (u32, u32, bool);

/// One line.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "line", rename_all = "lowercase")]
pub enum Line {
    /// What the disk saw while a schedule was executed.
    Execution {
        /// The cell, by its index in the report.
        cell: usize,
        /// The schedule, by its index.
        schedule: usize,
        /// The log without its data: a [`LogShape`], in postcard.
        #[serde(with = "hex_bytes")]
        #[schemars(with = "String")]
        log: Vec<u8>,
    },
    /// The content of a file that some observation names.
    Content {
        /// The bytes. The hash of them names the content.
        #[serde(with = "hex_bytes")]
        #[schemars(with = "String")]
        bytes: Vec<u8>,
    },
    /// What some crash states look like.
    Observation(KeptObservation),
    /// What entering a branch came to.
    Visit(Visit),
    /// What one crash state looks like that the report shows, built as a whole.
    Look {
        /// The cell.
        cell: usize,
        /// The exploration unit.
        unit: Id,
        /// The state.
        #[schemars(with = "KeptState")]
        state: State,
        /// What it looks like.
        observation: Id,
    },
}

/// What entering a branch came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Visit {
    /// The cell, by its index in the report.
    pub cell: usize,
    /// The key of the exploration unit.
    pub unit: Id,
    /// The key of the branch.
    pub branch: Id,
    /// What the visit settled beyond the branch's prefix.
    pub settled: Vec<Settled>,
    /// What all states of the equivalence class look like; none if that was too large to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Id>,
    /// What recovery wrote, where recovery crashes are explored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<KeptRecovery>,
}

/// What a guest wrote while it recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptRecovery {
    /// All that was settled when the mount had ended.
    pub settled: Vec<Settled>,
    /// The log without its data: a [`LogShape`], in postcard.
    #[serde(with = "hex_bytes")]
    #[schemars(with = "String")]
    pub log: Vec<u8>,
}

/// An observation, and the read plan that it was made under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptObservation {
    /// The observation's name: [`name_of`] it.
    pub id: Id,
    /// The hash of the plan ([`checker::ReadPlan`]).
    pub plan: Id,
    /// How the mount went.
    #[schemars(with = "KeptMount")]
    pub mount: Mount,
    /// What stands below the workload's directory, by its path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub entries: BTreeMap<String, KeptEntry>,
}

/// See [`checker::Entry`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptEntry {
    #[serde(flatten)]
    kind: KeptKind,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    same_as: Option<String>,
}

/// See [`checker::EntryKind`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum KeptKind {
    File {
        size: u64,
        seen: KeptSeen,
    },
    Directory {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<i32>,
    },
    Symlink {
        #[serde(with = "hex_bytes")]
        #[schemars(with = "String")]
        target: Vec<u8>,
    },
    Special {
        st_mode: u32,
    },
    Unreadable {
        errno: i32,
    },
}

/// See [`checker::Seen`]: whole contents are named by their hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum KeptSeen {
    NotRead,
    Equals(Vec<u32>),
    Differs {
        candidates: Vec<u32>,
        offset: u64,
        #[serde(with = "hex_bytes")]
        #[schemars(with = "String")]
        chunk: Vec<u8>,
    },
    Failed {
        candidates: Vec<u32>,
        offset: u64,
        errno: i32,
    },
    Whole(Id),
}

/// The name of an observation that was made under this plan.
pub fn name_of(observation: &Observation, plan: Id) -> Id {
    Id::of_value(&(plan.0, observation))
}

impl KeptObservation {
    /// Keeps an observation; `content` is told of each content that it names.
    pub fn new(observation: &Observation, plan: Id, mut content: impl FnMut(Id, &Content)) -> Self {
        let entries = observation.entries.iter().map(|(path, entry)| {
            let kind = match &entry.kind {
                EntryKind::File { size, seen } => KeptKind::File { size: *size, seen: keep(seen, &mut content) },
                EntryKind::Directory { error } => KeptKind::Directory { error: *error },
                EntryKind::Symlink { target } => KeptKind::Symlink { target: target.clone() },
                EntryKind::Special { mode } => KeptKind::Special { st_mode: *mode },
                EntryKind::Unreadable { errno } => KeptKind::Unreadable { errno: *errno },
            };
            let Entry { mode, uid, gid, links, .. } = *entry;
            (text_of(path), KeptEntry { kind, mode, uid, gid, links, same_as: entry.same_as.as_ref().map(text_of) })
        });
        let entries = entries.collect();
        Self { id: name_of(observation, plan), plan, mount: observation.mount.clone(), entries }
    }

    /// The observation, with contents from `content`; `None` if one of them is missing, or a path is none.
    pub fn observation(self, content: impl Fn(Id) -> Option<Content>) -> Option<Observation> {
        let entries = self.entries.into_iter().map(|(path, kept)| {
            let kind = match kept.kind {
                KeptKind::File { size, seen } => EntryKind::File { size, seen: give(seen, &content)? },
                KeptKind::Directory { error } => EntryKind::Directory { error },
                KeptKind::Symlink { target } => EntryKind::Symlink { target },
                KeptKind::Special { st_mode } => EntryKind::Special { mode: st_mode },
                KeptKind::Unreadable { errno } => EntryKind::Unreadable { errno },
            };
            let same_as = match kept.same_as {
                Some(path) => Some(path_of(&path)?),
                None => None,
            };
            let KeptEntry { mode, uid, gid, links, .. } = kept;
            Some((path_of(&path)?, Entry { kind, mode, uid, gid, links, same_as }))
        });
        Some(Observation { mount: self.mount, entries: entries.collect::<Option<_>>()? })
    }
}

fn keep(seen: &Seen, content: &mut impl FnMut(Id, &Content)) -> KeptSeen {
    match seen.clone() {
        Seen::NotRead => KeptSeen::NotRead,
        Seen::Equals { candidates } => KeptSeen::Equals(candidates),
        Seen::Differs { candidates, offset, chunk } => KeptSeen::Differs { candidates, offset, chunk },
        Seen::Failed { candidates, offset, errno } => KeptSeen::Failed { candidates, offset, errno },
        Seen::Bytes(bytes) => {
            let id = Id::of(&bytes);
            content(id, &bytes);
            KeptSeen::Whole(id)
        }
    }
}

fn give(seen: KeptSeen, content: &impl Fn(Id) -> Option<Content>) -> Option<Seen> {
    Some(match seen {
        KeptSeen::NotRead => Seen::NotRead,
        KeptSeen::Equals(candidates) => Seen::Equals { candidates },
        KeptSeen::Differs { candidates, offset, chunk } => Seen::Differs { candidates, offset, chunk },
        KeptSeen::Failed { candidates, offset, errno } => Seen::Failed { candidates, offset, errno },
        KeptSeen::Whole(id) => Seen::Bytes(content(id)?),
    })
}

/// Before the hexadecimal digits of a path that is no UTF-8, or would look like one.
const RAW: &str = "\\x";

fn text_of(path: &RelPath) -> String {
    let bytes = path.as_path().as_os_str().as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(RAW) => text.to_owned(),
        _ => format!("{RAW}{}", hex::encode(bytes)),
    }
}

/// `None` for what is no path below a directory.
fn path_of(text: &str) -> Option<RelPath> {
    let bytes = match text.strip_prefix(RAW) {
        Some(digits) => hex::decode(digits).ok()?,
        None => text.as_bytes().to_vec(),
    };
    RelPath::new(OsString::from_vec(bytes))
}

/// A log's shape as a line has it.
pub fn pack(log: &storage::BlockLog) -> Vec<u8> {
    postcard::to_stdvec(&LogShape::from(log)).unwrap_or_default()
}

/// Bytes as hexadecimal digits.
mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_observation_comes_back_from_its_line() {
        let entry = |kind| Entry { kind, mode: 0o640, uid: 1, gid: 2, links: 2, same_as: None };
        let seen = [
            Seen::NotRead,
            Seen::Equals { candidates: vec![0, 2] },
            Seen::Differs { candidates: vec![], offset: 4096, chunk: vec![0xff, 0] },
            Seen::Failed { candidates: vec![1], offset: 0, errno: 5 },
            Seen::Bytes(Arc::new(b"whole".to_vec())),
        ];
        let files = seen.into_iter().enumerate().map(|(index, seen)| {
            (RelPath::from(format!("f{index}").as_str()), entry(EntryKind::File { size: 9, seen }))
        });
        let others = [
            ("", entry(EntryKind::Directory { error: None })),
            ("d", entry(EntryKind::Directory { error: Some(5) })),
            ("l", entry(EntryKind::Symlink { target: vec![0x80, b'/'] })),
            ("\\x00", Entry { same_as: Some("p".into()), ..entry(EntryKind::Special { mode: 0o010644 }) }),
            ("u", entry(EntryKind::Unreadable { errno: 117 })),
        ];
        let others = others.into_iter().map(|(path, entry)| (RelPath::from(path), entry));
        let raw = RelPath::root().join(b"\xff");
        let raw = (raw, entry(EntryKind::Unreadable { errno: 5 }));
        let entries = files.chain(others).chain([raw]).collect();
        let observation = Observation { mount: Mount::Mounted, entries };
        let mut contents = BTreeMap::new();
        let plan = Id([7; 16]);
        let kept = KeptObservation::new(&observation, plan, |id, content| drop(contents.insert(id, content.clone())));
        let text = serde_json::to_string(&Line::Observation(kept)).unwrap();
        assert_eq!(testkit::conforms(schema().as_value(), &serde_json::from_str(&text).unwrap()), Ok(()));
        let Line::Observation(kept) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!((kept.id, kept.plan), (name_of(&observation, plan), plan));
        assert_eq!(kept.clone().observation(|_| None), None);
        assert_eq!(kept.observation(|id| contents.get(&id).cloned()), Some(observation));
    }

    #[test]
    fn the_schema_is_committed() {
        testkit::schema_is_committed(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/journal.schema.json"), &schema());
    }

    #[test]
    fn no_path_leads_out() {
        for wrong in ["../f", "/etc/passwd", "\\x2f6574", "\\xzz"] {
            assert_eq!(path_of(wrong), None, "{wrong}");
        }
    }
}
