//! Saves as the harness itself saves: replaces a file, and publishes a new one in a new directory.
//!
//! This is a workload: harness/tests/real/ours.rs explores what a crash may leave of it.

use std::io;
use std::path::Path;

use files::Directory;

fn main() -> io::Result<()> {
    let Some(text) = std::env::args().nth(1) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "name the text that the files shall hold"));
    };
    files::replace(Path::new("report"), text.repeat(2500).as_bytes())?;
    println!("replaced");
    // Only the second start makes these: the first one makes the old state.
    if text != "old" {
        Directory::create(Path::new("results/run"))?.put_new("report", text.repeat(1500).as_bytes())?;
        println!("published");
    }
    Ok(())
}
