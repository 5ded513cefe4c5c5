//! Formats that recover by themselves and have no reader here: how each is known, and which files are its own.
//!
//! What is known by a first few bytes is a file; what is known by a file of a certain name is the directory of that.

use program::RelPath;

use super::Format;

/// A store that is one file.
pub(super) struct SingleFile {
    pub format: Format,
    /// Where its magic stands, bytes, and what that may be.
    pub at: usize,
    pub magics: &'static [&'static [u8]],
    /// What is added to its name for the files beside it.
    pub beside: &'static [&'static [u8]],
}

/// A store that is a directory.
pub(super) struct Directory {
    pub format: Format,
    /// Whether a file with this content is one by which the directory is known.
    pub is_marked_by: fn(&RelPath, &[u8]) -> bool,
    /// How many levels the directory lies above that file.
    pub above: usize,
    /// Which files below it are its own, by the names below it.
    pub owns: Owns,
}

/// Which files of a directory belong to a store.
#[derive(Clone, Copy)]
pub(super) enum Owns {
    /// All that is below it.
    Everything,
    /// Those that lie directly in it and have such a name: others may lie beside them.
    Named(fn(&[u8]) -> bool),
}

/// A magic number in either byte order.
macro_rules! either_order {
    ($($number:literal),+) => { &[$(&u32::to_le_bytes($number), &u32::to_be_bytes($number)),+] };
}

pub(super) const SINGLE_FILES: &[SingleFile] = &[
    // `HEADER_SIGNATURE` (journal-def.h of systemd).
    SingleFile { format: Format::Journald, at: 0, magics: &[b"LPKSHHRH"], beside: &[] },
    // `MAGICNUMBER` (tree_store/page_store/header.rs of redb).
    SingleFile { format: Format::Redb, at: 0, magics: &[b"redb\x1a\x0a\xa9\x0d\x0a"], beside: &[] },
    // `MainHeader::MAGIC_BYTES`, behind a checksum of 8 bytes (storage_info.hpp of DuckDB).
    SingleFile { format: Format::DuckDb, at: 8, magics: &[b"DUCK"], beside: &[b".wal", b".wal.checkpoint"] },
    // `TDB_MAGIC_FOOD` (tdb_private.h of TDB).
    SingleFile { format: Format::Tdb, at: 0, magics: &[b"TDB file\n"], beside: &[] },
    // `DB_BTREEMAGIC`, `DB_HASHMAGIC`, `DB_QAMMAGIC` and `DB_HEAPMAGIC` (db.in and db_page.h of Berkeley DB), behind the
    // number of the log record and that of the page.
    SingleFile {
        format: Format::BerkeleyDb,
        at: 12,
        magics: either_order![0x0005_3162, 0x0006_1561, 0x0004_2253, 0x0007_4582],
        beside: &[],
    },
    // `packed_version` (FileStorage.py of ZODB), and its files beside (`FileStorage.__init__`).
    SingleFile {
        format: Format::Zodb,
        at: 0,
        magics: &[b"FS21", b"FS30"],
        beside: &[b".index", b".index_tmp", b".tmp", b".lock", b".old", b".pack"],
    },
    // The header of a file of MVStore (<https://h2database.com/html/mvstore.html>, "File Header").
    SingleFile { format: Format::H2, at: 0, magics: &[b"H:2,"], beside: &[] },
];

pub(super) const DIRECTORIES: &[Directory] = &[
    // `PG_VERSION` is in every directory of a database, too; `global/pg_control` is in that of a cluster alone
    // (<https://www.postgresql.org/docs/current/storage-file-layout.html>).
    Directory {
        format: Format::PostgreSql,
        is_marked_by: |path, _| path.as_path().ends_with("global/pg_control"),
        above: 2,
        owns: Owns::Everything,
    },
    // The system tablespace (innodb_data_file_path in the manual of MySQL).
    Directory {
        format: Format::InnoDb,
        is_marked_by: |path, _| path.name() == b"ibdata1",
        above: 1,
        owns: Owns::Everything,
    },
    // `snap/db` is a database of bbolt, and `wal` has the entries that it has not got yet
    // (server/storage/datadir of etcd).
    Directory {
        format: Format::Etcd,
        is_marked_by: |path, _| path.as_path().ends_with("member/snap/db"),
        above: 2,
        owns: Owns::Everything,
    },
    // `requires` (`hg help internals.requirements`).
    Directory {
        format: Format::Mercurial,
        is_marked_by: |path, _| path.as_path().ends_with(".hg/requires"),
        above: 1,
        owns: Owns::Everything,
    },
    // `SDB_FILE` (wc.h of Subversion); what is pristine lies beside it.
    Directory {
        format: Format::Subversion,
        is_marked_by: |path, _| path.as_path().ends_with(".svn/wc.db"),
        above: 1,
        owns: Owns::Everything,
    },
    // The kind of its store (lib/src/repo.rs of jj).
    Directory {
        format: Format::Jujutsu,
        is_marked_by: |path, _| path.as_path().ends_with(".jj/repo/store/type"),
        above: 3,
        owns: Owns::Everything,
    },
    // `CODEC_MAGIC` (CodecUtil.java of Lucene), and the names of its files (IndexFileNames.java).
    Directory {
        format: Format::Lucene,
        is_marked_by: |path, content| {
            path.name().starts_with(b"segments_") && content.starts_with(&0x3fd7_6c17_u32.to_be_bytes())
        },
        above: 1,
        owns: Owns::Named(|name| {
            begins_with_one(name, &[b"segments_", b"pending_segments_", b"_"]) || name == b"write.lock"
        }),
    },
    // `magicText` (manifest.go of Badger), and the names of its files.
    Directory {
        format: Format::Badger,
        is_marked_by: |path, content| path.name() == b"MANIFEST" && content.starts_with(b"Bdgr"),
        above: 1,
        owns: Owns::Named(|name| {
            begins_with_one(name, &[b"MANIFEST"])
                || [&b"KEYREGISTRY"[..], b"REWRITE-KEYREGISTRY", b"LOCK", b"DISCARD"].contains(&name)
                || ends_with_one(name, &[b".sst", b".vlog", b".mem"])
        }),
    },
    // `GLASS_VERSION_MAGIC` and `HONEY_VERSION_MAGIC` (glass_version.cc and honey_version.cc of Xapian).
    Directory {
        format: Format::Xapian,
        is_marked_by: |path, content| {
            [&b"iamglass"[..], b"iamhoney"].contains(&path.name()) && content.starts_with(b"\x0f\x0dXapian ")
        },
        above: 1,
        owns: Owns::Named(|name| {
            begins_with_one(name, &[b"iamglass", b"iamhoney", b"flintlock"])
                || ends_with_one(name, &[b".glass", b".honey", b".tmp"])
        }),
    },
    // A line for each file (`aofManifest` in aof.c of Redis). It repairs a log whose end is cut (aof-load-truncated).
    Directory {
        format: Format::RedisAppendOnly,
        is_marked_by: |path, content| path.name().ends_with(b".aof.manifest") && content.starts_with(b"file "),
        above: 1,
        owns: Owns::Named(|name| name.windows(4).any(|part| part == b".aof")),
    },
    // `CURRENT` names the manifest that counts (doc/impl.md of LevelDB; the same in RocksDB).
    Directory {
        format: Format::LevelDb,
        is_marked_by: |path, content| path.name() == b"CURRENT" && content.starts_with(b"MANIFEST-"),
        above: 1,
        owns: Owns::Named(is_of_leveldb),
    },
    // Newer Pebble has no `CURRENT`, but an empty file whose name says the manifest (vfs/atomicfs/marker.go).
    Directory {
        format: Format::LevelDb,
        is_marked_by: |path, _| path.name().starts_with(b"marker.manifest."),
        above: 1,
        owns: Owns::Named(is_of_leveldb),
    },
];

/// Whether a file has a name that LevelDB (filename.cc), RocksDB (file/filename.cc) or Pebble (base/filenames.go) gives.
fn is_of_leveldb(name: &[u8]) -> bool {
    let is_numbered = |ending: &[u8]| {
        name.strip_suffix(ending).is_some_and(|stem| !stem.is_empty() && stem.iter().all(u8::is_ascii_digit))
    };
    [&b"CURRENT"[..], b"LOCK", b"LOG", b"LOG.old", b"IDENTITY"].contains(&name)
        || begins_with_one(name, &[b"MANIFEST-", b"OPTIONS-", b"LOG.old.", b"CURRENT.", b"marker.", b"temporary."])
        || [&b".log"[..], b".ldb", b".sst", b".blob", b".dbtmp"].into_iter().any(is_numbered)
}

/// The files that an environment of Berkeley DB has beside its databases: logs, and regions, which are made anew
/// (`LFPREFIX` in log.h, `DB_REGION_PREFIX` in db_int.in).
pub(super) fn is_of_environment(name: &[u8]) -> bool {
    let is_numbered = |prefix: &[u8], digits: usize| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.len() == digits && rest.iter().all(u8::is_ascii_digit))
    };
    is_numbered(b"log.", 10) || is_numbered(b"__db.", 3)
}

fn begins_with_one(name: &[u8], beginnings: &[&[u8]]) -> bool {
    beginnings.iter().any(|beginning| name.starts_with(beginning))
}

fn ends_with_one(name: &[u8], endings: &[&[u8]]) -> bool {
    endings.iter().any(|ending| name.ends_with(ending))
}

impl SingleFile {
    pub fn is(&self, content: &[u8]) -> bool {
        let at = content.get(self.at..).unwrap_or_default();
        self.magics.iter().any(|magic| at.starts_with(magic))
    }
}

impl Owns {
    /// Whether a file belongs to the store in `directory`.
    pub fn has(self, directory: &RelPath, path: &RelPath) -> bool {
        match self {
            Self::Everything => path.starts_with(directory),
            Self::Named(is) => path.parent().as_ref() == Some(directory) && is(path.name()),
        }
    }
}
