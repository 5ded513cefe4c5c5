//! Formats that recover by themselves, known by what stands in their files, and the files that belong to them.

use std::collections::{BTreeMap, BTreeSet};

use program::{History, RelPath, State, Version};
use serde::{Deserialize, Serialize};

use super::any_file;
use crate::{Reader, View};

/// A format whose reader recovers what a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A database of SQLite.
    Sqlite,
    /// A repository of git.
    Git,
    /// An environment of LMDB.
    Lmdb,
    /// A database of bbolt.
    Bolt,
}

impl Format {
    /// What a built-in reader is to make of the database, or of the repository's directory; `None` if there is none for it.
    ///
    /// Whatever such a reader shows where the program alone was killed is right: to recover is what the format is for.
    pub fn view(self, owner: &RelPath) -> Option<View> {
        match self {
            Self::Sqlite => Some(View { between: true, ..View::by_reader(Reader::Sqlite, owner.clone()) }),
            // There is no reader for repositories yet (`CheckError::NoReader`).
            Self::Git | Self::Lmdb | Self::Bolt => None,
        }
    }
}

/// How a database of SQLite begins (<https://www.sqlite.org/fileformat2.html>, 1.3).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What SQLite writes beside a database: the rollback journal, the write-ahead log, and its index, which is made anew
/// after a crash (<https://www.sqlite.org/tempfiles.html>).
const SQLITE_BESIDE: [&[u8]; 3] = [b"-journal", b"-wal", SQLITE_SHM];
const SQLITE_SHM: &[u8] = b"-shm";

/// `MDB_MAGIC` (mdb.c of LMDB), the first field behind the header of a page.
const LMDB: u32 = 0xBEEF_C0DE;

/// `magic` (internal/common/meta.go of bbolt), which stands there, too.
const BOLT: u32 = 0xED0C_DAED;

/// How long the header of a page is in both, bytes, with pointers of 64 bits.
const PAGE_HEADER: usize = 16;

/// The files that belong to formats which recover by themselves.
pub(super) struct Owners {
    /// Directories of git repositories.
    repositories: Vec<RelPath>,
    /// Each file, and the database that it is of.
    files: BTreeMap<RelPath, (Format, RelPath)>,
}

impl Owners {
    pub fn new(history: &History) -> Self {
        let mut owners = Self { repositories: repositories(history), files: BTreeMap::new() };
        for (path, format) in databases(history) {
            let beside = if format == Format::Sqlite { &SQLITE_BESIDE[..] } else { &[] };
            let beside = beside.iter().map(|ending| beside_with(path, ending));
            for file in beside.chain([path.clone()]) {
                owners.files.insert(file, (format, path.clone()));
            }
        }
        owners
    }

    /// To which format a file belongs, and to which database or repository of that.
    pub fn of(&self, path: &RelPath) -> Option<(Format, &RelPath)> {
        let repository = self.repositories.iter().find(|directory| path.starts_with(directory));
        let of_file = || self.files.get(path).map(|(format, owner)| (*format, owner));
        repository.map(|directory| (Format::Git, directory)).or_else(of_file)
    }
}

/// Files in which nothing is that anybody misses after a crash, as their format has it: the index of SQLite's write-ahead
/// log, and LMDB's table of readers.
pub fn scratch(history: &History) -> BTreeSet<RelPath> {
    let beside = |(path, format): (&RelPath, Format)| match format {
        Format::Sqlite => vec![beside_with(path, SQLITE_SHM)],
        // `MDB_NOSUBDIR` puts it beside the file.
        Format::Lmdb if path.name() == b"data.mdb" => {
            path.parent().map(|directory| directory.join(b"lock.mdb")).into_iter().collect()
        }
        Format::Lmdb => vec![beside_with(path, b"-lock")],
        Format::Bolt | Format::Git => vec![],
    };
    databases(history).flat_map(beside).filter(|path| !history.versions(path).is_empty()).collect()
}

/// The files that are a database after the run.
fn databases(history: &History) -> impl Iterator<Item = (&RelPath, Format)> {
    history.paths().filter_map(|(path, versions)| {
        versions.last()?.state.content()?;
        Some((path, database(versions)?))
    })
}

fn database(versions: &[Version]) -> Option<Format> {
    let magic = |magic: u32| {
        let magic = magic.to_le_bytes();
        move |content: &[u8]| content.get(PAGE_HEADER..).is_some_and(|content| content.starts_with(&magic))
    };
    if any_file(versions, |content| content.starts_with(SQLITE)) {
        Some(Format::Sqlite)
    } else if any_file(versions, magic(LMDB)) {
        Some(Format::Lmdb)
    } else if any_file(versions, magic(BOLT)) {
        Some(Format::Bolt)
    } else {
        None
    }
}

/// `path` with more at the end of its name.
fn beside_with(path: &RelPath, ending: &[u8]) -> RelPath {
    let directory = path.parent().unwrap_or_else(RelPath::root);
    directory.join(&[path.name(), ending].concat())
}

/// The directories that are a git repository before or after the run: they have HEAD, `objects` and `refs`
/// (gitrepository-layout(5)). `.git` of a working tree, or any other that is bare.
fn repositories(history: &History) -> Vec<RelPath> {
    let heads = history.paths().map(|(path, _)| path).filter(|path| path.name() == b"HEAD");
    let directories = heads.filter_map(RelPath::parent);
    let at = |path: &RelPath, is: fn(&State) -> bool| {
        let versions = history.versions(path);
        [versions.first(), versions.last()].map(|version| version.is_some_and(|version| is(&version.state)))
    };
    let is_repository = |directory: &RelPath| {
        let is_directory = |state: &State| matches!(state, State::Directory);
        let is_head = |state: &State| matches!(state, State::File(_) | State::Symlink(_));
        let parts = [
            at(&directory.join(b"HEAD"), is_head),
            at(&directory.join(b"objects"), is_directory),
            at(&directory.join(b"refs"), is_directory),
        ];
        (0..2).any(|when| parts.iter().all(|part| part[when]))
    };
    directories.filter(is_repository).collect()
}
