//! What these tests share: recorded programs, guests, runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use engine::execute::{Execution, execute, give, populate};
use engine::mkfs::mkfs;
use engine::run::{Finished, Options};
use engine::spec::{Budget, RunSpec};
use engine::subject::Subject;
use engine::visit::Guests;
use filesystems::Filesystem;
use program::Trace;
use protocol::Command;
use report::Event;
use storage::{BlockLog, DiskModel, Entry, Image, Layers, Queueing, WriteEntry, epochs};
use testkit::Need;
use vm::{Choice, Guest, GuestError, Limits, Machine, Paths, Uml};
use workload::Workload;

/// Whether this machine has User Mode Linux; says so if not.
pub fn uml() -> Option<Uml> {
    testkit::given(Need::Uml, Uml::find(&Paths::from_environment().cache))
}

pub fn filesystem(text: &str) -> Filesystem {
    text.parse().unwrap()
}

/// Records a shell script in a directory in which `setup` has run.
pub fn record_script(setup: &str, script: &str) -> Trace {
    record_program(setup, &["sh", "-c", script])
}

/// Records a program in a directory in which `setup` has run.
pub fn record_program(setup: &str, command: &[&str]) -> Trace {
    let directory = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("sh").args(["-c", setup]).current_dir(directory.path()).status().unwrap();
    assert!(status.success());
    let trace = record::record(&record::RecordSpec::new(command, directory.path())).unwrap();
    assert_eq!(trace.limits, []);
    assert_eq!(record::exit_status(&trace), Some(0));
    trace
}

/// The old file and its safe replacement: temporary file, fsync, rename, fsync of the directory.
pub fn durable_trace() -> Trace {
    record_script(
        "yes old | head -c 5000 > config",
        "yes new | head -c 6000 > config.tmp && sync config.tmp && mv config.tmp config && sync .",
    )
}

pub fn subject(trace: Trace) -> Subject {
    Subject::of("test".into(), Vec::new(), trace, engine::subject::Bounds { injections: 1, ..Default::default() })
        .unwrap()
}

/// One guest, booted when it is needed.
pub struct OneGuest {
    machine: Uml,
    read_plan: Arc<checker::ReadPlan>,
    guest: Option<Guest>,
    pub limits: Limits,
    /// Guests are not told the read plan: they observe along the empty one.
    pub untold: bool,
}

/// Size of the data disk of [`OneGuest`], 512-byte sectors.
pub const SECTORS: u64 = 1 << 20;

impl OneGuest {
    pub fn new(machine: Uml, read_plan: Arc<checker::ReadPlan>) -> Self {
        Self { machine, read_plan, guest: None, limits: Limits::default(), untold: false }
    }
}

impl Guests for OneGuest {
    async fn guest(&mut self) -> Result<&mut Guest, GuestError> {
        if self.guest.is_none() {
            let initramfs = self.machine.initramfs(&Paths::from_environment().cache, filesystems::ALL).unwrap();
            let mut guest = Guest::boot(&self.machine, &initramfs, SECTORS, self.limits).await?;
            if !self.untold {
                guest.call(&Command::ReadPlan(self.read_plan.clone())).await?;
            }
            self.guest = Some(guest);
        }
        Ok(self.guest.as_mut().unwrap())
    }

    fn lost(&mut self) {
        self.guest = None;
    }

    async fn witness(&mut self) -> Result<(), GuestError> {
        let initramfs = self.machine.initramfs(&Paths::from_environment().cache, &[]).unwrap();
        Guest::boot(&self.machine, &initramfs, SECTORS, self.limits).await.map(drop)
    }
}

/// Replays the given schedule of a subject on a fresh file system.
pub async fn execute_on(
    guests: &mut OneGuest,
    filesystem: &Filesystem,
    subject: &Subject,
    schedule: usize,
) -> Execution {
    let fresh = mkfs(filesystem, SECTORS * storage::SECTOR as u64).unwrap();
    let guest = guests.guest().await.unwrap();
    let base = populate(guest, filesystem, fresh, &subject.trace).await.unwrap();
    let plan = subject.schedules[schedule].plan(&subject.trace, &subject.history);
    give(guest, &subject.trace, &subject.live, false).await.unwrap();
    execute(guest, filesystem, &base, &plan, &subject.trace, &subject.live).await.unwrap().0
}

/// A fresh ext4.
pub fn healthy() -> Image {
    mkfs(&filesystem("ext4"), SECTORS * storage::SECTOR as u64).unwrap()
}

/// The crash states of one write, over a file system on which all is well.
pub async fn one_write(guests: &mut OneGuest, garbage: WriteEntry, model: DiskModel) -> Arc<Layers> {
    let guest = guests.guest().await.unwrap();
    let base = populate(guest, &filesystem("ext4"), healthy(), &durable_trace()).await.unwrap();
    let log = BlockLog { writes: vec![garbage], queueing: vec![Queueing::default()], entries: vec![Entry::Write(0)] };
    let epoch = epochs(&log, &model).remove(0);
    Arc::new(Layers::new(base, &log, &epoch, model))
}

/// The workspace's workloads.
pub fn workloads(names: &[&str]) -> Vec<Workload> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workloads");
    names.iter().map(|name| Workload::load(&root.join(name)).unwrap()).collect()
}

pub fn options(filesystems: &[&str]) -> Options {
    Options {
        spec: RunSpec {
            filesystems: filesystems.iter().map(|text| filesystem(text)).collect(),
            budget: Budget::default(),
            ..RunSpec::default()
        },
        vm: Choice::Uml,
        workers: 2,
        limits: Limits::default(),
        recordings: 1,
    }
}

/// Runs workloads into `directory`.
pub async fn run(workloads: &[Workload], options: &Options, directory: &Path) -> Finished {
    run_and_listen(workloads, options, directory).await.0
}

/// The same, and all that was told meanwhile.
pub async fn run_and_listen(workloads: &[Workload], options: &Options, directory: &Path) -> (Finished, Vec<Event>) {
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let place = |_: &str| -> PathBuf { directory.into() };
    let finished =
        engine::run::run(workloads, options, &Paths::from_environment(), &stop, sender, place).await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        told.push(event);
    }
    (finished, told)
}

/// The guests that this process has started: each leads a group.
pub fn own_guests() -> Vec<i32> {
    let own = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, std::fs::read_to_string(entry.path().join("stat")).ok()?))
    });
    // State, parent, group.
    let leads = |(pid, stat): (i32, String)| {
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        (fields[1] == own && fields[2] == pid.to_string() && fields[0] != "Z").then_some(pid)
    };
    stats.filter_map(leads).collect()
}
