//! The recipe for atomic replace: the data is on the disk before the rename can be.
//!
//! After a crash the settings are the old or the new ones, whole. Which of the two is open until the directory is
//! synced as well (see `durable_replace`): a user who was told "saved" may find the old ones.

use std::io::{self, Write};
use std::path::Path;

use player::Settings;
use tempfile::NamedTempFile;

fn save(path: &Path, settings: &Settings) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(".")?;
    file.write_all(&settings.to_json()?)?;
    file.flush()?;
    file.as_file().sync_data()?;
    file.persist(path)?;
    Ok(())
}

fn main() -> io::Result<()> {
    let path = Path::new("settings.json");
    let settings = Settings::after_a_session(path)?;
    save(path, &settings)
}
