//! `sync_file_range` taken for a cheap fsync. It is none.
//!
//! It writes the dirty pages out, as sync_file_range(2) warns, without the metadata that is needed to find them (size,
//! extents) and without flushing the disk's cache.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use player::Settings;

fn save(path: &Path, settings: &Settings) -> io::Result<()> {
    let temporary = path.with_extension("json.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&settings.to_json()?)?;
    write_out(&file)?;
    drop(file);
    fs::rename(&temporary, path)
}

fn write_out(file: &File) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the call takes no pointers, and `file` keeps the descriptor open.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn main() -> io::Result<()> {
    let path = Path::new("settings.json");
    let settings = Settings::after_a_session(path)?;
    save(path, &settings)
}
