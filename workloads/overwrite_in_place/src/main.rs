//! One field of a record is overwritten where it lies, and "updated" is said at once.
//!
//! Nothing was synced: after a crash the old name may be back. And the field lies across two blocks, so one half may
//! have reached the disk without the other.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let path = Path::new("library.db");
    if !path.exists() {
        return fs::write(path, player::library());
    }
    let library = OpenOptions::new().write(true).open(path)?;
    player::rename(&library, "Ida Lund: Concerto for Two Lanterns and a Small Orchestra, Second Movement; ")?;
    println!("updated");
    Ok(())
}
