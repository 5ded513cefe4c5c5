//! Half of the recipe: a new file takes the old one's place by rename, and nobody waits for its data.
//!
//! The rename may reach the disk before the data does. ext4 writes the data out at such a rename (`auto_da_alloc`);
//! a file system that does not may leave an empty file under the settings' name.

use std::io::{self, Write};
use std::path::Path;

use player::Settings;
use tempfile::NamedTempFile;

fn save(path: &Path, settings: &Settings) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(".")?;
    file.write_all(&settings.to_json()?)?;
    file.flush()?;
    file.persist(path)?;
    Ok(())
}

fn main() -> io::Result<()> {
    let path = Path::new("settings.json");
    let settings = Settings::after_a_session(path)?;
    save(path, &settings)
}
