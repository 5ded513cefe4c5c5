//! `library.db`: records of one length, one after another, as many small databases keep them.

use std::io;
use std::os::unix::fs::FileExt;

/// Length of the name in a record (bytes).
pub const NAME: usize = 255;
/// Length of a record (bytes): a name after its number (4), its play count (4) and its rating (1).
pub const RECORD: usize = 4 + 4 + 1 + NAME;

/// A library of 40 records with plain names: 10,560 bytes.
pub fn library() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..40_u32 {
        bytes.extend(number.to_le_bytes());
        bytes.extend((number * 7 % 50).to_le_bytes());
        bytes.push((number % 5) as u8 + 1);
        bytes.extend(field(&format!("untitled recording no. {number}; ")));
    }
    bytes
}

/// Overwrites, with one pwrite(2), the name of the record that lies across the end of the file's first 4,096 bytes.
///
/// # Errors
///
/// Those of the write.
pub fn rename(library: &std::fs::File, name: &str) -> io::Result<()> {
    let record = 4096 / RECORD;
    library.write_all_at(&field(name), (record * RECORD + RECORD - NAME) as u64)
}

/// A name cut or repeated to fill its field.
fn field(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(NAME).collect()
}
