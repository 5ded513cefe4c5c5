use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

/// A database, with what lies beside it.
#[derive(Clone, Debug, Default)]
struct Copy {
    database: Option<Vec<u8>>,
    journal: Option<Vec<u8>>,
    log: Option<Vec<u8>>,
}

impl Copy {
    fn of(path: &Path) -> Self {
        let beside = |suffix: &str| fs::read(format!("{}{suffix}", path.display())).ok();
        Self { database: beside(""), journal: beside("-journal"), log: beside("-wal") }
    }

    fn read(&self) -> Reading {
        self.read_with(|_| false)
    }

    fn read_with(&self, is_there: impl Fn(&[u8]) -> bool) -> Reading {
        let Self { database, journal, log } = self;
        let files = Files { database: database.as_deref(), journal: journal.as_deref(), log: log.as_deref() };
        read(files, is_there).unwrap()
    }
}

/// What `statements` leave while the program is still running.
fn left_by(statements: &str) -> (tempfile::TempDir, Connection, Copy) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(statements).unwrap();
    let copy = Copy::of(&path);
    (place, connection, copy)
}

fn text(copy: &Copy) -> String {
    let Reading { text, fault } = copy.read();
    assert_eq!(fault, None);
    text
}

#[test]
fn schema_and_rows_are_text() {
    let (_place, _connection, copy) = left_by(
        "PRAGMA user_version = 7;
         CREATE TABLE t(a INTEGER PRIMARY KEY, b, c);
         CREATE INDEX i ON t(b);
         CREATE VIEW v AS SELECT 1;
         INSERT INTO t VALUES (2, 'it''s\ntwo lines', x'00ff'), (1, NULL, 1.5);
         CREATE TABLE \"odd \"\"name\" (x) ;
         INSERT INTO \"odd \"\"name\" VALUES ('z'), ('a');",
    );
    insta::assert_snapshot!(text(&copy));
    assert_eq!(text(&Copy::default()), "there is no database\n");
    assert_eq!(text(&Copy { database: Some(vec![]), ..Copy::default() }), "", "an empty file is an empty database");
}

/// A hot journal: the transaction was not committed.
#[test]
fn a_journal_is_rolled_back() {
    let (_place, connection, old) = left_by("CREATE TABLE t(a); INSERT INTO t VALUES ('old');");
    connection.execute_batch("PRAGMA cache_spill = 1; PRAGMA cache_size = 1; BEGIN; UPDATE t SET a = 'new';").unwrap();
    connection.execute_batch("CREATE TABLE u AS SELECT randomblob(50000) AS b;").unwrap();
    let hot = Copy::of(&_place.path().join("a.db"));
    assert!(hot.journal.as_ref().is_some_and(|journal| journal.starts_with(&MAGIC)), "the test makes no hot journal");
    assert_ne!(hot.database, old.database);
    assert_eq!(text(&hot), text(&old));
    let without = Copy { journal: None, ..hot };
    assert_ne!(without.read(), Reading { text: text(&old), fault: None }, "the journal makes no difference");
}

#[test]
fn a_log_is_read() {
    let (_place, _connection, copy) =
        left_by("PRAGMA journal_mode = wal; CREATE TABLE t(a); INSERT INTO t VALUES ('in the log');");
    assert!(copy.log.is_some());
    assert!(text(&copy).contains("'in the log'"));
    assert!(!text(&Copy { log: None, ..copy }).contains("'in the log'"));
}

#[test]
fn damage_is_a_fault_and_not_a_crash() {
    let (_place, _connection, copy) = left_by(
        "CREATE TABLE t(a, b); CREATE INDEX i ON t(a);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
         INSERT INTO t SELECT x, 'row ' || x FROM n;",
    );
    let whole = copy.database.clone().unwrap();
    let fault = |database: Vec<u8>| Copy { database: Some(database), ..Copy::default() }.read().fault;
    assert_eq!(fault(whole.clone()), None);
    assert_eq!(fault(b"no database at all, but long enough".repeat(100)), Some("file is not a database".into()));
    assert_eq!(fault(whole[..whole.len() / 2].to_vec()), Some("database disk image is malformed".into()));
    for page in 1..whole.len() / 4096 {
        for byte in [0x00, 0xff, 0x41] {
            let mut damaged = whole.clone();
            damaged[page * 4096..(page + 1) * 4096].fill(byte);
            assert!(fault(damaged).is_some(), "page {page} of bytes {byte:#x} is as good as any");
        }
    }
}

/// SQLite would remove the file of that name.
#[test]
fn the_name_of_a_super_journal_is_not_followed() {
    let victim = tempfile::NamedTempFile::new().unwrap();
    let (place, connection, old) = left_by("CREATE TABLE t(a); INSERT INTO t VALUES ('old');");
    connection.execute_batch("PRAGMA cache_spill = 1; PRAGMA cache_size = 1; BEGIN; UPDATE t SET a = 'new';").unwrap();
    connection.execute_batch("CREATE TABLE u AS SELECT randomblob(50000) AS b;").unwrap();
    let mut hot = Copy::of(&place.path().join("a.db"));
    let name = victim.path().as_os_str().as_encoded_bytes();
    let journal = hot.journal.as_mut().unwrap();
    journal.extend_from_slice(&u32::MAX.to_be_bytes());
    journal.extend_from_slice(name);
    journal.extend_from_slice(&u32::try_from(name.len()).unwrap().to_be_bytes());
    // `readSuperJournal` takes the sum of the bytes, as signed ones.
    let sum = name.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    journal.extend_from_slice(&sum.to_be_bytes());
    journal.extend_from_slice(&MAGIC);
    let last = victim.path().file_name().unwrap().as_encoded_bytes();
    assert_eq!(hot.read_with(|name| name == last).text, text(&old), "it is there: the journal is rolled back");
    assert_ne!(hot.read().text, text(&old), "it is gone: the transaction is over");
    assert!(victim.path().exists());
}

#[test]
fn a_thousand_looks_take_two_seconds_at_most() {
    if Path::new(crate::MEMORY).is_dir() {
        crate::keep_in(crate::MEMORY.into());
    }
    let (_place, _connection, copy) = left_by(
        "CREATE TABLE t(a, b); CREATE INDEX i ON t(a);
         WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100)
         INSERT INTO t SELECT x, 'row ' || x FROM n;",
    );
    // The best of three: other tests want the processors, too.
    let times = (0..3).map(|_| {
        let begun = Instant::now();
        (0..1000).for_each(|_| drop(copy.read()));
        begun.elapsed()
    });
    let best = times.min().unwrap();
    assert!(best < Duration::from_secs(2), "{best:?}");
}
