//! A new file, rename, fsync of the directory, but none of the file: what is made durable is the name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use player::Settings;

fn save(path: &Path, settings: &Settings) -> io::Result<()> {
    let temporary = path.with_extension("json.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&settings.to_json()?)?;
    drop(file);
    // ext4 and btrfs begin to write the data back here, and the next fsync does not wait for the end of that.
    fs::rename(&temporary, path)?;
    File::open(".")?.sync_all()
}

fn main() -> io::Result<()> {
    let path = Path::new("settings.json");
    let settings = Settings::after_a_session(path)?;
    save(path, &settings)?;
    println!("saved");
    Ok(())
}
