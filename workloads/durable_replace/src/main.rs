//! The whole recipe: new file, fsync, rename, fsync of the directory. Atomic, and kept once "saved" was said.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use player::Settings;

fn save(path: &Path, settings: &Settings) -> io::Result<()> {
    let temporary = path.with_extension("json.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&settings.to_json()?)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    // The new name is an entry of the directory: only the directory's own fsync makes it durable.
    File::open(".")?.sync_all()
}

fn main() -> io::Result<()> {
    let path = Path::new("settings.json");
    let settings = Settings::after_a_session(path)?;
    save(path, &settings)?;
    println!("saved");
    Ok(())
}
