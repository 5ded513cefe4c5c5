//! A file system as somebody chose it: which, with which mount options, and made how.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{AddedOption, CommitBy, Feature, FileSystem, Handling, Overwrites, Recipe, Setting, Unknown, by_name};

/// A file system, how it is made and how it is mounted. The name is resolved when this is made, so that there is none of
/// an unknown one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Filesystem {
    /// Which; as data, its name.
    #[serde(serialize_with = "name_of")]
    pub kind: &'static FileSystem,
    /// As mount(8) takes them, comma-separated, and as the user gave them; may be empty.
    pub options: String,
    /// Arguments for its mkfs, after those that it is always given, separated by blanks; may be empty. None of them has a
    /// slash: they can name no file, and so no other device.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mkfs: String,
}

/// Why there is no such file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChoiceError {
    /// There is none of this name.
    Unknown(Unknown),
    /// An argument for its mkfs names a file, or could.
    NamesFile {
        /// The argument.
        argument: String,
    },
}

impl fmt::Display for ChoiceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(unknown) => unknown.fmt(formatter),
            Self::NamesFile { argument } => {
                write!(formatter, "the argument {argument:?} for mkfs has a slash: it may name no file and no device")
            }
        }
    }
}

impl std::error::Error for ChoiceError {}

impl From<Unknown> for ChoiceError {
    fn from(unknown: Unknown) -> Self {
        Self::Unknown(unknown)
    }
}

fn name_of<S: serde::Serializer>(kind: &&'static FileSystem, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name)
}

impl<'de> Deserialize<'de> for Filesystem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The same, before the name is resolved.
        #[derive(Deserialize)]
        #[serde(rename = "Filesystem")]
        struct Named {
            kind: String,
            options: String,
            #[serde(default)]
            mkfs: String,
        }
        let Named { kind, options, mkfs } = Named::deserialize(deserializer)?;
        Self::named(&kind, options, mkfs).map_err(D::Error::custom)
    }
}

impl FromStr for Filesystem {
    type Err = ChoiceError;

    /// `ext4:noauto_da_alloc,data=writeback;mkfs=-O ^resize_inode`, as `--fs` takes it: mount options and arguments for mkfs
    /// may both be left out.
    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        let (mounted, mkfs) = text.split_once(MKFS).unwrap_or((text, ""));
        let (kind, options) = mounted.split_once(':').unwrap_or((mounted, ""));
        Self::named(kind, options, mkfs)
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown(self.kind.name, &self.options, &self.mkfs))
    }
}

impl From<&'static FileSystem> for Filesystem {
    /// Without any options.
    fn from(kind: &'static FileSystem) -> Self {
        Self { kind, options: String::new(), mkfs: String::new() }
    }
}

impl Filesystem {
    /// The one of this name, with these mount options, made with these arguments for its mkfs.
    ///
    /// # Errors
    /// No supported file system has this name, or an argument names a file.
    pub fn named(name: &str, options: impl Into<String>, mkfs: impl AsRef<str>) -> Result<Self, ChoiceError> {
        let arguments: Vec<&str> = mkfs.as_ref().split_whitespace().collect();
        if let Some(argument) = arguments.iter().find(|argument| argument.contains('/')) {
            return Err(ChoiceError::NamesFile { argument: (*argument).into() });
        }
        Ok(Self { kind: by_name(name)?, options: options.into(), mkfs: arguments.join(" ") })
    }

    /// Whether data that replace others are known to go to the same blocks, directly: neither copied on write nor journaled.
    /// Nothing is known of what the user's arguments for mkfs have made.
    pub fn overwrites_in_place(&self) -> bool {
        match self.kind.overwrites {
            _ if !self.mkfs.is_empty() => false,
            Overwrites::Elsewhere => false,
            Overwrites::InPlace { unless } => !self.options.split(',').any(|option| unless.contains(&option)),
        }
    }

    /// What the guest's agent is told of it.
    pub fn recipe(&self) -> Recipe {
        let Self { kind, options, mkfs: _ } = self;
        Recipe {
            name: kind.name.into(),
            options: options.clone(),
            execution: self.with(kind.execution),
            observation: self.with(kind.observation),
            settings: named(kind.settings),
            mounted: named(kind.mounted),
            handling: Handling { commit: self.commit(), ..kind.handling },
            fast_commit: self.feature().and_then(|feature| feature.fast_commit),
        }
    }

    /// What its arguments for mkfs change in how it commits.
    pub fn feature(&self) -> Option<&'static Feature> {
        let asked = |argument: &str| self.mkfs.split([' ', ',']).any(|part| part == argument);
        self.kind.features.iter().find(|feature| asked(feature.argument))
    }

    /// Whether it has fast commits beside those of whole transactions.
    pub fn has_fast_commits(&self) -> bool {
        self.feature().is_some_and(|feature| feature.fast_commit.is_some())
    }

    /// How a commit is forced.
    pub fn commit(&self) -> CommitBy {
        self.feature().map_or(self.kind.handling.commit, |feature| feature.commit)
    }

    /// The mount option with which fsync sends no flush to the disk, if there is one.
    pub fn without_flush(&self) -> Option<&str> {
        self.options.split(',').find(|option| self.kind.without_flush.contains(option))
    }

    /// The user's options, and after them those that are added.
    fn with(&self, added: &[AddedOption]) -> String {
        let own = || self.options.split(',').filter(|option| !option.is_empty());
        let chosen = |start: &str| own().any(|option| option.starts_with(start));
        let refused = self.feature().map_or(&[][..], |feature| feature.refuses);
        let added = added.iter().filter(|added| !added.unless.is_some_and(chosen)).map(|added| added.option);
        let added = added.filter(|option| !refused.contains(option));
        own().chain(added).collect::<Vec<_>>().join(",")
    }
}

/// What stands before the arguments for mkfs.
const MKFS: &str = ";mkfs=";

/// A file system as `--fs` takes it.
pub fn shown(name: &str, options: &str, mkfs: &str) -> String {
    let mut shown = name.to_owned();
    for (before, part) in [(":", options), (MKFS, mkfs)] {
        if !part.is_empty() {
            shown.push_str(before);
            shown.push_str(part);
        }
    }
    shown
}

fn named(settings: &[Setting]) -> Vec<(String, String)> {
    settings.iter().map(|Setting { file, value }| ((*file).into(), (*value).into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ALL;

    fn chosen(text: &str) -> Filesystem {
        text.parse().unwrap()
    }

    #[test]
    fn a_users_own_choice_of_an_option_holds() {
        let options = |text: &str| {
            let recipe = chosen(text).recipe();
            [recipe.options, recipe.execution, recipe.observation]
        };
        let prefetch = "inode_readahead_blks=0,no_prefetch_block_bitmaps";
        let quiet = prefetch;
        assert_eq!(options("ext4"), ["", "commit=300", quiet]);
        let [none, own] = ["ro,noatime", "commit=7,noatime"];
        assert_eq!(options("ext4:ro,noatime"), [none, "ro,noatime,commit=300", &format!("{none},{quiet}")]);
        assert_eq!(options("ext4:commit=7,noatime"), [own, own, &format!("{own},{quiet}")]);
        assert_eq!(options("btrfs"), ["", "commit=300", ""]);
        assert_eq!(options("btrfs:commit=7,noatime"), [own; 3]);
        assert_eq!(options("xfs:noatime"), ["noatime"; 3]);
        assert_eq!(options("ext4;mkfs=-O ^has_journal"), ["", "", prefetch]);
        let quiet = "background_gc=off,nodiscard";
        assert_eq!(options("f2fs"), ["", &format!("{quiet},alloc_mode=default"), quiet]);
        let own = "discard,background_gc=on,alloc_mode=reuse,fsync_mode=strict";
        assert_eq!(options(&format!("f2fs:{own}")), [own; 3]);
    }

    #[test]
    fn data_are_overwritten_in_place_where_they_are_neither_copied_nor_journaled() {
        for text in ["ext4", "ext4:data=ordered", "ext4:noauto_da_alloc,data=writeback", "xfs", "xfs:noatime"] {
            assert!(chosen(text).overwrites_in_place(), "{text}");
        }
        for text in
            ["ext4:data=journal", "ext4:noatime,data=journal", "btrfs", "btrfs:noatime", "f2fs", "ext4;mkfs=-b 1024"]
        {
            assert!(!chosen(text).overwrites_in_place(), "{text}");
        }
    }

    #[test]
    fn arguments_for_mkfs_say_how_commits_are_forced() {
        let ways = |text: &str| {
            let recipe = chosen(text).recipe();
            (recipe.handling.commit, recipe.fast_commit)
        };
        let (fsync, full) = (CommitBy::FsyncOfUnrelatedFile, CommitBy::FsyncOfDirectory);
        assert_eq!(ways("ext4;mkfs=-b 1024"), (fsync, None));
        assert_eq!(ways("ext4;mkfs=-O ^resize_inode,fast_commit"), (full, Some(fsync)));
        assert_eq!(ways("ext4;mkfs=-O ^fast_commit"), (fsync, None));
        assert_eq!(ways("ext4;mkfs=-O ^has_journal"), (CommitBy::WritebackOfDevice, None));
        assert_eq!(ways("xfs;mkfs=-O fast_commit"), (fsync, None));
    }

    #[test]
    fn options_without_a_flush_are_known() {
        let option = |text: &str| chosen(text).without_flush().map(str::to_owned);
        assert_eq!(option("ext4:noatime,barrier=0").as_deref(), Some("barrier=0"));
        assert_eq!(option("f2fs:fsync_mode=nobarrier").as_deref(), Some("fsync_mode=nobarrier"));
        assert_eq!(option("ext4:barrier=1").or(option("f2fs:fsync_mode=strict")).or(option("xfs")), None);
    }

    #[test]
    fn what_is_written_can_be_read_and_an_unknown_name_cannot() {
        for &known in ALL {
            for (mkfs, text) in [("", "noatime"), ("-b 1024", "noatime;mkfs=-b 1024")] {
                let written = Filesystem { kind: known, options: "noatime".into(), mkfs: mkfs.into() };
                assert_eq!(written.to_string(), format!("{}:{text}", known.name));
                assert_eq!(chosen(&written.to_string()), written);
                let json = serde_json::to_string(&written).unwrap();
                assert_eq!(json.contains("mkfs"), !mkfs.is_empty(), "what is not used is not written: {json}");
                assert_eq!(serde_json::from_str::<Filesystem>(&json).unwrap(), written);
                let recipe = written.recipe();
                assert_eq!(postcard::from_bytes::<Recipe>(&postcard::to_stdvec(&recipe).unwrap()).unwrap(), recipe);
            }
        }
        assert!("zfs:noatime".parse::<Filesystem>().is_err());
        assert!(serde_json::from_str::<Filesystem>(r#"{"kind": "zfs", "options": ""}"#).is_err());
    }

    #[test]
    fn arguments_for_mkfs_come_last_and_name_no_file() {
        let parts = |text: &str| {
            let Filesystem { kind, options, mkfs } = chosen(text);
            (kind.name, options, mkfs)
        };
        let expected = ("ext4", "noatime".into(), "-O fast_commit,^resize_inode".into());
        assert_eq!(parts("ext4:noatime;mkfs=-O fast_commit,^resize_inode"), expected);
        assert_eq!(parts("xfs;mkfs= -m  reflink=0 "), ("xfs", String::new(), "-m reflink=0".into()));
        for text in ["ext4;mkfs=-d /etc", "ext4;mkfs=-J device=/dev/sda1", "ext4;mkfs=../disk"] {
            let error = text.parse::<Filesystem>().unwrap_err().to_string();
            assert!(error.contains("may name no file"), "{error}");
        }
        let hostile = r#"{"kind": "ext4", "options": "", "mkfs": "-d /root"}"#;
        assert!(serde_json::from_str::<Filesystem>(hostile).is_err());
    }
}
