//! Formats that recover by themselves, known by what stands in their files, and the files that belong to them.

use std::collections::{BTreeMap, BTreeSet};

use program::{History, RelPath, State, Version};
use serde::{Deserialize, Serialize};

use super::any_file;
use super::recovering::{DIRECTORIES, Owns, SINGLE_FILES, SingleFile, is_of_environment};
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
    /// A database of LevelDB, or of RocksDB or Pebble, which came from it.
    LevelDb,
    /// A cluster of PostgreSQL.
    PostgreSql,
    /// The data directory of a server with InnoDB: MySQL, MariaDB.
    InnoDb,
    /// A member of etcd.
    Etcd,
    /// A file of systemd's journal.
    Journald,
    /// A database of redb.
    Redb,
    /// A database of DuckDB.
    DuckDb,
    /// A repository of Mercurial.
    Mercurial,
    /// A working copy of Subversion.
    Subversion,
    /// A repository of Jujutsu.
    Jujutsu,
    /// An index of Lucene.
    Lucene,
    /// A database of Badger.
    Badger,
    /// A database of TDB.
    Tdb,
    /// A database of Berkeley DB.
    BerkeleyDb,
    /// A database of Xapian.
    Xapian,
    /// A file storage of ZODB.
    Zodb,
    /// A database of H2.
    H2,
    /// The append-only files of Redis.
    RedisAppendOnly,
}

impl Format {
    /// What a built-in reader is to make of the database, or of the repository's directory; `None` if there is none for it.
    ///
    /// Whatever such a reader shows where the program alone was killed is right: to recover is what the format is for.
    pub fn view(self, owner: &RelPath) -> Option<View> {
        match self {
            Self::Sqlite => Some(View { between: true, ..View::by_reader(Reader::Sqlite, owner.clone()) }),
            _ => None,
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
    /// Directories of other stores, and which files below them are theirs.
    directories: Vec<(Format, RelPath, Owns)>,
    /// Directories with a database of Berkeley DB, and the first of these.
    environments: BTreeMap<RelPath, RelPath>,
    /// Each file, and the database that it is of.
    files: BTreeMap<RelPath, (Format, RelPath)>,
}

impl Owners {
    pub fn new(history: &History) -> Self {
        let mut owners = Self {
            repositories: repositories(history),
            directories: directories(history),
            environments: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        for (path, format) in databases(history) {
            let single = SINGLE_FILES.iter().find(|single| single.format == format);
            let beside = match (format, single) {
                (Format::Sqlite, _) => &SQLITE_BESIDE[..],
                (_, Some(single)) => single.beside,
                (_, None) => &[],
            };
            if let (Format::BerkeleyDb, Some(directory)) = (format, path.parent()) {
                owners.environments.entry(directory).or_insert_with(|| path.clone());
            }
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
        // A database with a reader is judged wherever it lies; the bbolt of etcd is nothing without its log.
        let of_reader = || of_file().filter(|(format, owner)| format.view(owner).is_some());
        let of_directory = || {
            let (format, directory, _) =
                self.directories.iter().find(|(_, directory, owns)| owns.has(directory, path))?;
            Some((*format, directory))
        };
        let of_environment = || {
            let database = self.environments.get(&path.parent()?).filter(|_| is_of_environment(path.name()))?;
            Some((Format::BerkeleyDb, database))
        };
        repository
            .map(|directory| (Format::Git, directory))
            .or_else(of_reader)
            .or_else(of_directory)
            .or_else(of_file)
            .or_else(of_environment)
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
        _ => vec![],
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
        let is = |single: &&SingleFile| any_file(versions, |content| single.is(content));
        SINGLE_FILES.iter().find(is).map(|single| single.format)
    }
}

/// The directories that are a store of a format without a reader, at any time of the run.
fn directories(history: &History) -> Vec<(Format, RelPath, Owns)> {
    let mut found = Vec::new();
    for (path, versions) in history.paths() {
        for kind in DIRECTORIES {
            if !any_file(versions, |content| (kind.is_marked_by)(path, content)) {
                continue;
            }
            let directory = (0..kind.above).try_fold(path.clone(), |path, _| path.parent());
            found.extend(directory.map(|directory| (kind.format, directory, kind.owns)));
        }
    }
    found
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
