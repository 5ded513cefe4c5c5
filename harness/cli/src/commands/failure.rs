//! A command that came to nothing: what is said, and what is exited with.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use record::RecordError;
use report::{ExitStatus, FileErrorKind};
use reporters::tame;
use vm::{Death, GuestError, KernelError};

use engine::mkfs::MkfsError;
use engine::run::RunError;
use engine::store::StoreError;
use engine::subject::SubjectError;
use engine::worker::WorkError;

/// Why a command came to nothing.
#[derive(Debug)]
pub struct Failure {
    status: ExitStatus,
    message: String,
}

impl Failure {
    /// A failure with this status and message.
    pub fn new(status: ExitStatus, message: impl ToString) -> Self {
        Self { status, message: message.to_string() }
    }

    /// Bad usage or input.
    pub fn usage(message: impl ToString) -> Self {
        Self::new(ExitStatus::Usage, message)
    }

    /// This machine lacks something.
    pub fn machine(message: impl ToString) -> Self {
        Self::new(ExitStatus::Machine, message)
    }

    /// This machine lacks something that can be installed.
    pub fn lacking(message: impl Display) -> Self {
        Self::machine(format!("{message}\n`harness doctor` says what this machine has and what it lacks"))
    }

    /// A place that the user named, or the disk that it is on, would not do.
    pub fn io(error: &io::Error, message: impl ToString) -> Self {
        let status = match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename => ExitStatus::Usage,
            _ => ExitStatus::Machine,
        };
        Self::new(status, message)
    }

    /// The same, and what the user should know besides.
    pub fn and(mut self, more: impl Display) -> Self {
        self.message = format!("{}\n{more}", self.message);
        self
    }

    /// Says it, on stderr.
    pub fn tell(&self) -> ExitStatus {
        say(&format!("error: {}", self.message));
        self.status
    }
}

/// Says something on stderr, with nothing in it that a terminal would obey. Where that is closed, nobody wants to know.
pub fn say(text: &str) {
    let lines: String = text.lines().map(|line| tame(line) + "\n").collect();
    let _ = io::stderr().write_all(lines.as_bytes());
}

impl From<workload::Error> for Failure {
    fn from(error: workload::Error) -> Self {
        Self::new(status_of(error.kind()), error)
    }
}

fn status_of(kind: workload::ErrorKind) -> ExitStatus {
    match kind {
        workload::ErrorKind::Input => ExitStatus::Usage,
        workload::ErrorKind::Machine => ExitStatus::Machine,
        workload::ErrorKind::Command => ExitStatus::Command,
        workload::ErrorKind::Interrupted => ExitStatus::Interrupted,
    }
}

impl From<SubjectError> for Failure {
    fn from(error: SubjectError) -> Self {
        match &error {
            SubjectError::Workload(_) => match error {
                SubjectError::Workload(error) => error.into(),
                other => Self::usage(other),
            },
            SubjectError::Command { .. } => Self::new(ExitStatus::Command, error),
            SubjectError::Record { source, .. } => Self::new(status_of_recording(source), error),
            SubjectError::Directory { source, .. } => Self::io(source, &error),
            SubjectError::Check(check) => Self::new(status_of(check.kind()), error),
            SubjectError::NobodyLooks { .. } => Self::new(ExitStatus::Defect, error),
            SubjectError::Rules { .. }
            | SubjectError::Ignore { .. }
            | SubjectError::TooLarge { .. }
            | SubjectError::TooMuchWritten { .. }
            | SubjectError::TooMuchLeft { .. }
            | SubjectError::NoDisk { .. } => Self::usage(error),
        }
    }
}

fn status_of_recording(error: &RecordError) -> ExitStatus {
    match error {
        RecordError::TimeOut { .. } => ExitStatus::Command,
        RecordError::Cancelled => ExitStatus::Interrupted,
        // Files that cannot be read or are too large.
        RecordError::NotFound(_)
        | RecordError::NoCommand
        | RecordError::Nul(_)
        | RecordError::Directory { .. }
        | RecordError::Input { .. }
        | RecordError::Snapshot(_)
        | RecordError::TooMuchData { .. }
        | RecordError::TooManyCalls { .. } => ExitStatus::Usage,
        RecordError::At(mounts::MountError::Refused { .. }) => ExitStatus::Machine,
        RecordError::At(_) => ExitStatus::Usage,
        RecordError::Start { source, .. } if source.kind() != ErrorKind::OutOfMemory => ExitStatus::Usage,
        RecordError::Start { .. } | RecordError::Refused { .. } | RecordError::System { .. } => ExitStatus::Machine,
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Subject(error) => error.into(),
            RunError::Kernel(error) => error.into(),
            RunError::Work(error) => error.into(),
            RunError::Store(error) => error.into(),
            RunError::Report(error) => match &error.kind {
                FileErrorKind::Io(source) => Self::io(source, &error),
                FileErrorKind::Foreign | FileErrorKind::Schema(_) | FileErrorKind::Damaged(_) => Self::usage(error),
            },
            RunError::OtherMachine { .. }
            | RunError::OtherKernel { .. }
            | RunError::UnknownKernel { .. }
            | RunError::NotPermitted { .. }
            | RunError::NotOfRun { .. }
            | RunError::SamePlace { .. }
            | RunError::Changed { .. } => Self::usage(error),
            RunError::Interrupted => Self::new(ExitStatus::Interrupted, error),
        }
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Build(_) => Self::machine(error),
            KernelError::Named { .. } => Self::usage(error),
            KernelError::Missing { .. } | KernelError::Module(_) => Self::lacking(error),
        }
    }
}

impl From<WorkError> for Failure {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Start { .. } | WorkError::Journal { .. } => Self::usage(error),
            WorkError::Guest(error) => error.into(),
            WorkError::Mkfs(error @ MkfsError::NoTool { .. }) => Self::lacking(error),
            WorkError::Mkfs(error @ (MkfsError::Refused { .. } | MkfsError::Unexplored { .. })) => Self::usage(error),
            WorkError::Mkfs(error) => Self::machine(error),
        }
    }
}

impl From<GuestError> for Failure {
    fn from(error: GuestError) -> Self {
        match error {
            // A host that killed it, or gave it no processor, lacks nothing.
            GuestError::Boot { death: Death::Host, .. } => Self::new(ExitStatus::Defect, error),
            GuestError::Setup { .. } | GuestError::Boot { .. } => Self::lacking(error),
            GuestError::NotMounted(_) => Self::new(ExitStatus::Usage, error),
            GuestError::Died { .. } | GuestError::Defect(_) | GuestError::Refused(_) => {
                Self::new(ExitStatus::Defect, error)
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Io { source, .. } => Self::io(source, &error),
            StoreError::Damaged { .. }
            | StoreError::Nothing { .. }
            | StoreError::NoRun { .. }
            | StoreError::CutShort { .. }
            | StoreError::Busy { .. }
            | StoreError::Foreign { .. }
            | StoreError::NoSuch { .. } => Self::usage(error),
        }
    }
}

impl From<&storage::ImageError> for Failure {
    fn from(error: &storage::ImageError) -> Self {
        let storage::ImageError::Io { source, .. } = error;
        Self::io(source, error)
    }
}
