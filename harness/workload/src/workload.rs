//! The workload itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use checker::Wanted;

use crate::{IgnorePattern, Server};

/// How long `setup` and `command` may each take if the workload does not say.
pub const DEFAULT_TIME_LIMIT: Duration = Duration::from_secs(60);

/// What is run and tested: see the crate's documentation for the meaning of each part.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The name of its directory, or of a bare command's program.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Its directory, absolute; `None` for a bare command.
    pub directory: Option<PathBuf>,
    /// How to build it, as written.
    pub build: Option<Vec<String>>,
    /// What makes the old state, as written.
    pub setup: Option<Vec<String>>,
    /// What makes the new state, as written; never empty.
    pub command: Vec<String>,
    /// The directory whose content is the durable start state, absolute.
    pub from: Option<PathBuf>,
    /// Names that matter to nobody.
    pub ignore: Vec<IgnorePattern>,
    /// What must hold; if empty, the harness chooses.
    pub invariants: Vec<Wanted>,
    /// A checker of the workload's own, as written.
    pub check: Option<Vec<String>>,
    /// What repairs a recovered tree before a check or a view looks at it, as a server does when it starts; as written.
    pub recover: Option<Vec<String>>,
    /// How long `setup` and `command` may each take.
    pub time_limit: Duration,
    /// Environment variables of all steps but `build`, as written.
    pub env: BTreeMap<String, String>,
    /// Where the directory in which `setup`, `command` and `check` run appears to them, too; absolute.
    pub at: Vec<PathBuf>,
    /// What is started before the command, and stopped after it.
    pub server: Option<Server>,
    /// What is printed before any crash is explored, for the first time; [`READY`](crate::READY) by the harness itself.
    pub explore_from: Option<String>,
}
