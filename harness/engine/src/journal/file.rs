//! The file: lines with checksums, and what is left of them after a kill.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use super::NAME;
use super::known::Known;
use super::line::Line;
use crate::store::{Store, StoreError};
use crate::sum::sum;

/// No journal has more bytes, and no line of one.
pub(super) const LARGEST: u64 = 16 << 30;
pub(super) const LONGEST: u64 = 64 << 20;

pub(super) fn failed(store: &Store, source: io::Error) -> StoreError {
    StoreError::Io { doing: "go on with the journal", path: store.directory().join(NAME), source }
}

/// What a journal holds, and how many bytes of it are whole lines; `None` if there is none.
pub(super) fn load(store: &Store, run: &str) -> Result<Option<(Known, u64)>, StoreError> {
    match store.files().file(NAME, LARGEST) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(store, error)),
        Ok(file) => {
            let read = read(BufReader::new(file), run).map_err(|error| failed(store, error))?;
            read.map(Some).map_err(|problem| store.damaged(NAME, problem))
        }
    }
}

/// A line of the journal of this run, with its end: `body` is an object of JSON.
pub fn seal(run: &str, body: &str) -> String {
    let rest = body.strip_prefix('{').unwrap_or(body);
    format!("{OPENING}{}\",{rest}\n", hex::encode(sum(&[run.as_bytes(), rest.as_bytes()])))
}

pub(super) fn seal_line(run: &str, line: &Line) -> String {
    seal(run, &serde_json::to_string(line).unwrap_or_default())
}

const OPENING: &str = "{\"checksum\":\"";

/// Reads the lines that are whole, and how many bytes these are; or says what is damaged.
pub(super) fn read(mut reader: impl BufRead, run: &str) -> io::Result<Result<(Known, u64), String>> {
    let mut known = Known::default();
    let mut whole = 0;
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        (&mut reader).take(LONGEST).read_until(b'\n', &mut text)?;
        if text.last() != Some(&b'\n') {
            if text.len() as u64 == LONGEST {
                return Ok(Err(format!("line {number} has no end")));
            }
            break;
        }
        let Some(line) = parse(&text, run) else {
            return Ok(Err(format!("line {number} does not hold what its checksum was made of; begin the run again")));
        };
        if let Err(problem) = known.add(line) {
            return Ok(Err(format!("line {number}: {problem}; begin the run again")));
        }
        whole += text.len() as u64;
    }
    Ok(Ok((known, whole)))
}

fn parse(text: &[u8], run: &str) -> Option<Line> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.strip_suffix('\n')?.strip_prefix(OPENING)?.split_once("\",")?;
    if text != seal(run, &format!("{{{rest}")) {
        return None;
    }
    serde_json::from_str(&format!("{{{rest}")).ok()
}
