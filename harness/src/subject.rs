//! One workload, built, prepared and recorded: what every cell of it needs to know.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use checker::{Guide, RuleError, Rules, Wanted};
use record::{RecordError, RecordSpec};
use trace::{History, Limit, Trace};
use workload::Workload;

use crate::label::Labels;
use crate::replay::live_guide;
use crate::schedule::{Schedule, data_of, schedules};

/// Why a workload cannot be tested.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Building or preparing it.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// Recording it.
    #[error("failed to record {name}: {source}")]
    Record {
        /// The workload.
        name: String,
        /// Why.
        source: RecordError,
    },
    /// Its command failed.
    #[error("the command of {name} ended with status {status}: {said}")]
    Command {
        /// The workload.
        name: String,
        /// As a shell would show it.
        status: i32,
        /// The end of what it printed.
        said: String,
    },
    /// Its invariants do not fit what it does.
    #[error("{name}: {source}")]
    Rules {
        /// The workload.
        name: String,
        /// Why.
        source: RuleError,
    },
    /// No fresh directory.
    #[error("failed to make a fresh directory to run {name} in: {source}")]
    Directory {
        /// The workload.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// An invariant of a later version.
    #[error(
        "{name} has a `check` command, which this version of the harness cannot run yet: take it out, or name invariants"
    )]
    Check {
        /// The workload.
        name: String,
    },
}

/// A recorded workload.
pub struct Subject {
    /// Its name.
    pub name: String,
    /// What the author wants to hold.
    pub wanted: Vec<Wanted>,
    /// What it did.
    pub trace: Trace,
    /// What its files went through.
    pub history: History,
    /// What must hold.
    pub rules: Rules,
    /// How far the guest reads.
    pub guide: Arc<Guide>,
    /// How the guest looks at the live tree.
    pub live: Arc<Guide>,
    /// What to replay.
    pub schedules: Vec<Schedule>,
    /// What block writes hold.
    pub labels: Labels,
}

impl Subject {
    /// Builds, prepares and records a workload in a fresh directory.
    pub fn record(workload: &Workload, bound: u32, stop: &Arc<AtomicBool>) -> Result<Self, SubjectError> {
        let name = workload.name.clone();
        if workload.check.is_some() {
            return Err(SubjectError::Check { name });
        }
        workload.build(stop)?;
        let fresh = tempfile::Builder::new().prefix("crash-harness-run-").tempdir();
        let fresh = fresh.map_err(|source| SubjectError::Directory { name: name.clone(), source })?;
        workload.prepare(fresh.path(), stop)?;
        let trace = record_in(workload, fresh.path(), stop)?;
        Self::of(name, workload.invariants.clone(), trace, bound)
    }

    /// A subject from a trace that is there.
    pub fn of(name: String, wanted: Vec<Wanted>, trace: Trace, bound: u32) -> Result<Self, SubjectError> {
        let history = History::new(&trace);
        let rules = Rules::new(&trace, &history, &wanted)
            .map_err(|source| SubjectError::Rules { name: name.clone(), source })?;
        Ok(Self {
            name,
            wanted,
            guide: Arc::new(rules.guide().clone()),
            live: Arc::new(live_guide(&trace.after)),
            schedules: schedules(&trace, &history, bound),
            labels: Labels::new(&history),
            trace,
            history,
            rules,
        })
    }

    /// Bytes of the disk that it needs.
    pub fn disk_size(&self) -> u64 {
        crate::mkfs::disk_size(data_of(&self.trace))
    }

    /// What the recorder could not follow.
    pub fn limits(&self) -> &[Limit] {
        &self.trace.limits
    }
}

fn record_in(workload: &Workload, directory: &std::path::Path, stop: &Arc<AtomicBool>) -> Result<Trace, SubjectError> {
    let name = workload.name.clone();
    let invocation = workload.command_in(directory)?;
    let mut spec = RecordSpec::new(&invocation.argv, &invocation.directory);
    spec.command[0] = invocation.program.clone().into();
    spec.env = invocation.env.iter().map(|(name, value)| (name.into(), value.clone())).collect();
    spec.time_limit = workload.time_limit;
    spec.cancel = Some(stop.clone());
    let trace = record::record(&spec).map_err(|source| SubjectError::Record { name: name.clone(), source })?;
    match record::exit_status(&trace) {
        Some(0) | None => Ok(trace),
        Some(status) => {
            let mut said = said(&trace);
            if let Some(hint) = invocation.hint(workload.directory.as_deref()) {
                said = format!("{said}\n{hint}");
            }
            Err(SubjectError::Command { name, status, said })
        }
    }
}

/// The end of what the program printed.
fn said(trace: &Trace) -> String {
    let mut bytes = Vec::new();
    for op in &trace.ops {
        if let trace::Call::Ack { data, channel: trace::Channel::Stdout | trace::Channel::Stderr } = &op.call {
            bytes.extend_from_slice(data);
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(10)..].join("\n");
    if end.is_empty() { "it printed nothing".into() } else { format!("it printed\n{end}") }
}
