//! The results directory: `report.json` and `matrix.md`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::json::to_json;
use crate::{Report, SCHEMA, matrix};

const REPORT: &str = "report.json";
const MATRIX: &str = "matrix.md";

/// Why results could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {kind}", path.display())]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    /// What is the matter.
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
        "the report has schema {0}, this harness reads schema {SCHEMA}: make it again, or use the harness that wrote it"
    )]
    Schema(u64),
    /// Ours, but broken.
    #[error("the report is damaged: {0}")]
    Damaged(String),
}

/// Writes `report.json` and `matrix.md` into a directory, which is made if need be. Each file is replaced atomically.
/// `results` is where tokens have to be looked for, if it is not where they are looked for by themselves.
pub fn write_results(report: &Report, directory: &Path, results: Option<&Path>) -> Result<(), FileError> {
    let error = |what, path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| FileError { what, path, kind: error.into() }
    };
    fs::create_dir_all(directory).map_err(error("make the results directory", directory))?;
    for (name, text) in [(MATRIX, matrix(report, results)), (REPORT, to_json(report))] {
        let path = directory.join(name);
        replace(&path, text.as_bytes()).map_err(error("write", &path))?;
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(error("write", directory))
}

/// Replaces a file by what this whole project asks of others: a temporary file beside it, fsync, rename. That the new one
/// stays, whatever comes, takes an fsync of the directory, too.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Reads a report: a file, or the `report.json` of a results directory.
pub fn read_report(path: &Path) -> Result<Report, FileError> {
    let path = if path.is_dir() { path.join(REPORT) } else { path.to_owned() };
    let parsed = fs::read(&path).map_err(FileErrorKind::from).and_then(|bytes| parse(&bytes));
    parsed.map_err(|kind| FileError { what: "read the results in", path, kind })
}

fn parse(bytes: &[u8]) -> Result<Report, FileErrorKind> {
    let damaged = |error: serde_json::Error| FileErrorKind::Damaged(error.to_string());
    let value: serde_json::Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        // What ends inside our JSON, or is damaged in it, still begins like it.
        Err(error) if bytes.starts_with(b"{\n  \"schema\":") => return Err(damaged(error)),
        Err(_) => return Err(FileErrorKind::Foreign),
    };
    match value.get("schema").map(serde_json::Value::as_u64) {
        Some(Some(schema)) if schema == u64::from(SCHEMA) => serde_json::from_value(value).map_err(damaged),
        Some(Some(schema)) => Err(FileErrorKind::Schema(schema)),
        _ => Err(FileErrorKind::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let results = directory.path().join("runs/1");
        write_results(&testing::report(), &results, None).unwrap();
        write_results(&testing::report(), &results, None).unwrap();
        assert_eq!(read_report(&results).unwrap(), testing::report());
        assert_eq!(read_report(&results.join(REPORT)).unwrap(), testing::report());
        assert_eq!(fs::read_to_string(results.join(MATRIX)).unwrap(), matrix(&testing::report(), None));
        assert_eq!(fs::read_dir(&results).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn foreign_and_damaged_files_are_told_apart() {
        let error = |bytes: &str| parse(bytes.as_bytes()).unwrap_err().to_string();
        let good = to_json(&testing::report());
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
                swap("\"schema\": 1", "\"schema\": 2"),
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

    #[test]
    fn a_missing_file_is_named() {
        let error = read_report(Path::new("/nonexistent/results")).unwrap_err().to_string();
        assert_eq!(error, "cannot read the results in /nonexistent/results: No such file or directory (os error 2)");
    }
}
