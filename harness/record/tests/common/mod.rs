//! What the tests of the recorder share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod execute;

use std::ffi::OsString;
use std::path::Path;

use program::Trace;
use record::{RecordSpec, exit_status, record};
use tempfile::TempDir;

/// The program whose faces are recorded.
pub const FIXTURE: &str = env!("CARGO_BIN_EXE_record-fixture");

/// A trace and the directory where it was made.
pub struct Run {
    /// What was recorded.
    pub trace: Trace,
    /// The directory.
    pub directory: TempDir,
}

/// A command in a directory of its own.
pub fn spec<S: Into<OsString>>(command: impl IntoIterator<Item = S>, directory: &Path) -> RecordSpec {
    RecordSpec::new(command, directory)
}

/// Records a command in an empty directory.
pub fn run<S: Into<OsString>>(command: impl IntoIterator<Item = S>) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let trace = record(&spec(command, directory.path())).unwrap();
    Run { trace, directory }
}

/// Records one face of the fixture program.
pub fn face(arguments: &[&str]) -> Run {
    run(std::iter::once(FIXTURE).chain(arguments.iter().copied()))
}

impl Run {
    /// The run ended well, nothing is missing from its trace, and executing the trace by real calls gives what it left.
    #[track_caller]
    pub fn expect_complete(&self) -> &Self {
        assert_eq!(exit_status(&self.trace), Some(0), "{}", self.text());
        self.expect_explained()
    }

    /// As above, whatever its exit status.
    #[track_caller]
    pub fn expect_explained(&self) -> &Self {
        assert_eq!(self.trace.limits, [], "{}", self.text());
        let executed = execute::execute(&self.trace);
        execute::assert_same(&executed, &self.trace.after, &self.text());
        self
    }

    /// The listing, and below it what is missing.
    pub fn text(&self) -> String {
        let mut lines = program::listing(&self.trace);
        lines.extend(
            self.trace.limits.iter().map(|limit| format!("limit {}×: {}: {}", limit.count, limit.call, limit.detail)),
        );
        lines.extend(self.trace.outside.iter().map(|path| format!("outside: {path}")));
        lines.join("\n")
    }

    /// Lines that contain each of `texts` follow each other in the listing, with others between them.
    #[track_caller]
    pub fn expect_in_order(&self, texts: &[&str]) -> &Self {
        let lines = program::listing(&self.trace);
        let mut rest = lines.iter();
        for text in texts {
            assert!(rest.any(|line| line.contains(text)), "no {text:?} at its place in\n{}", self.text());
        }
        self
    }

    /// The lines of the listing that contain `text`.
    pub fn lines(&self, text: &str) -> Vec<String> {
        program::listing(&self.trace).into_iter().filter(|line| line.contains(text)).collect()
    }

    /// The content of a file after the run.
    #[track_caller]
    pub fn after(&self, path: &str) -> Vec<u8> {
        self.trace.after.file(&path.into()).unwrap_or_else(|| panic!("no {path} in\n{}", self.text())).to_vec()
    }
}

/// Whether files written outside the recorded directory, in the place for temporary files, are named in the trace: what is below
/// `/dev` does not outlive a power failure anyway.
pub fn elsewhere_is_named() -> bool {
    !std::env::temp_dir().starts_with("/dev")
}
