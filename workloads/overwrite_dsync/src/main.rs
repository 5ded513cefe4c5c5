//! The same as `overwrite_in_place` through `O_DSYNC`: each write is durable once it returns.
//!
//! So "updated" is true when it is said. But durable is not atomic: a crash during the write can leave one half of the
//! name new and the other old.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

fn main() -> io::Result<()> {
    let path = Path::new("library.db");
    if !path.exists() {
        return fs::write(path, player::library());
    }
    let library = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(path)?;
    player::rename(&library, "Ida Lund: Concerto for Two Lanterns and a Small Orchestra, Second Movement; ")?;
    println!("updated");
    Ok(())
}
