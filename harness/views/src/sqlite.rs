//! SQLite databases: opened as a program would open them, so that they recover, checked, and written out as text.
//!
//! The library is the bundled one, in this process. It is built to survive hostile databases
//! (sqlite.org/security.html, "Untrusted SQLite Database Files", whose advice is followed here), and is fuzzed with them
//! day and night; a helper process for each look would cost more than the look, and one for many a protocol. What is given
//! up is that a fault of its C code would be a fault of ours. So that nothing but it touches what others named:
//!
//! - the files lie alone in a fresh directory, under names of ours: no name of the tree is used;
//! - memory is mapped neither for the file nor for the index of the write-ahead log (`mmap_size = 0`, and the exclusive
//!   locking mode, in which that index is plain memory: sqlite.org/wal.html, section 6), so that no fault of a page kills;
//! - the name of a super-journal that stands in a rollback journal is never followed: SQLite removes the file of that name
//!   when nothing needs it any more (`pager_delsuper` in pager.c), and the name may be any. See [`journal`].

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::{PlaceError, Reading, place};

/// What SQLite may hold in memory at once, of all databases together, bytes.
const MOST_MEMORY: u64 = 1 << 30;

/// The longest value, bytes, and the longest statement.
const LONGEST: i32 = 64 << 20;

/// How many steps of its virtual machine a look may take, in units of [`STEPS`]: a count, not a time, so that it ends in
/// the same place on every host.
const MOST_STEPS: u32 = 1_000;
const STEPS: i32 = 1_000_000;

/// How much of a database's text is kept, bytes; of the rest, a count and a sum.
const MOST_TEXT: usize = 32 << 20;

/// The first bytes of a rollback journal, and the last of one that names a super-journal.
const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// A database as it lies in a directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// The database file; `None` if there is none.
    pub database: Option<&'a [u8]>,
    /// Its rollback journal.
    pub journal: Option<&'a [u8]>,
    /// Its write-ahead log.
    pub log: Option<&'a [u8]>,
}

/// What such a database holds once it has recovered: its schema, and the rows of all tables, sorted. `is_there` says
/// whether there is a file of this name beside it: a super-journal.
///
/// # Errors
/// This machine has no place for the files.
pub fn read(files: Files<'_>, is_there: impl Fn(&[u8]) -> bool) -> Result<Reading, PlaceError> {
    let Some(database) = files.database else {
        return Ok(Reading { text: "there is no database\n".into(), fault: None });
    };
    let place = place::fresh()?;
    let path = place.path().join("db");
    fs::write(&path, database)?;
    if let Some(content) = files.journal.and_then(|bytes| journal(bytes, is_there)) {
        fs::write(place.path().join("db-journal"), content)?;
    }
    if let Some(content) = files.log {
        fs::write(place.path().join("db-wal"), content)?;
    }
    let mut text = String::new();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let read = Connection::open_with_flags(&path, flags).and_then(|mut connection| {
        limit(&mut connection)?;
        write_out(&connection, &mut text)
    });
    let fault = match read {
        Ok(fault) => fault,
        Err(error) => Some(words(&error)),
    };
    Ok(Reading { text, fault })
}

/// What SQLite is to see of a rollback journal.
///
/// At the end of a journal can stand the name of a super-journal, which says that the transaction is one of several
/// databases (sqlite.org/fileformat2.html; `readSuperJournal` in pager.c). It is whole as long as that file is there. The
/// name is that of the directory in which the program ran; what counts is whether such a file lies beside the database
/// now. If it does, the journal is rolled back as any other: the name is cut off. If not, the transaction is over, and the
/// journal nobody's.
fn journal(mut bytes: &[u8], is_there: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    while let Some((rest, name)) = super_journal(bytes) {
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
        if !is_there(last) {
            return None;
        }
        bytes = rest;
    }
    Some(bytes)
}

/// A journal without the name of its super-journal, and that name. Whether its checksum is right does not matter.
fn super_journal(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    // Lock page, name, length, checksum, magic: the last three are what it is known by.
    let (rest, magic) = bytes.split_last_chunk::<8>()?;
    let (rest, _checksum) = rest.split_last_chunk::<4>()?;
    let (rest, length) = rest.split_last_chunk::<4>()?;
    if *magic != MAGIC {
        return None;
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let start = rest.len().saturating_sub(length);
    let (before, name) = rest.split_at(start);
    // The number of the page that it stands in place of.
    Some((&before[..before.len().saturating_sub(4)], name))
}

/// Has what a hostile database could do denied.
fn limit(connection: &mut Connection) -> rusqlite::Result<()> {
    static MEMORY: Once = Once::new();
    for (setting, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        connection.set_db_config(setting, on)?;
    }
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_EXPR_DEPTH, 200)?;
    connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    let steps = Arc::new(AtomicU32::new(0));
    let is_over = move || steps.fetch_add(1, Ordering::Relaxed) >= MOST_STEPS;
    connection.progress_handler(STEPS, Some(is_over))?;
    let mut settings = "PRAGMA locking_mode = exclusive; PRAGMA mmap_size = 0; PRAGMA temp_store = memory; \
                        PRAGMA synchronous = off; PRAGMA cell_size_check = on;"
        .to_owned();
    MEMORY.call_once(|| {
        let _ = write!(settings, "PRAGMA hard_heap_limit = {MOST_MEMORY};");
    });
    connection.execute_batch(&settings)
}

/// Writes all that a database holds into `text`; what its own check finds is the fault.
fn write_out(connection: &Connection, text: &mut String) -> rusqlite::Result<Option<String>> {
    let mut fault = None;
    let mut check = connection.prepare("PRAGMA integrity_check(3)")?;
    let mut rows = check.query([])?;
    let mut found: Vec<String> = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(row.get(0)?);
    }
    if found != ["ok"] {
        fault = Some(format!("integrity_check: {}", found.join("; ").replace('\n', " ")));
    }
    for pragma in ["user_version", "application_id"] {
        let value: i64 = connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))?;
        if value != 0 {
            let _ = writeln!(text, "{pragma} {value}");
        }
    }
    let mut schema = connection.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name")?;
    let mut rows = schema.query([])?;
    let mut tables: Vec<String> = Vec::new();
    while let Some(row) = rows.next()? {
        let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
        let sql: Option<String> = row.get(2)?;
        let sql = sql.unwrap_or_default();
        let _ = writeln!(text, "{kind} {}: {}", escaped(&name), escaped(&sql));
        // A virtual table has tables of its own, which hold its rows, and code, which is not run.
        let is_virtual = sql.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("create virtual"));
        if kind == "table" && !is_virtual {
            tables.push(name);
        }
    }
    for table in tables {
        rows_of(connection, &table, text)?;
    }
    Ok(fault)
}

/// Writes the rows of a table, one a line, in the order of their text: where they lie does not matter to a program that
/// asks for no order.
fn rows_of(connection: &Connection, table: &str, text: &mut String) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("SELECT * FROM \"{}\"", table.replace('"', "\"\"")))?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    let (mut lines, mut size) = (Vec::new(), 0);
    let (mut left_out, mut sum) = (0u64, 0u64);
    while let Some(row) = rows.next()? {
        let mut line = String::new();
        for column in 0..columns {
            let separator = if column == 0 { "" } else { ", " };
            let _ = write!(line, "{separator}{}", value(row.get_ref(column)?));
        }
        size += line.len();
        if text.len() + size > MOST_TEXT {
            left_out += 1;
            // FNV-1a; added up, since the order says nothing.
            let one = line
                .bytes()
                .fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            sum = sum.wrapping_add(one);
        } else {
            lines.push(line);
        }
    }
    lines.sort_unstable();
    let table = escaped(table);
    for line in &lines {
        let _ = writeln!(text, "{table}: {line}");
    }
    if left_out > 0 {
        let _ = writeln!(text, "{table}: {left_out} more rows, with the sum {sum:016x}");
    }
    Ok(())
}

fn value(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => format!("'{}'", escaped(&String::from_utf8_lossy(text)).replace('\'', "''")),
        ValueRef::Blob(bytes) => {
            let mut text = String::from("x'");
            for byte in bytes {
                let _ = write!(text, "{byte:02x}");
            }
            text + "'"
        }
    }
}

/// On one line.
fn escaped(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// What SQLite says of a fault, without the name of the directory.
fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
