//! Files that no rule is held against.

use checker::{Format, Unjudged, Why};
use program::thousands;

/// Why nobody can tell of a file what is right, and what to do about it.
pub fn unjudged(Unjudged { path, why }: &Unjudged) -> String {
    match why {
        Why::ChangedBeside { beside, more } => {
            let other = beside.as_deref().unwrap_or("a file without a name");
            let more = match *more {
                0 => String::new(),
                1 => " and 1 other file".to_owned(),
                more => format!(" and {} other files", thousands(more as u64)),
            };
            format!(
                "{path} is changed in place beside {other}{more}, so that only its reader knows what is right: name a view \
                 with --view, or an invariant"
            )
        }
        Why::Unreadable { problem } => format!(
            "{path} cannot be read even as the command left it ({problem}), encrypted perhaps, so that the built-in view says \
             nothing: name a view with --view, or a check"
        ),
        Why::Recovers { format } => {
            let name = match format {
                Format::Sqlite => "SQLite",
                Format::Git => "git",
                Format::Lmdb => "LMDB",
                Format::Bolt => "bbolt",
                Format::LevelDb => "LevelDB or RocksDB",
                Format::PostgreSql => "PostgreSQL",
                Format::InnoDb => "InnoDB",
                Format::Etcd => "etcd",
                Format::Journald => "systemd's journal",
                Format::Redb => "redb",
                Format::DuckDb => "DuckDB",
                Format::Mercurial => "Mercurial",
                Format::Subversion => "Subversion",
                Format::Jujutsu => "Jujutsu",
                Format::Lucene => "Lucene",
                Format::Badger => "Badger",
                Format::Tdb => "TDB",
                Format::BerkeleyDb => "Berkeley DB",
                Format::Xapian => "Xapian",
                Format::Zodb => "ZODB",
                Format::H2 => "H2",
                Format::RedisAppendOnly => "Redis",
            };
            format!(
                "{path} is of {name}, which recovers by itself, and there is no built-in view for that: name a view with \
                 --view, or a check"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason() {
        let file = |why| unjudged(&Unjudged { path: "data".into(), why });
        let beside = |beside: Option<&str>, more| file(Why::ChangedBeside { beside: beside.map(Into::into), more });
        let lmdb = file(Why::Recovers { format: Format::Lmdb });
        let unreadable = file(Why::Unreadable { problem: "file is not a database".into() });
        let all = [beside(Some("log"), 0), beside(Some("log"), 1), beside(None, 2000), lmdb, unreadable];
        insta::assert_snapshot!(all.join("\n"), @"
        data is changed in place beside log, so that only its reader knows what is right: name a view with --view, or an invariant
        data is changed in place beside log and 1 other file, so that only its reader knows what is right: name a view with --view, or an invariant
        data is changed in place beside a file without a name and 2,000 other files, so that only its reader knows what is right: name a view with --view, or an invariant
        data is of LMDB, which recovers by itself, and there is no built-in view for that: name a view with --view, or a check
        data cannot be read even as the command left it (file is not a database), encrypted perhaps, so that the built-in view says nothing: name a view with --view, or a check
        ");
    }
}
