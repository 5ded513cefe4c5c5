//! The new file takes the old one's place while it is still open, written in two parts, and never synced.
//!
//! Close means nothing to the disk, so closing late is no bug in itself; but the data of a file that is renamed and
//! not synced may come after the rename, or in part, and here nothing orders them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use player::Settings;

fn save(path: &Path, settings: &Settings) -> io::Result<()> {
    let json = settings.to_json()?;
    let (head, tail) = json.split_at(json.len() / 2);
    let temporary = path.with_extension("json.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(head)?;
    file.write_all(tail)?;
    fs::rename(&temporary, path)?;
    drop(file);
    Ok(())
}

fn main() -> io::Result<()> {
    let path = Path::new("settings.json");
    let settings = Settings::after_a_session(path)?;
    save(path, &settings)
}
