//! A file system as somebody chose it: which, and with which mount options.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{AddedOption, FileSystem, Overwrites, Recipe, Unknown, by_name};

/// A file system and how it is mounted. The name is resolved when this is made, so that there is none of an unknown one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Filesystem {
    /// Which; as data, its name.
    #[serde(serialize_with = "name_of")]
    pub kind: &'static FileSystem,
    /// As mount(8) takes them, comma-separated, and as the user gave them; may be empty.
    pub options: String,
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
        }
        let Named { kind, options } = Named::deserialize(deserializer)?;
        Self::named(&kind, options).map_err(D::Error::custom)
    }
}

impl FromStr for Filesystem {
    type Err = Unknown;

    /// `ext4:noauto_da_alloc,data=writeback`, as `--fs` takes it.
    fn from_str(text: &str) -> Result<Self, Unknown> {
        let (kind, options) = text.split_once(':').unwrap_or((text, ""));
        Self::named(kind, options)
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, options } = self;
        formatter.write_str(kind.name)?;
        if options.is_empty() { Ok(()) } else { write!(formatter, ":{options}") }
    }
}

impl From<&'static FileSystem> for Filesystem {
    /// Without any options.
    fn from(kind: &'static FileSystem) -> Self {
        Self { kind, options: String::new() }
    }
}

impl Filesystem {
    /// The one of this name, with these mount options.
    ///
    /// # Errors
    /// No supported file system has this name.
    pub fn named(name: &str, options: impl Into<String>) -> Result<Self, Unknown> {
        Ok(Self { kind: by_name(name)?, options: options.into() })
    }

    /// Whether data that replace others go to the same blocks, directly: neither copied on write nor journaled.
    pub fn overwrites_in_place(&self) -> bool {
        match self.kind.overwrites {
            Overwrites::Elsewhere => false,
            Overwrites::InPlace { unless } => !self.options.split(',').any(|option| unless.contains(&option)),
        }
    }

    /// What the guest's agent is told of it.
    pub fn recipe(&self) -> Recipe {
        let Self { kind, options } = self;
        Recipe {
            name: kind.name.into(),
            options: options.clone(),
            execution: self.with(kind.execution),
            observation: self.with(kind.observation),
            settings: kind.settings.iter().map(|setting| (setting.file.into(), setting.value.into())).collect(),
            handling: kind.handling,
        }
    }

    /// The user's options, and after them those that are added.
    fn with(&self, added: &[AddedOption]) -> String {
        let own = || self.options.split(',').filter(|option| !option.is_empty());
        let chosen = |start: &str| own().any(|option| option.starts_with(start));
        let added = added.iter().filter(|added| !added.unless.is_some_and(chosen)).map(|added| added.option);
        own().chain(added).collect::<Vec<_>>().join(",")
    }
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
        let quiet = "inode_readahead_blks=0,no_prefetch_block_bitmaps";
        assert_eq!(options("ext4"), ["", "commit=300", quiet]);
        let [none, own] = ["ro,noatime", "commit=7,noatime"];
        assert_eq!(options("ext4:ro,noatime"), [none, "ro,noatime,commit=300", &format!("{none},{quiet}")]);
        assert_eq!(options("ext4:commit=7,noatime"), [own, own, &format!("{own},{quiet}")]);
        assert_eq!(options("btrfs"), ["", "commit=300", ""]);
        assert_eq!(options("btrfs:commit=7,noatime"), [own; 3]);
        assert_eq!(options("xfs:noatime"), ["noatime"; 3]);
    }

    #[test]
    fn data_are_overwritten_in_place_where_they_are_neither_copied_nor_journaled() {
        for text in ["ext4", "ext4:data=ordered", "ext4:noauto_da_alloc,data=writeback", "xfs", "xfs:noatime"] {
            assert!(chosen(text).overwrites_in_place(), "{text}");
        }
        for text in ["ext4:data=journal", "ext4:noatime,data=journal", "btrfs", "btrfs:noatime"] {
            assert!(!chosen(text).overwrites_in_place(), "{text}");
        }
    }

    #[test]
    fn what_is_written_can_be_read_and_an_unknown_name_cannot() {
        for &known in ALL {
            let written = Filesystem { kind: known, options: "noatime".into() };
            assert_eq!(chosen(&written.to_string()), written);
            let bytes = postcard::to_stdvec(&written).unwrap();
            assert_eq!(bytes, postcard::to_stdvec(&(known.name, "noatime")).unwrap());
            assert_eq!(postcard::from_bytes::<Filesystem>(&bytes).unwrap(), written);
            let recipe = written.recipe();
            assert_eq!(postcard::from_bytes::<Recipe>(&postcard::to_stdvec(&recipe).unwrap()).unwrap(), recipe);
        }
        assert!("zfs:noatime".parse::<Filesystem>().is_err());
        assert!(postcard::from_bytes::<Filesystem>(&postcard::to_stdvec(&("zfs", "")).unwrap()).is_err());
    }
}
