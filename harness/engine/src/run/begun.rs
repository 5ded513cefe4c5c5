//! A run whose programs have been recorded: what is kept of it, and what its guests need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filesystems::{ChoiceError, FileSystem, Filesystem};
use report::CellReport;
use vm::{KernelError, Limits, Machine, Paths};

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
        let check = |subject: &Subject| subject.checker.as_ref().and_then(|checker| checker.kept());
        let keep = |subject: &Arc<Subject>| KeptWorkload::new(&subject.name, &subject.demands, check(subject));
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
        Ok(Initramfs::new(machine, &paths.cache, kinds)?)
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

impl Initramfs {
    /// With the drivers for as many of these file systems as the machine's kernel has.
    fn new(machine: &dyn Machine, cache: &Path, mut kinds: Vec<&'static FileSystem>) -> Result<Self, KernelError> {
        let mut lacking = BTreeMap::new();
        match machine.initramfs(cache, &kinds) {
            Err(error) if error.is_lack_of_module() && kinds.len() > 1 => {}
            made => return Ok(Self { file: made?, lacking }),
        }
        for &kind in &kinds {
            match machine.initramfs(cache, &[kind]) {
                Err(error) if error.is_lack_of_module() => drop(lacking.insert(kind.name, error.to_string())),
                made => drop(made?),
            }
        }
        kinds.retain(|kind| !lacking.contains_key(kind.name));
        Ok(Self { file: machine.initramfs(cache, &kinds)?, lacking })
    }
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

#[cfg(test)]
mod tests {
    use filesystems::{BTRFS, EXT4, XFS};
    use vm::{Launch, ModuleError};

    use super::*;

    /// A machine whose kernel has a driver for one file system.
    struct OneDriver(&'static str);

    impl Machine for OneDriver {
        fn name(&self) -> &'static str {
            "one-driver"
        }
        fn initramfs(&self, cache: &Path, filesystems: &[&FileSystem]) -> Result<PathBuf, KernelError> {
            match filesystems.iter().find(|kind| kind.name != self.0) {
                Some(kind) => Err(ModuleError::Missing { name: kind.name.into(), directory: "/modules".into() }.into()),
                None => Ok(cache.join(filesystems.len().to_string())),
            }
        }
        fn command(&self, _: &Launch<'_>) -> std::io::Result<std::process::Command> {
            unreachable!("nothing is booted")
        }
        fn patience(&self) -> u32 {
            1
        }
    }

    /// The cells of the others are not lost with it; and where there is none at all, the run is.
    #[test]
    fn a_kernel_without_a_driver_loses_the_cells_of_that_file_system() {
        let machine = OneDriver("xfs");
        let made = |kinds| Initramfs::new(&machine, Path::new("/cache"), kinds);
        let Initramfs { file, lacking } = made(vec![&BTRFS, &XFS, &EXT4]).unwrap();
        assert_eq!(file, Path::new("/cache/1"));
        assert_eq!(lacking.keys().copied().collect::<Vec<_>>(), ["btrfs", "ext4"]);
        assert!(lacking["btrfs"].contains("has no module btrfs"), "{lacking:?}");
        assert!(made(vec![&XFS]).unwrap().lacking.is_empty());
        assert!(made(vec![&EXT4]).is_err_and(|error| error.is_lack_of_module()));
    }
}
