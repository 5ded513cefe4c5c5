//! `settings.json`: about 10,000 bytes, so that it takes several blocks of any file system.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

const ARTISTS: [&str; 5] = ["The Paper Boats", "Ida Lund", "Quartet in Blue", "Nightbus", "Hollow Oak"];
const WORDS: [&str; 7] = ["Harbour", "Lantern", "Early", "Northern", "Glass", "Winter", "Orchard"];

/// What the player remembers between two starts.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// How often the settings were saved.
    pub saves: u32,
    /// In percent.
    pub volume: u32,
    /// Name of a colour scheme.
    pub theme: String,
    /// The list that is playing.
    pub queue: Vec<Track>,
}

/// One piece of music in the queue.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Track {
    /// Its name.
    pub title: String,
    /// Who plays it.
    pub artist: String,
    /// How often it was heard.
    pub plays: u32,
    /// Where the listener stopped, in milliseconds.
    pub position: u32,
}

impl Settings {
    /// One session of the player: reads `path` (there is none at the first start), and changes what a session changes.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be read, or is not settings.
    pub fn after_a_session(path: &Path) -> io::Result<Self> {
        let mut settings = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::first(),
            Err(error) => return Err(error),
        };
        settings.play();
        Ok(settings)
    }

    /// The bytes of the settings file.
    ///
    /// # Errors
    ///
    /// None that this type can give.
    pub fn to_json(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }

    fn first() -> Self {
        Self { saves: 0, volume: 80, theme: "light".into(), queue: (0..78).map(Track::number).collect() }
    }

    /// Changes every track, so that old and new settings differ in each 512 bytes; and the length of the file.
    fn play(&mut self) {
        self.saves += 1;
        if self.saves > 1 {
            self.volume = 100;
            self.theme = "midnight".into();
            let next = self.queue.len();
            self.queue.extend((next..next + 7).map(Track::number));
        }
        for (number, track) in self.queue.iter_mut().enumerate() {
            track.plays += 1 + number as u32 % 3;
            track.position = (track.position + 61_007) % 240_000;
        }
    }
}

impl Track {
    fn number(number: usize) -> Self {
        let word = |step: usize| WORDS[number / step % WORDS.len()];
        Self {
            title: format!("{} {}", word(1), word(WORDS.len())),
            artist: ARTISTS[number % ARTISTS.len()].into(),
            plays: 0,
            position: number as u32 * 1_009,
        }
    }
}
