//! The results directory: `report.json`, and what reporters put beside it.

use std::io;
use std::path::{Path, PathBuf};

use files::Directory;

use crate::json::{to_json, unseal};
use crate::{Report, SCHEMA, v1};

const REPORT: &str = "report.json";

/// No report has more bytes.
const LARGEST: u64 = 64 << 20;

/// Why results could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {kind}", path.display())]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    /// What is wrong with it.
    pub kind: FileErrorKind,
}

/// What is the matter with a file of results.
#[derive(Debug, thiserror::Error)]
pub enum FileErrorKind {
    /// The file system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not ours.
    #[error("this is no report of the harness (it is not JSON with a `schema`)")]
    Foreign,
    /// From another version.
    #[error(
        "the report has schema {0}, this harness reads schema {SCHEMA} and the one before it: make it again, or use the \
         harness that wrote it"
    )]
    Schema(u64),
    /// Ours, but broken.
    #[error("the report is damaged: {0}")]
    Damaged(String),
}

/// Writes `report.json` into a results directory, which is made if need be.
pub fn write_report(report: &Report, directory: &Path) -> Result<(), FileError> {
    write_file(directory, REPORT, &to_json(report))
}

/// Writes a file into a results directory, which is made if need be. The file is replaced atomically and durably.
pub fn write_file(directory: &Path, name: &str, text: &str) -> Result<(), FileError> {
    let error = |what, path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| FileError { what, path, kind: error.into() }
    };
    let made = Directory::create(directory).map_err(error("make the results directory", directory))?;
    made.replace(name, text.as_bytes()).map_err(error("write", &directory.join(name)))
}

/// Reads a report: a file, or the `report.json` of a results directory, which may come from elsewhere.
pub fn read_report(path: &Path) -> Result<Report, FileError> {
    let (path, read) = if path.is_dir() {
        (path.join(REPORT), Directory::open(path).and_then(|directory| directory.read(REPORT, LARGEST)))
    } else {
        (path.to_owned(), files::read(path, LARGEST))
    };
    let parsed = read.map_err(FileErrorKind::from).and_then(|bytes| parse(&bytes));
    parsed.map_err(|kind| FileError { what: "read the results in", path, kind })
}

fn parse(bytes: &[u8]) -> Result<Report, FileErrorKind> {
    let damaged = |error: serde_json::Error| FileErrorKind::Damaged(error.to_string());
    files::check_json(bytes).map_err(FileErrorKind::Damaged)?;
    let mut value: serde_json::Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        // What ends inside our JSON, or is damaged in it, still begins like it.
        Err(error) if bytes.starts_with(b"{\n  \"schema\":") => return Err(damaged(error)),
        Err(_) => return Err(FileErrorKind::Foreign),
    };
    let version = value.get("schema").map(serde_json::Value::as_u64);
    if version.flatten().is_some_and(|version| [v1::VERSION, SCHEMA.into()].contains(&version)) {
        unseal(&mut value).map_err(FileErrorKind::Damaged)?;
    }
    match version {
        Some(Some(schema)) if schema == u64::from(SCHEMA) => serde_json::from_value(value).map_err(damaged),
        Some(Some(v1::VERSION)) => serde_json::from_value(v1::translate(value)).map_err(damaged),
        Some(Some(schema)) => Err(FileErrorKind::Schema(schema)),
        _ => Err(FileErrorKind::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing;

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let results = directory.path().join("runs/1");
        write_report(&testing::report(), &results).unwrap();
        write_report(&testing::report(), &results).unwrap();
        assert_eq!(read_report(&results).unwrap(), testing::report());
        assert_eq!(read_report(&results.join(REPORT)).unwrap(), testing::report());
        assert_eq!(fs::read_dir(&results).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn foreign_and_damaged_files_are_told_apart() {
        let error = |bytes: &str| parse(bytes.as_bytes()).unwrap_err().to_string();
        // As older builds wrote it: without a checksum.
        let good = serde_json::to_string_pretty(&testing::report()).unwrap() + "\n";
        let swap = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            error(&good.replacen(from, to, 1))
        };
        insta::assert_snapshot!(
            [
                error(""),
                error("<html>"),
                error("{\"cells\": []}"),
                error("{\"schema\": \"one\"}"),
                swap("\"schema\": 2", "\"schema\": 3"),
                error(&good[..good.len() / 2]),
                swap("\"verdict\": \"violation\"", "\"verdict\": \"pass\""),
                swap("\"covered\": \"1204\"", "\"covered\": \"1203\""),
                swap("\"covered\": \"1204\"", "\"covered\": 1204"),
                swap("\"covered\": \"1204\"", "\"covered\": \"-1204\""),
                swap("\"kind\": \"empty\"", "\"kind\": \"hollow\""),
                swap("\"kernel\":", "\"colonel\":"),
            ]
            .join("\n")
        );
    }

    /// Without a checksum, a report with another path or count was shown as it stood there.
    #[test]
    fn a_flipped_bit_is_never_passed_over() {
        let good = to_json(&testing::report()).into_bytes();
        assert_eq!(parse(&good).unwrap(), testing::report());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(parse(&bad).is_err(), "byte {at}");
        }
        let text = String::from_utf8(good).unwrap();
        for line in text.lines() {
            let twice = text.replacen(line, &format!("{line}\n{line}"), 1);
            assert!(parse(twice.as_bytes()).map_or(true, |report| report == testing::report()), "{line}");
        }
        // How it is indented does not matter.
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parse(value.to_string().as_bytes()).unwrap(), testing::report());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_report(Path::new("/nonexistent/results")).unwrap_err().to_string();
        assert_eq!(error, "cannot read the results in /nonexistent/results: No such file or directory (os error 2)");
    }
}
