//! A run whose programs have been recorded: what is kept of it, and what its guests need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checks::Checker;
use filesystems::{ChoiceError, FileSystem, Filesystem};
use report::CellReport;
use vm::{Limits, Machine, Paths};

use super::RunError;
use crate::cell::Cell;
use crate::guests;
use crate::mkfs;
use crate::spec::RunSpec;
use crate::store::{Kept, KeptCell, KeptWorkload, Lock, Store, StoreError, VERSION};
use crate::subject::Subject;
use crate::worker::WorkError;

/// A run whose programs have been recorded.
pub(crate) struct Begun {
    pub id: String,
    pub subjects: Vec<Arc<Subject>>,
    pub kept: Kept,
    pub store: Store,
    /// Keeps other runs out of the directory as long as this one is at work.
    pub(super) lock: Lock,
    /// The reports of the cells that are done, by their indices.
    pub done: BTreeMap<usize, CellReport>,
}

impl Begun {
    /// Begins a run of this name: keeps its programs, and what else is needed to go on with it: what it explores, the
    /// machine, and the tools that its findings depend on.
    pub fn new(
        directory: &Path,
        id: String,
        subjects: Vec<Arc<Subject>>,
        (spec, machine, tools): (&RunSpec, &str, BTreeMap<String, String>),
    ) -> Result<Self, StoreError> {
        let (store, lock) = Store::create(directory)?;
        let mut cells = Vec::new();
        for (workload, subject) in subjects.iter().enumerate() {
            store.keep_trace(workload, &subject.trace)?;
            for Filesystem { kind, options, mkfs } in &spec.filesystems {
                let (mount_options, mkfs_options) = (options.clone(), mkfs.clone());
                cells.push(KeptCell { workload, fs: kind.name.into(), mount_options, mkfs_options });
            }
        }
        let check = |subject: &Subject| subject.checker.as_ref().map(Checker::kept);
        let keep = |subject: &Arc<Subject>| KeptWorkload::new(&subject.name, &subject.wanted, check(subject));
        let kept = Kept {
            version: VERSION,
            machine: machine.into(),
            spec: spec.clone(),
            cells,
            workloads: subjects.iter().map(keep).collect(),
            tools,
        };
        store.keep(&id, &kept)?;
        Ok(Self { id, subjects, kept, store, lock, done: BTreeMap::new() })
    }

    /// The initramfs for its guests.
    ///
    /// # Errors
    /// It cannot be made, or their kernel has none of the file systems.
    pub(super) fn initramfs(&self, machine: &dyn Machine, paths: &Paths) -> Result<Initramfs, RunError> {
        let all = filesystems_of(&self.kept, &self.store)?;
        let mut kinds: Vec<&'static FileSystem> = all.iter().map(|filesystem| filesystem.kind).collect();
        kinds.sort_by_key(|kind| kind.name);
        kinds.dedup();
        let made = |kinds: &[&FileSystem]| machine.initramfs(&paths.cache, kinds);
        let mut lacking = BTreeMap::new();
        match made(&kinds) {
            Err(error) if error.is_lack_of_module() && kinds.len() > 1 => {}
            made => return Ok(Initramfs { file: made?, lacking }),
        }
        for &kind in &kinds {
            match made(&[kind]) {
                Err(error) if error.is_lack_of_module() => {
                    lacking.insert(kind.name, error.to_string());
                }
                other => drop(other?),
            }
        }
        kinds.retain(|kind| !lacking.contains_key(kind.name));
        Ok(Initramfs { file: made(&kinds)?, lacking })
    }

    /// The size of their data disk, 512-byte sectors.
    pub(super) fn sectors(&self) -> u64 {
        self.subjects.iter().map(|subject| subject.disk_size()).max().unwrap_or_default() / storage::SECTOR as u64
    }

    /// Boots a guest, and refuses if what the run has found was found on another kernel.
    pub(super) async fn has_its_kernel(
        &self,
        machine: &dyn Machine,
        limits: Limits,
        paths: &Paths,
    ) -> Result<(), RunError> {
        let directory = || self.store.directory().to_path_buf();
        let Some(was) = self.store.kernel()? else {
            let unknown = self.store.has_begun();
            return if unknown { Err(RunError::UnknownKernel { directory: directory() }) } else { Ok(()) };
        };
        let initramfs = self.initramfs(machine, paths)?.file;
        let guest = guests::boot(machine, &initramfs, self.sectors(), limits).await;
        let is = guest.map_err(WorkError::Guest)?.kernel().to_owned();
        if is == was { Ok(()) } else { Err(RunError::OtherKernel { directory: directory(), was, is }) }
    }
}

/// What the guests of a run boot from.
pub(super) struct Initramfs {
    pub(super) file: PathBuf,
    /// Why there is no driver in it for some file systems, by their names.
    pub(super) lacking: BTreeMap<&'static str, String>,
}

/// The cells of a run.
pub(super) fn cells(kept: &Kept, subjects: &[Arc<Subject>], store: &Store) -> Result<Vec<Arc<Cell>>, StoreError> {
    let filesystems = filesystems_of(kept, store)?;
    let cell = |(index, (cell, filesystem)): (usize, (&KeptCell, Filesystem))| {
        let subject = subjects.get(cell.workload)?.clone();
        Some(Arc::new(Cell::new(index, subject, filesystem, &kept.spec).among(kept.cells.len())))
    };
    let cells: Option<Vec<Arc<Cell>>> = kept.cells.iter().zip(filesystems).enumerate().map(cell).collect();
    cells.ok_or_else(|| store.damaged_manifest("a cell names a workload that is not there"))
}

/// What findings depend on beside the guest: this harness, and what makes file systems.
pub(super) fn tools(filesystems: &[Filesystem]) -> BTreeMap<String, String> {
    let tools: BTreeSet<&str> = filesystems.iter().map(|filesystem| filesystem.kind.mkfs.tool).collect();
    let mkfs = tools.into_iter().map(|tool| (tool.to_owned(), mkfs::version(tool)));
    std::iter::once(("build of the harness".to_owned(), env!("HARNESS_BUILD").to_owned())).chain(mkfs).collect()
}

/// The file systems of a run, one for each cell.
pub(super) fn filesystems_of(kept: &Kept, store: &Store) -> Result<Vec<Filesystem>, StoreError> {
    let all: Result<_, ChoiceError> = kept.cells.iter().map(KeptCell::filesystem).collect();
    all.map_err(|unknown| store.damaged_manifest(unknown))
}
