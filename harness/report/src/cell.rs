//! What a run came to, as `report.json` holds it.

use std::collections::BTreeSet;
use std::fmt;

use checker::Unjudged;
use num_bigint::BigUint;
use program::{Limit, OpId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verdict::is_exhaustive;
use crate::{
    Asked, Durable, Explored, Note, Ops, ProcessReport, Verdict, ViolationReport, WorkloadOps, decimal, verdict,
};

/// The version of `report.json` that this crate writes. It reads that of version 1, too (`v1.rs`).
pub const SCHEMA: u32 = 2;

/// One run: `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The workload, if the run was about one only. Each cell names its own in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Which crash states the cells are about; missing in reports of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explored: Option<Explored>,
    /// What was asked for of each workload; missing in reports of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
    /// Every workload on every file system.
    pub cells: Vec<CellReport>,
    /// Every workload killed while the kernel lives on, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub process_crashes: Vec<ProcessReport>,
    /// The ops that all this refers to, by workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<WorkloadOps>,
}

impl Report {
    /// The report of these cells.
    pub fn new(cells: Vec<CellReport>) -> Self {
        Self::with_process_crashes(cells, Vec::new())
    }

    /// The report of these cells and process crashes.
    pub fn with_process_crashes(cells: Vec<CellReport>, process_crashes: Vec<ProcessReport>) -> Self {
        let asked = Vec::new();
        let ops = Vec::new();
        let mut report = Self { schema: SCHEMA, workload: None, explored: None, asked, cells, process_crashes, ops };
        if let [one] = report.workloads().as_slice() {
            report.workload = Some(one.clone());
        }
        report
    }

    /// The same with the ops that it refers to, as `of` shows those of a workload.
    pub fn with_ops(self, of: impl Fn(&str, BTreeSet<OpId>) -> Ops) -> Self {
        let named = |workload: String| {
            let cells = self.cells.iter().filter(|cell| cell.id.workload == workload).flat_map(CellReport::ops);
            let killed = self.process_crashes.iter().filter(|killed| killed.workload == workload);
            let ops = of(&workload, cells.chain(killed.flat_map(ProcessReport::ops)).collect());
            WorkloadOps { workload, ops }
        };
        let ops = self.workloads().into_iter().map(named).filter(|named| !named.ops.is_empty()).collect();
        Self { ops, ..self }
    }

    /// The ops of a workload that the report refers to.
    pub fn ops_of(&self, workload: &str) -> &Ops {
        static NONE: Ops = Ops::none();
        self.ops.iter().find(|named| named.workload == workload).map_or(&NONE, |named| &named.ops)
    }

    /// The names of the workloads, in the order of first appearance.
    pub fn workloads(&self) -> Vec<String> {
        let cells = self.cells.iter().map(|cell| &cell.id.workload);
        let mut names: Vec<String> = Vec::new();
        for name in cells.chain(self.process_crashes.iter().map(|killed| &killed.workload)) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// Which cell: stable over runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CellId {
    /// The workload's name, or the bare command.
    pub workload: String,
    /// `ext4`, `xfs`, `btrfs` …
    pub fs: String,
    /// Mount options as mount(8) takes them; empty for the defaults.
    pub mount_options: String,
    /// Arguments for its mkfs beside the usual ones, separated by blanks; empty and left out if there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mkfs_options: String,
}

impl CellId {
    /// File system and options as `--fs` takes them: `ext4:noauto_da_alloc`.
    pub fn file_system(&self) -> String {
        filesystems::shown(&self.fs, &self.mount_options, &self.mkfs_options)
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.workload, self.file_system())
    }
}

/// The schedules of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Schedules {
    /// How many were explored to their end.
    pub explored: u64,
    /// How many of those that were executed show crash states which no schedule before them had shown; only these are
    /// explored and counted.
    pub new: u64,
    /// How many there are for the bound that was asked.
    pub total: u64,
}

/// Crash states over all schedules: exact counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CrashStates {
    /// How many the disk model allows, as far as known: those of schedules that were not begun are not in it.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub allowed: BigUint,
    /// How many of them some mount decided.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub covered: BigUint,
    /// How many mounts that took.
    pub mounts: u64,
}

/// How far a cell got that is not covered whole. States are looked at by how many writes lost something, as a whole or
/// in part: fewer first, in all schedules that were executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reach {
    /// How many schedules were executed. States of others are not known, and not counted.
    pub executed: u64,
    /// Exact counts: of the states in which no write lost anything, those in which one did, and so on. What more writes
    /// lose is not told apart.
    pub by_losses: Vec<Losses>,
}

/// The states in which so many writes lost something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Losses {
    /// How many writes lost something, as a whole or in part.
    pub writes: u32,
    /// How many such states there are.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub allowed: BigUint,
    /// How many of them some mount decided.
    #[serde(with = "decimal")]
    #[schemars(with = "String")]
    pub covered: BigUint,
}

/// One workload on one file system with one set of mount options on one kernel.
///
/// The verdict is no field: it follows from the others ([`verdict`](crate::verdict())), so none can be claimed. `report.json` holds it, with
/// `exhaustive`, and a file in which they do not follow is damaged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct CellReport {
    /// Which cell.
    pub id: CellId,
    /// The machine that ran the guest: `uml`, `qemu-kvm`, `qemu-emulated`.
    pub vm: String,
    /// The guest's kernel release.
    pub kernel: String,
    /// See [`Schedules`].
    pub schedules: Schedules,
    /// See [`CrashStates`].
    pub crash_states: CrashStates,
    /// What is whole of it, if not all is; missing in reports of older versions.
    pub reach: Option<Reach>,
    /// See [`crate::durable_after_exit`].
    pub durable_after_exit: Durable,
    /// What breaks an invariant that was asked for, each kind of it once.
    pub violations: Vec<ViolationReport>,
    /// What was not durable after the exit, though nobody asked: information, which fails nothing.
    pub not_durable: Vec<ViolationReport>,
    /// States that the file system does not mount only because a write of it was torn, though it mounts with the
    /// write whole and without it: no program can prevent that. Told, but no fault of the workload.
    pub weaknesses: Vec<ViolationReport>,
    /// What an invariant that was asked for only warns of (`no-leftovers`): fails nothing.
    pub warnings: Vec<ViolationReport>,
    /// The files that were changed and that no rule is held against: with any of these there is no pass.
    pub unjudged: Vec<Unjudged>,
    /// What the recorder could not follow: with any of these there is no pass.
    pub unmodelled_calls: Vec<Limit>,
    /// Why the harness could not judge or finish the cell by its own fault, if so.
    pub failure: Option<String>,
    /// Anything else that a reader should know.
    pub notes: Vec<Note>,
}

impl CellReport {
    /// What the cell came to.
    pub fn verdict(&self) -> Verdict {
        let judged = self.unmodelled_calls.is_empty() && self.failure.is_none();
        verdict(self.violations.len(), self.unjudged.len(), judged, &self.schedules, &self.crash_states)
    }

    /// The ops that it refers to.
    pub fn ops(&self) -> BTreeSet<OpId> {
        let told = [&self.violations, &self.not_durable, &self.weaknesses, &self.warnings].into_iter().flatten();
        told.flat_map(ViolationReport::ops).chain(self.notes.iter().filter_map(Note::op)).collect()
    }

    /// Whether no state was so much as counted.
    pub fn untouched(&self) -> bool {
        self.crash_states == CrashStates::default()
    }

    /// Whether every allowed state of every schedule was covered.
    pub fn exhaustive(&self) -> bool {
        is_exhaustive(&self.schedules, &self.crash_states)
    }
}

/// A cell as it stands in the file.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Stored {
    #[serde(flatten)]
    id: CellId,
    vm: String,
    kernel: String,
    verdict: Verdict,
    exhaustive: bool,
    schedules: Schedules,
    crash_states: CrashStates,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reach: Option<Reach>,
    durable_after_exit: Durable,
    violations: Vec<ViolationReport>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    not_durable: Vec<ViolationReport>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    weaknesses: Vec<ViolationReport>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<ViolationReport>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unjudged: Vec<Unjudged>,
    #[serde(default)]
    #[schemars(with = "Vec<crate::schema::UnmodelledCall>")]
    unmodelled_calls: Vec<Limit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(default)]
    notes: Vec<Note>,
}

impl From<CellReport> for Stored {
    fn from(cell: CellReport) -> Self {
        Self {
            verdict: cell.verdict(),
            exhaustive: cell.exhaustive(),
            id: cell.id,
            vm: cell.vm,
            kernel: cell.kernel,
            schedules: cell.schedules,
            crash_states: cell.crash_states,
            reach: cell.reach,
            durable_after_exit: cell.durable_after_exit,
            violations: cell.violations,
            not_durable: cell.not_durable,
            weaknesses: cell.weaknesses,
            warnings: cell.warnings,
            unjudged: cell.unjudged,
            unmodelled_calls: cell.unmodelled_calls,
            failure: cell.failure,
            notes: cell.notes,
        }
    }
}

impl TryFrom<Stored> for CellReport {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let cell = Self {
            id: stored.id,
            vm: stored.vm,
            kernel: stored.kernel,
            schedules: stored.schedules,
            crash_states: stored.crash_states,
            reach: stored.reach,
            durable_after_exit: stored.durable_after_exit,
            violations: stored.violations,
            not_durable: stored.not_durable,
            weaknesses: stored.weaknesses,
            warnings: stored.warnings,
            unjudged: stored.unjudged,
            unmodelled_calls: stored.unmodelled_calls,
            failure: stored.failure,
            notes: stored.notes,
        };
        if (cell.verdict(), cell.exhaustive()) != (stored.verdict, stored.exhaustive) {
            return Err(format!(
                "the cell {} claims verdict {} and exhaustive {}, but what it holds makes {} and {}",
                cell.id,
                stored.verdict,
                stored.exhaustive,
                cell.verdict(),
                cell.exhaustive()
            ));
        }
        Ok(cell)
    }
}
