//! The manifest of a run: what has to be known, beside its traces, to go on with it and to read its tokens.

use std::collections::BTreeMap;

use checker::Wanted;
use checks::KeptCheck;
use filesystems::{ChoiceError, Filesystem};
use program::Trace;
use serde::{Deserialize, Serialize};
use workload::IgnorePattern;

use super::names::{LARGEST_MANIFEST, MANIFEST, OLD_MANIFEST};
use super::translate::translate;
use super::{Store, StoreError};
use crate::spec::RunSpec;
use crate::subject::{Bounds, Demands, Judges, Subject, SubjectError};
use crate::sum::{is_sealed, seal};

/// What is kept of a run beside its report, for `--resume` and for tokens: `run.json`, once `replay.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// [`VERSION`].
    pub version: u32,
    /// The name of the machine that guests ran on: `uml`, `qemu-kvm` …
    pub machine: String,
    /// What the run explores.
    #[serde(flatten)]
    pub spec: RunSpec,
    /// For each cell of the report: which trace, which file system.
    pub cells: Vec<KeptCell>,
    /// The workloads, in the order of their traces.
    pub workloads: Vec<KeptWorkload>,
    /// The versions of the tools that findings depend on (each mkfs, this build of the harness), by their names.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
}

/// Raised with every change of what is kept that would be misread, by this version or by those before it.
pub const VERSION: u32 = 7;

/// The version before: what differs is translated when it is read.
pub(super) const BEFORE: u32 = 6;

/// A workload on a file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptCell {
    /// Index into the manifest's workloads.
    pub workload: usize,
    /// The name of the file system, as mount(2) takes it.
    pub fs: String,
    /// The mount options, as mount(8) takes them.
    pub mount_options: String,
    /// Arguments for its mkfs, beside the usual ones.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mkfs_options: String,
}

impl KeptCell {
    /// The file system and how it is mounted.
    ///
    /// # Errors
    /// This harness knows none of that name, or the arguments for mkfs name a file.
    pub fn filesystem(&self) -> Result<Filesystem, ChoiceError> {
        Filesystem::named(&self.fs, self.mount_options.as_str(), &self.mkfs_options)
    }
}

/// A workload: its name, its invariants and its own check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptWorkload {
    /// The workload's name, or the bare command.
    pub name: String,
    /// The invariants that were asked for, as in `workload.toml`.
    pub invariants: String,
    /// Patterns of the names that matter to nobody: of the workload, and of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<IgnorePattern>,
    /// The workload's own check, what views run, and what runs before them, if there is any such command. The views
    /// themselves are invariants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<KeptCheck>,
}

#[derive(Serialize, Deserialize)]
struct Invariants {
    #[serde(default)]
    invariant: Vec<Wanted>,
}

impl KeptWorkload {
    /// Keeps a workload's invariants and its check.
    pub fn new(name: &str, Demands { wanted, ignore, .. }: &Demands, check: Option<KeptCheck>) -> Self {
        let invariants = toml::to_string(&Invariants { invariant: wanted.clone() }).unwrap_or_default();
        Self { name: name.into(), invariants, ignore: ignore.clone(), check }
    }

    /// The workload as it was when it was recorded, from its `trace`; its own check is what `judges` says. The outer error
    /// says that what is kept is damaged.
    pub fn subject(
        &self,
        trace: Trace,
        bounds: Bounds,
        judges: Judges,
    ) -> Result<Result<Subject, SubjectError>, String> {
        Ok(Subject::new(self.name.clone(), self.demands()?, trace, bounds, judges))
    }

    /// The commands that judge, those of views among them, if there are any.
    ///
    /// # Errors
    /// The invariants are damaged.
    pub fn commands(&self) -> Result<Option<KeptCheck>, String> {
        Ok(KeptCheck::with_views(self.check.as_ref(), &self.demands()?.wanted))
    }

    /// What is asked of the workload.
    ///
    /// # Errors
    /// The invariants are damaged.
    pub fn demands(&self) -> Result<Demands, String> {
        // They stood in a `workload.toml`.
        if self.invariants.len() as u64 > workload::LARGEST_MANIFEST {
            return Err(format!("the invariants of {} are longer than any workload.toml", self.name));
        }
        let kept = toml::from_str::<Invariants>(&self.invariants).map_err(|error| error.to_string())?;
        let has_check = self.check.as_ref().is_some_and(KeptCheck::has_check);
        Ok(Demands { wanted: kept.invariant, has_check, ignore: self.ignore.clone() })
    }
}

impl Store {
    /// Keeps the run's hash and its manifest.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn keep(&self, id: &str, kept: &Kept) -> Result<(), StoreError> {
        self.write("run-id", format!("{id}\n").as_bytes())?;
        let damaged = |error| self.damaged(MANIFEST, error);
        let mut value = serde_json::to_value(kept).map_err(damaged)?;
        seal(&mut value);
        let text = serde_json::to_string_pretty(&value).map_err(damaged)?;
        // A run that is killed can be gone on with once this file is there: never half of it.
        self.write(MANIFEST, text.as_bytes())
    }

    /// Reads what was kept.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or has a version that this harness does not read.
    pub fn kept(&self) -> Result<Kept, StoreError> {
        let damaged = |error| self.damaged_manifest(error);
        let bytes = self.read(self.manifest_name(), LARGEST_MANIFEST)?;
        files::check_json(&bytes).map_err(|problem| self.damaged_manifest(problem))?;
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
        let version = value["version"].clone();
        if version != VERSION && version != BEFORE {
            let problem = format!("it has version {version}, this harness reads {BEFORE} and {VERSION}");
            return Err(self.damaged_manifest(problem));
        }
        if !is_sealed(&value) {
            return Err(self.damaged_manifest("it does not hold what its checksum was made of"));
        }
        if version == BEFORE {
            translate(&mut value);
        }
        let kept: Kept = serde_json::from_value(value).map_err(damaged)?;
        for cell in &kept.cells {
            cell.filesystem().map_err(|error| self.damaged_manifest(error))?;
        }
        Ok(kept)
    }

    /// Why what the manifest holds cannot be used.
    pub fn damaged_manifest(&self, problem: impl ToString) -> StoreError {
        self.damaged(self.manifest_name(), problem)
    }

    /// The name of the manifest, which older builds called another.
    fn manifest_name(&self) -> &'static str {
        if self.directory.has(OLD_MANIFEST) && !self.directory.has(MANIFEST) { OLD_MANIFEST } else { MANIFEST }
    }
}
