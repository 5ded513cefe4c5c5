//! Guests that hang or panic are reported and replaced.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use checker::{CrashWindow, Kind, Mount, Observation};
use engine::execute::{execute, populate};
use engine::guests::{Boot, Slot};
use engine::mkfs::mkfs;
use engine::run::Options;
use engine::visit::{EquivalenceClass, Guests, enter, explore, observe_image};
use filesystems::{EXT4, FileSystem};
use protocol::{Command, Reply};
use report::Verdict;
use storage::{Backing, BlockLog, DiskModel, Entry, Image, Layers, Queueing, Refused, TearKind, WriteEntry, epochs};
use testkit::Need;
use vm::{Death, GuestError, Machine};

use crate::support::{OneGuest, SECTORS, durable_trace, filesystem, options, run, subject, uml};

/// A disk that, once asked, does not answer for longer than anyone waits.
struct Silent;

impl Backing for Silent {
    fn sectors(&self) -> u64 {
        SECTORS
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), Refused> {
        std::thread::sleep(Duration::from_secs(4));
        Ok(())
    }
    fn write(&mut self, _: u64, _: Vec<u8>, _: Queueing) {}
}

/// A file system whose root directory reads as garbage, and which panics at the first error.
struct Broken {
    image: Image,
}

impl Backing for Broken {
    fn sectors(&self) -> u64 {
        self.image.sectors()
    }
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        self.image.read(sector, buffer);
        // Superblock and group descriptors are whole; all inode tables and directories are not.
        if sector >= 16 {
            buffer.fill(0xa5);
        }
        Ok(())
    }
    fn write(&mut self, _: u64, _: Vec<u8>, _: Queueing) {}
}

async fn observe(guests: &mut OneGuest, disk: Box<dyn Backing>, options: &str) -> Result<Reply, GuestError> {
    let guest = guests.guest().await.unwrap();
    guest.insert(disk);
    guest.call(&Command::Observe { filesystem: filesystem(&format!("ext4:{options}")).recipe(), mark: false }).await
}

fn healthy() -> Image {
    mkfs(&filesystem("ext4"), SECTORS * storage::SECTOR as u64).unwrap()
}

#[tokio::test]
async fn a_guest_that_hangs_is_given_up_and_replaced() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml, Default::default());
    // Thirty times as long by the clock, whatever else the host does.
    guests.limits.command = Duration::from_millis(50);
    let outcome = observe(&mut guests, Box::new(Silent), "").await;
    assert!(matches!(&outcome, Err(GuestError::Died { death: Death::Host, .. })), "{outcome:?}");
    guests.lost();
    guests.limits.command = Duration::from_secs(20);
    let guest = guests.guest().await.unwrap();
    populate(guest, &filesystem("ext4"), healthy(), &durable_trace()).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_panics_leaves_its_console() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml, Default::default());
    let broken = Box::new(Broken { image: healthy() });
    let outcome = observe(&mut guests, broken, "errors=panic").await;
    let Err(GuestError::Died { death, reason, console }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((death, reason.as_str()), (Death::Kernel, "ended: its kernel panicked"), "{console}");
    assert!(console.contains("Kernel panic"), "{console}");
}

/// Root directory and inode tables are garbage if the one volatile write survived. ext4 sees that by their checksums,
/// and `errors=panic` makes the kernel panic.
#[tokio::test]
async fn a_state_that_panics_its_guests_is_a_finding_and_the_other_is_still_explored() {
    let Some(uml) = uml() else { return };
    let filesystem = filesystem("ext4:errors=panic");
    let subject = subject(durable_trace());
    let mut guests = OneGuest::new(uml, subject.read_plan.clone());
    let guest = guests.guest().await.unwrap();
    let base = populate(guest, &filesystem, healthy(), &subject.trace).await.unwrap();
    let garbage = WriteEntry { sector: 16, data: Arc::new(vec![0xa5; 4 << 20]), step: 0 };
    let queueing = vec![Queueing::default()];
    let log = BlockLog { writes: vec![garbage], queueing, entries: vec![Entry::Write(0)] };
    let model = DiskModel { tear: TearKind::None, ..DiskModel::default() };
    let epoch = epochs(&log, &model).remove(0);
    let layers = Arc::new(Layers::new(base, &log, &epoch, model));
    let mut found = Vec::new();
    let class = |class: EquivalenceClass| {
        let window = CrashWindow { begun_earliest: 0, ended_latest: 0 };
        let mut findings = subject.rules.judge(&class.observation, &window);
        findings.retain(|finding| finding.fails);
        found.push((class.fates.fewest_lost().lost, class.observation, findings));
    };
    assert!(explore(&mut guests, &filesystem, &layers, || true, class).await.unwrap());
    let [(survived, died, findings), (lost, whole, nothing)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((survived.as_slice(), lost.as_slice()), ([].as_slice(), [0].as_slice()));
    // The end of the console is kept, and above it why the kernel gave up.
    let Mount::Died { reason } = &died.mount else { panic!("{died:?}") };
    assert!(reason.contains("Kernel panic"), "{reason}");
    assert_eq!(findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [Kind::GuestDied]);
    let observed = reporters::sentences::observed(&findings[0].observed);
    assert!(observed.contains("panic"), "{observed}");
    assert_eq!((&whole.mount, nothing.as_slice()), (&Mount::Mounted, [].as_slice()));
}

/// Guests of which the first ones give no answer in time, whatever they are asked.
struct Slow {
    guests: OneGuest,
    late: usize,
}

impl Guests for Slow {
    async fn guest(&mut self) -> Result<&mut vm::Guest, GuestError> {
        self.guests.guest().await
    }
    fn lost(&mut self) {
        self.guests.lost();
        self.late = self.late.saturating_sub(1);
        if self.late == 0 {
            self.guests.limits.command = Duration::from_secs(20);
        }
    }
    async fn witness(&mut self) -> Result<(), GuestError> {
        self.guests.witness().await
    }
}

/// A guest that gives no answer in time is no state's doing: once it is replaced, and then nothing is known of the state.
#[tokio::test]
async fn a_state_is_not_blamed_for_guests_that_are_late() {
    let Some(uml) = uml() else { return };
    for (late, known) in [(0, true), (1, true), (2, false)] {
        let mut guests = Slow { guests: OneGuest::new(uml.clone(), Default::default()), late };
        if late > 0 {
            guests.guests.untold = true;
            guests.guests.limits.command = Duration::ZERO;
        }
        let found = observe_image(&mut guests, &filesystem("ext4"), healthy()).await;
        match &found {
            Ok(found) => assert!(known && found.mount == Mount::Mounted, "{late}: {found:?}"),
            Err(GuestError::Died { death: Death::Harness, .. }) => assert!(!known, "{late}: {found:?}"),
            Err(error) => panic!("{late}: {error}"),
        }
    }
}

/// The crash states of one write, over a file system on which all is well.
async fn one_write(guests: &mut OneGuest, garbage: WriteEntry, model: DiskModel) -> Arc<Layers> {
    let guest = guests.guest().await.unwrap();
    let base = populate(guest, &filesystem("ext4"), healthy(), &durable_trace()).await.unwrap();
    let log = BlockLog { writes: vec![garbage], queueing: vec![Queueing::default()], entries: vec![Entry::Write(0)] };
    let epoch = epochs(&log, &model).remove(0);
    Arc::new(Layers::new(base, &log, &epoch, model))
}

/// A disk of ours that panics where the guest reads is a defect of the harness, told with what the panic said.
#[tokio::test]
async fn a_disk_that_panics_is_a_defect_and_no_violation() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml, Default::default());
    // What is settled of a crash without any write says nothing of a write to the superblock, but is asked for it once that
    // is read.
    let superblock = WriteEntry { sector: 2, data: Arc::new(vec![0xa5; storage::SECTOR]), step: 0 };
    let first = one_write(&mut guests, superblock, DiskModel::default()).await;
    let nothing = BlockLog::default();
    let epoch = epochs(&nothing, &DiskModel::default()).remove(0);
    let without = Layers::new(healthy(), &nothing, &epoch, DiskModel::default()).fates();
    let layers = Arc::new(Layers::recovered(&first, &without, &nothing, &epoch));
    let begun = std::time::Instant::now();
    let found = enter(&mut guests, &filesystem("ext4"), &layers, &[], false).await;
    let Err(GuestError::Defect(what)) = &found else { panic!("{found:?}") };
    assert!(what.contains("the disk of a guest panicked: index out of bounds"), "{what}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it is told at once");
}

/// Guests of which the first ones meet with some harm just before they are told what to do.
struct Harmed {
    guests: OneGuest,
    left: usize,
    harm: fn(i32),
    /// Whether another that is started meanwhile comes up.
    others: bool,
}

impl Guests for Harmed {
    async fn guest(&mut self) -> Result<&mut vm::Guest, GuestError> {
        let guest = self.guests.guest().await?;
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            own_guests().into_iter().for_each(self.harm);
        }
        Ok(guest)
    }
    fn lost(&mut self) {
        self.guests.lost();
    }
    async fn witness(&mut self) -> Result<(), GuestError> {
        match self.others {
            true => self.guests.witness().await,
            false => Err(GuestError::Refused("is not there".into())),
        }
    }
}

fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

/// Stops a guest where it is, as if it waited for something that never comes; for as long as this process lives.
fn freeze(pid: i32) {
    let (sender, frozen) = std::sync::mpsc::channel();
    // Whoever traces lets go when it ends.
    std::thread::spawn(move || {
        let pid = nix::unistd::Pid::from_raw(pid);
        let done = nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty())
            .and_then(|()| nix::sys::ptrace::interrupt(pid))
            .and_then(|()| nix::sys::wait::waitpid(pid, None));
        sender.send(done).unwrap();
        loop {
            std::thread::park();
        }
    });
    frozen.recv().unwrap().expect("a guest that can be traced");
}

/// What the host does to a guest is not the state's doing, however often: it is tried again, and then said.
#[tokio::test]
async fn a_guest_that_is_killed_from_outside_is_no_violation() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml.clone(), Default::default());
    let other = WriteEntry { sector: 1, data: Arc::new(vec![0xa5; storage::SECTOR]), step: 0 };
    let layers = one_write(&mut guests, other, DiskModel::default()).await;
    drop(guests);
    for (left, known) in [(0, true), (1, true), (2, false)] {
        let guests =
            || Harmed { guests: OneGuest::new(uml.clone(), Default::default()), left, harm: kill, others: true };
        let seen = observe_image(&mut guests(), &filesystem("ext4"), healthy()).await;
        let entered = enter(&mut guests(), &filesystem("ext4"), &layers, &[], false).await;
        for found in [seen, entered.map(|class| class.observation)] {
            match found {
                Ok(found) => assert!(known && found.mount == Mount::Mounted, "{left}: {found:?}"),
                Err(error @ GuestError::Died { death: Death::Host, .. }) => {
                    assert!(!known && error.to_string().contains("SIGKILL"), "{left}: {error}");
                }
                Err(error) => panic!("{left}: {error}"),
            }
        }
    }
}

/// A state on which a guest hangs twice is blamed, but only if others answer meanwhile.
#[tokio::test]
async fn a_guest_that_hangs_twice_is_a_finding_if_others_answer() {
    let Some(uml) = uml() else { return };
    for (left, others, blamed) in [(1, true, Some(false)), (2, true, Some(true)), (2, false, None)] {
        let mut guests = OneGuest::new(uml.clone(), Default::default());
        // The empty read plan would take some of the little time.
        guests.untold = true;
        guests.limits.command = Duration::from_secs(2);
        let mut guests = Harmed { guests, left, harm: freeze, others };
        let found = observe_image(&mut guests, &filesystem("ext4"), healthy()).await;
        match (found, blamed) {
            (Ok(Observation { mount: Mount::Died { reason }, .. }), Some(true)) => {
                assert!(reason.starts_with("hangs: for 2 s"), "{reason}");
            }
            (Ok(Observation { mount: Mount::Mounted, .. }), Some(false)) => {}
            (Err(GuestError::Died { death: Death::Hang, .. }), None) => {}
            (found, _) => panic!("{left} {others}: {found:?}"),
        }
    }
}

/// Whatever becomes of its guests, a run blames no program for it: the verdict is the right one, or there is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_guests_are_killed_blames_nobody() {
    if uml().is_none() {
        return;
    }
    let old = tempfile::tempdir().unwrap();
    std::fs::write(old.path().join("config"), "old\n".repeat(1000)).unwrap();
    let script = "yes new | head -c 6000 > config.tmp && sync config.tmp && mv config.tmp config && sync .";
    let command = ["sh", "-c", script].map(String::from).to_vec();
    let save = workload::Workload::bare(command, Some(old.path())).unwrap();
    for kills in [2, usize::MAX] {
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let killer = std::thread::spawn({
            let over = over.clone();
            move || {
                let mut killed = std::collections::BTreeSet::new();
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    // Long enough to boot and to mount a few times, on most hosts.
                    std::thread::sleep(Duration::from_millis(1500));
                    for guest in own_guests() {
                        if killed.len() < kills && killed.insert(guest) {
                            kill(guest);
                        }
                    }
                }
                killed.len()
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let options = Options { workers: 1, ..options(&["ext4"]) };
        let finished = run(std::slice::from_ref(&save), &options, directory.path()).await;
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let killed = killer.join().unwrap();
        let [cell] = finished.report.cells.as_slice() else { panic!("{:?}", finished.report.cells) };
        // Each guest may have done its part before it is killed: then all was looked at, and nothing less is a pass.
        match cell.verdict() {
            Verdict::Pass => assert!(cell.exhaustive() && cell.failure.is_none(), "{killed} killed: {cell:?}"),
            verdict => assert_eq!((verdict, killed > 0), (Verdict::Invalid, true), "{killed} killed: {cell:?}"),
        }
        assert!(cell.violations.is_empty(), "{cell:?}");
    }
}

/// User Mode Linux, some of whose guests do not come up: of those with a mark here, from the first on.
struct Unsteady {
    uml: vm::Uml,
    fails: &'static [bool],
    started: Arc<std::sync::atomic::AtomicUsize>,
}

impl Machine for Unsteady {
    fn name(&self) -> &'static str {
        self.uml.name()
    }
    fn initramfs(&self, cache: &Path, filesystems: &[&FileSystem]) -> Result<PathBuf, vm::KernelError> {
        self.uml.initramfs(cache, filesystems)
    }
    fn command(&self, launch: &vm::Launch<'_>) -> std::process::Command {
        let index = self.started.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.fails.get(index).copied().unwrap_or(false) {
            return std::process::Command::new("false");
        }
        self.uml.command(launch)
    }
    fn takes_turns(&self) -> bool {
        self.uml.takes_turns()
    }
    fn patience(&self) -> u32 {
        self.uml.patience()
    }
}

/// A guest that a busy host lets wait for too long ends no run, be it the first; a machine on which none ever comes up does.
#[tokio::test]
async fn a_guest_that_does_not_boot_is_started_once_more() {
    let Some(uml) = uml() else { return };
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &[&EXT4]).unwrap();
    for (fails, booted) in [
        ([true, false].as_slice(), [true, true]),
        (&[true, true, false], [false, true]),
        (&[false, true, false], [true, true]),
        (&[false, true, true], [true, false]),
    ] {
        let machine = Box::new(Unsteady { uml: uml.clone(), fails, started: Arc::default() });
        let boot = Boot::new(machine, initramfs.clone(), SECTORS, vm::Limits::default(), None);
        let mut slot = Slot::new(&boot);
        let mut outcomes = Vec::new();
        for _ in 0..2 {
            outcomes.push(slot.guest().await.is_ok());
            slot.lost();
        }
        assert_eq!(outcomes, booted, "{fails:?}");
    }
}

/// The guests that this process has started: each leads a group.
fn own_guests() -> Vec<i32> {
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

/// Kills the guests that this process has started, with all that they have.
fn kill_guests() {
    for pid in own_guests() {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// A host that is short of memory may kill a guest while it waits for work: no state of a disk is to blame.
#[tokio::test]
async fn a_guest_that_has_gone_when_it_is_told_something_is_replaced() {
    let Some(uml) = uml() else { return };
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &[&EXT4]).unwrap();
    let boot = Boot::new(Box::new(uml), initramfs, SECTORS, vm::Limits::default(), None);
    let mut slot = Slot::new(&boot);
    slot.guest().await.unwrap();
    kill_guests();
    slot.set_read_plan(&Default::default());
    slot.guest().await.unwrap();
    kill_guests();
    slot.player(&Arc::new(subject(durable_trace()))).await.unwrap();
}

/// Processors are claimed by names of a network: in one of this thread's own, no guest of another test has any.
fn claim_all() -> Vec<UnixListener> {
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
    let numbers = (0..nix::sched::CpuSet::count()).filter(|&number| allowed.is_set(number) == Ok(true));
    let name = |number| SocketAddr::from_abstract_name(format!("crash-harness-processor-{number}")).unwrap();
    numbers.map(|number| UnixListener::bind_addr(&name(number)).unwrap()).collect()
}

/// A guest that shares its processor with others gives way to one that does not, which is told all that the first was
/// told. If that does not come up, the first one stays.
#[tokio::test]
async fn a_guest_moves_once_a_processor_is_free() {
    let Some(uml) = uml() else { return };
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        return testkit::skip(Need::Namespaces, &format!("a network of its own was refused: {error}"));
    }
    let filesystem = filesystem("ext4");
    let subject = Arc::new(subject(durable_trace()));
    let plan = subject.schedules[0].plan(&subject.trace, &subject.history);
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &[&EXT4]).unwrap();
    for (fails, then) in [([].as_slice(), 2), (&[false, true, true], 3)] {
        let others = claim_all();
        let started = Arc::default();
        let machine = Box::new(Unsteady { uml: uml.clone(), fails, started: Arc::clone(&started) });
        let boot = Boot::new(machine, initramfs.clone(), SECTORS, vm::Limits::default(), None);
        let mut slot = Slot::new(&boot);
        slot.set_read_plan(&subject.read_plan);
        let mut others = Some(others);
        for (expected, leave) in [(1, false), (1, true), (then, false), (then, false)] {
            let guest = slot.player(&subject).await.unwrap();
            assert_eq!(started.load(std::sync::atomic::Ordering::Relaxed), expected, "{fails:?}");
            let base = populate(guest, &filesystem, healthy(), &subject.trace).await.unwrap();
            execute(guest, &filesystem, &base, &plan, &subject.trace, &subject.live).await.unwrap();
            if leave {
                others = None;
            }
            // As often as a guest looks.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        drop(others);
    }
}
