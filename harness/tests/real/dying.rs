//! Guests that hang or panic are reported and replaced.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use checker::{Kind, Moment, Mount};
use disk::{Backing, BlockLog, DiskModel, Entry, Image, Layers, Queueing, Refused, TearKind, WriteEntry, epochs};
use harness::explore::{Class, Guests, explore, observe_image};
use harness::guests::{Boot, Slot};
use harness::mkfs::mkfs;
use harness::replay::{populate, replay};
use protocol::{Command, Reply};
use vm::{GuestError, Machine};

use crate::support::{OneGuest, SECTORS, durable_trace, filesystem, subject, uml};

/// A disk that, once asked, does not answer for longer than anyone waits.
struct Silent;

impl Backing for Silent {
    fn sectors(&self) -> u64 {
        SECTORS
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), Refused> {
        std::thread::sleep(Duration::from_secs(2));
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
    guest.call(&Command::Observe { filesystem: filesystem(&format!("ext4:{options}")), mark: false }).await
}

fn healthy() -> Image {
    mkfs(&filesystem("ext4"), SECTORS * disk::SECTOR as u64).unwrap()
}

#[tokio::test]
async fn a_guest_that_hangs_is_given_up_and_replaced() {
    let Some(uml) = uml() else { return };
    let mut guests = OneGuest::new(uml, Default::default());
    guests.limits.command = Duration::from_secs(1);
    let outcome = observe(&mut guests, Box::new(Silent), "").await;
    assert!(matches!(&outcome, Err(GuestError::Died { reason, .. }) if reason.contains("no answer")), "{outcome:?}");
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
    let Err(GuestError::Died { reason, console }) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("ended by itself"), "{reason}");
    assert!(console.contains("Kernel panic"), "{console}");
}

/// Root directory and inode tables are garbage if the one volatile write survived. ext4 sees that by their checksums,
/// and `errors=panic` makes the kernel panic.
#[tokio::test]
async fn a_state_that_panics_its_guests_is_a_finding_and_the_other_is_still_explored() {
    let Some(uml) = uml() else { return };
    let filesystem = filesystem("ext4:errors=panic");
    let subject = subject(durable_trace());
    let mut guests = OneGuest::new(uml, subject.guide.clone());
    let guest = guests.guest().await.unwrap();
    let base = populate(guest, &filesystem, healthy(), &subject.trace).await.unwrap();
    let garbage = WriteEntry { sector: 16, data: Arc::new(vec![0xa5; 4 << 20]), step: 0 };
    let queueing = vec![Queueing::default()];
    let log = BlockLog { writes: vec![garbage], queueing, entries: vec![Entry::Write(0)] };
    let model = DiskModel { tear: TearKind::None, ..DiskModel::default() };
    let epoch = epochs(&log, &model).remove(0);
    let layers = Arc::new(Layers::new(base, &log, &epoch, model));
    let mut found = Vec::new();
    let class = |class: Class| {
        let moment = Moment { begun_earliest: 0, ended_latest: 0 };
        let mut findings = subject.rules.judge(&class.observation, &moment);
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
    assert!(findings[0].observed.contains("panic"), "{}", findings[0].observed);
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
}

/// The states that a report shows are looked at a second time: a guest that a busy host let wait is not theirs to blame.
#[tokio::test]
async fn a_state_is_blamed_for_what_happens_twice_alone() {
    let Some(uml) = uml() else { return };
    for (late, mounts) in [(0, true), (1, true), (2, false)] {
        let mut guests = Slow { guests: OneGuest::new(uml.clone(), Default::default()), late };
        if late > 0 {
            guests.guests.untold = true;
            guests.guests.limits.command = Duration::ZERO;
        }
        let found = observe_image(&mut guests, &filesystem("ext4"), healthy()).await.unwrap();
        assert_eq!(found.mount == Mount::Mounted, mounts, "{late}: {:?}", found.mount);
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
    fn initramfs(&self, cache: &Path, filesystems: &[String]) -> Result<PathBuf, vm::KernelError> {
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

/// A guest that a busy host lets wait for too long ends no run; a machine on which none ever comes up does.
#[tokio::test]
async fn a_guest_that_does_not_boot_is_started_once_more_if_another_has() {
    let Some(uml) = uml() else { return };
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &["ext4".into()]).unwrap();
    for (fails, booted) in [
        ([true, false].as_slice(), [false, true]),
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

/// Kills the guests that this process has started.
fn kill_guests() {
    let own = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, std::fs::read_to_string(entry.path().join("stat")).ok()?))
    });
    let parent = |stat: &str| Some(stat.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned());
    for (pid, _) in stats.filter(|(_, stat)| parent(stat).as_ref() == Some(&own)) {
        // A guest's kernel leads a group; the others are in it.
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

/// A host that is short of memory may kill a guest while it waits for work: no state of a disk is to blame.
#[tokio::test]
async fn a_guest_that_has_gone_when_it_is_told_something_is_replaced() {
    let Some(uml) = uml() else { return };
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &["ext4".into()]).unwrap();
    let boot = Boot::new(Box::new(uml), initramfs, SECTORS, vm::Limits::default(), None);
    let mut slot = Slot::new(&boot);
    slot.guest().await.unwrap();
    kill_guests();
    slot.set_guide(&Default::default());
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
        return eprintln!("skipped, because a network of its own was refused: {error}");
    }
    let filesystem = filesystem("ext4");
    let subject = Arc::new(subject(durable_trace()));
    let plan = subject.schedules[0].plan(&subject.trace, &subject.history);
    let initramfs = uml.initramfs(&vm::Paths::from_environment().cache, &["ext4".into()]).unwrap();
    for (fails, then) in [([].as_slice(), 2), (&[false, true, true], 3)] {
        let others = claim_all();
        let started = Arc::default();
        let machine = Box::new(Unsteady { uml: uml.clone(), fails, started: Arc::clone(&started) });
        let boot = Boot::new(machine, initramfs.clone(), SECTORS, vm::Limits::default(), None);
        let mut slot = Slot::new(&boot);
        slot.set_guide(&subject.guide);
        let mut others = Some(others);
        for (expected, leave) in [(1, false), (1, true), (then, false), (then, false)] {
            let guest = slot.player(&subject).await.unwrap();
            assert_eq!(started.load(std::sync::atomic::Ordering::Relaxed), expected, "{fails:?}");
            let base = populate(guest, &filesystem, healthy(), &subject.trace).await.unwrap();
            replay(guest, &filesystem, &base, &plan, &subject.trace, &subject.live).await.unwrap();
            if leave {
                others = None;
            }
            // As often as a guest looks.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        drop(others);
    }
}
