//! The bug that most programs begin with: the old settings are cut to nothing before the new ones are safe.
//!
//! `File::create` truncates. If the kernel commits the truncation and the power fails before the data is on the disk,
//! neither the old nor the new settings are left.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use player::Settings;

fn save(path: &Path, settings: &Settings) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&settings.to_json()?)
}

fn main() -> io::Result<()> {
    let path = Path::new("settings.json");
    let settings = Settings::after_a_session(path)?;
    save(path, &settings)
}
