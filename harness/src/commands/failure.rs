//! A command that came to nothing: what is said, and what is exited with.

use report::ExitStatus;

use crate::run::RunError;
use crate::store::StoreError;
use crate::subject::SubjectError;
use crate::worker::WorkError;
use vm::GuestError;

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
        Self::new(ExitStatus::Machine, format!("{}\n`harness doctor` says what this machine has", message.to_string()))
    }

    /// Says it, on stderr.
    pub fn tell(&self) -> ExitStatus {
        eprintln!("error: {}", self.message);
        self.status
    }
}

impl From<workload::Error> for Failure {
    fn from(error: workload::Error) -> Self {
        match error.kind() {
            workload::ErrorKind::Input => Self::usage(error),
            workload::ErrorKind::Machine => Self::machine(error),
            _ => Self::new(ExitStatus::Command, error),
        }
    }
}

impl From<SubjectError> for Failure {
    fn from(error: SubjectError) -> Self {
        match error {
            SubjectError::Workload(error) => error.into(),
            SubjectError::Record { source: record::RecordError::TimeOut { .. }, .. } | SubjectError::Command { .. } => {
                Self::new(ExitStatus::Command, error)
            }
            SubjectError::Record {
                source: record::RecordError::NotFound(_) | record::RecordError::NoCommand | record::RecordError::Nul(_),
                ..
            }
            | SubjectError::Rules { .. }
            | SubjectError::Check { .. } => Self::usage(error),
            SubjectError::Record { .. } | SubjectError::Directory { .. } => Self::machine(error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Subject(error) => error.into(),
            RunError::Work(error @ WorkError::Start { .. }) => Self::usage(error),
            RunError::Kernel(error) => Self::machine(error),
            RunError::Work(WorkError::Guest(error)) => error.into(),
            RunError::Work(error) => Self::machine(error),
            RunError::Store(error) => error.into(),
            RunError::Report(error) => Self::machine(error),
            RunError::Interrupted => Self::new(ExitStatus::Command, "interrupted"),
        }
    }
}

impl From<GuestError> for Failure {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::Setup { .. } | GuestError::Boot { .. } => Self::machine(error),
            GuestError::Died { .. } | GuestError::Refused(_) => Self::new(ExitStatus::Defect, error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Io { .. } | StoreError::Image(_) => Self::machine(error),
            StoreError::Damaged { .. } | StoreError::NoRun { .. } | StoreError::NoSuch { .. } => Self::usage(error),
        }
    }
}
