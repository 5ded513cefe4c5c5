//! Classes of crash states per second, for each machine and file system; and beside what the host's kernel would need.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use checker::CrashWindow;
use engine::execute::{execute, give, populate};
use engine::mkfs::mkfs;
use engine::subject::{Bounds, Subject};
use engine::tally::{Example, FoundAt, Tally, ViolationKey};
use engine::visit::{EquivalenceClass, Guests, explore};
use engine::window::window;
use filesystems::{FileSystem, Filesystem};
use protocol::Command;
use storage::{BlockLog, DiskModel, Layers, State};
use vm::{Accelerator, Guest, GuestError, Limits, Machine, Paths, Qemu, Standing, Uml};
use workload::Workload;

use crate::sample::{Samples, print_table};
use crate::{Effort, Outcome, Places, limit, processes};

/// The workload whose crash states are explored.
const WORKLOAD: &str = "naive_config";

/// One epoch, ready to be explored.
struct Epoch {
    layers: Arc<Layers>,
    window: CrashWindow,
}

/// What some passes over all epochs took: seconds by the clock, and of processor time.
struct Cost {
    classes: u64,
    passes: u64,
    clock: f64,
    harness: f64,
    guest: f64,
}

/// All epochs of the schedules without injections on one file system, and what exploring them cost.
struct Course {
    filesystem: Filesystem,
    epochs: Vec<Epoch>,
    /// Classes in one pass over all epochs.
    classes: u64,
    per_second: Samples,
    per_processor_second: Samples,
    guest_share: Samples,
    /// Of each class the state that lost the fewest writes, and its epoch.
    states: Vec<(usize, State)>,
    /// Seconds that one of these states takes the host's own kernel, and that a class takes the guest, divided by that.
    native: Samples,
    slower: Samples,
    /// Why the host cannot do that.
    no_native: Option<String>,
}

impl Course {
    fn add(&mut self, cost: &Cost) {
        let classes = cost.classes as f64;
        self.classes = cost.classes / cost.passes;
        self.per_second.push(classes / cost.clock);
        self.per_processor_second.push(classes / (cost.harness + cost.guest));
        self.guest_share.push(100.0 * cost.guest / (cost.harness + cost.guest));
    }

    /// The same classes on the host, right after the guest had them.
    fn add_native(&mut self, cost: &Cost) {
        let image = |index: usize| {
            let (epoch, state) = &self.states[index];
            self.epochs[*epoch].layers.image(state)
        };
        match limit::seconds(self.filesystem.kind.name, self.states.len(), image) {
            Ok(native) => {
                self.native.push(1000.0 * native);
                self.slower.push(cost.clock / cost.classes as f64 / native);
            }
            Err(reason) => self.no_native = Some(reason),
        }
    }
}

/// A machine with its guest.
struct Stand {
    machine: Box<dyn Machine>,
    guest: Guest,
    /// The guest's processes.
    group: BTreeSet<u32>,
    /// Seconds that the guest took to boot.
    boot: f64,
}

impl Guests for Stand {
    async fn guest(&mut self) -> Result<&mut Guest, GuestError> {
        Ok(&mut self.guest)
    }

    /// There is no other: what is measured with a guest that died is worth nothing, and the next command says so.
    fn lost(&mut self) {}

    async fn witness(&mut self) -> Result<(), GuestError> {
        Ok(())
    }
}

/// Measures on every machine that this host can run.
pub async fn measure(places: &Places, effort: Effort) -> Outcome<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let subject =
        Subject::record(&Workload::load(&places.workload(WORKLOAD))?, Bounds::default(), Default::default(), &stop)?;
    let paths = Paths::from_environment();
    let mut stands = Vec::new();
    for machine in machines(&paths).await {
        let mut stand = boot(machine, &paths, &subject).await?;
        let mut courses = Vec::new();
        for &kind in filesystems::DEFAULTS {
            courses.push(prepare(&mut stand.guest, &subject, kind).await?);
        }
        stands.push((stand, courses));
    }
    // The first turn, which is not measured, brings everything into the caches.
    for turn in 0..=effort.rounds {
        for (stand, courses) in &mut stands {
            for course in courses {
                let seconds = if turn == 0 { 0.0 } else { effort.seconds };
                let cost = pass(stand, &subject, course, seconds).await?;
                if turn == 0 {
                    course.states = states(stand, course).await?;
                } else {
                    course.add(&cost);
                    course.add_native(&cost);
                }
            }
        }
    }
    let rows = stands.iter().flat_map(|(stand, courses)| {
        let machine = stand.machine.name();
        courses.iter().map(move |course| row(machine, course))
    });
    let heading = format!(
        "Classes of crash states (each is a mount, with recovery) of {WORKLOAD}, on one guest.\n\
         classes/s: by the clock. CPU second: user and system time of the harness and of the guest's processes together."
    );
    let header =
        ["machine", "file system", "classes/s", "aim", "classes per CPU second", "CPU in the guest", "classes"];
    print_table(&heading, &header, rows.collect());
    print_native(&stands);
    for (stand, _) in &stands {
        println!("boot of {}: {:.1} s, Linux {}", stand.machine.name(), stand.boot, stand.guest.kernel());
    }
    Ok(())
}

async fn boot(machine: Box<dyn Machine>, paths: &Paths, subject: &Subject) -> Outcome<Stand> {
    let initramfs = machine.initramfs(&paths.cache, filesystems::DEFAULTS)?;
    let others = processes::groups();
    let start = Instant::now();
    let sectors = subject.disk_size() / storage::SECTOR as u64;
    let mut guest = Guest::boot(machine.as_ref(), &initramfs, sectors, Limits::default()).await?;
    let boot = start.elapsed().as_secs_f64();
    let group = processes::groups().difference(&others).copied().collect();
    guest.call(&Command::ReadPlan(subject.read_plan.clone())).await?;
    Ok(Stand { machine, guest, group, boot })
}

async fn machines(paths: &Paths) -> Vec<Box<dyn Machine>> {
    let mut machines: Vec<Box<dyn Machine>> = Vec::new();
    for finding in vm::survey(paths).await {
        if let Standing::Unusable(problem) = finding.standing {
            println!("{}: skipped, because {}", finding.name, problem.lines().next().unwrap_or_default());
            continue;
        }
        let qemu =
            |accelerator| Qemu::find(&paths.kernels, None, accelerator).map(|qemu| Box::new(qemu) as Box<dyn Machine>);
        let machine = match finding.name {
            "uml" => Uml::find(&paths.cache).map(|uml| Box::new(uml) as Box<dyn Machine>),
            "qemu-kvm" => qemu(Accelerator::Kvm),
            _ => qemu(Accelerator::Emulated),
        };
        match machine {
            Ok(machine) => machines.push(machine),
            Err(error) => println!("{}: skipped, because {error}", finding.name),
        }
    }
    machines
}

/// Replays the workload on a fresh file system and cuts what the disk saw into epochs.
async fn prepare(guest: &mut Guest, subject: &Subject, kind: &'static FileSystem) -> Outcome<Course> {
    let filesystem = Filesystem::from(kind);
    let fresh = mkfs(&filesystem, subject.disk_size())?;
    let base = populate(guest, &filesystem, fresh, &subject.trace).await?;
    let model = DiskModel::default();
    let mut epochs = Vec::new();
    give(guest, &subject.trace, &subject.live, false).await?;
    for schedule in &subject.schedules {
        let plan = schedule.plan(&subject.trace, &subject.history);
        let (executed, _) = execute(guest, &filesystem, &base, &plan, &subject.trace, &subject.live).await?;
        let mut durable = executed.start;
        let mut from = 0;
        for epoch in storage::epochs(&executed.log, &model) {
            epoch.advance(&mut durable, &executed.log, from);
            from = epoch.durable;
            let window = window(&plan, &epoch, &BlockLog::default(), []);
            let layers = Arc::new(Layers::new(durable.clone(), &executed.log, &epoch, model));
            epochs.push(Epoch { layers, window });
        }
    }
    let none = Samples::default;
    Ok(Course {
        filesystem,
        epochs,
        classes: 0,
        per_second: none(),
        per_processor_second: none(),
        guest_share: none(),
        states: Vec::new(),
        native: none(),
        slower: none(),
        no_native: None,
    })
}

/// One state of each class.
async fn states(stand: &mut Stand, course: &Course) -> Outcome<Vec<(usize, State)>> {
    let mut states = Vec::new();
    for (index, epoch) in course.epochs.iter().enumerate() {
        let keep = |class: EquivalenceClass| states.push((index, class.fates.fewest_lost()));
        explore(stand, &course.filesystem, &epoch.layers, || true, keep).await?;
    }
    Ok(states)
}

/// Explores all epochs, as a run does, again and again until `seconds` have passed.
async fn pass(stand: &mut Stand, subject: &Subject, course: &Course, seconds: f64) -> Outcome<Cost> {
    let mut tally = Tally::default();
    let before = processes::seconds(&stand.group);
    let start = Instant::now();
    let mut passes = 0;
    while passes == 0 || start.elapsed().as_secs_f64() < seconds {
        for (index, epoch) in course.epochs.iter().enumerate() {
            explore(
                stand,
                &course.filesystem,
                &epoch.layers,
                || true,
                |class| {
                    let findings = subject.rules.judge(&class.observation, &epoch.window);
                    let place =
                        FoundAt { unit: [0; 16], recovery_crash: false, injections: 0, schedule: 0, epoch: index };
                    let example = |finding| Example::of(finding, &class.fates, place, epoch.window);
                    let shown = findings.iter().map(|finding| (ViolationKey::of(finding), example(finding)));
                    tally.add_equivalence_class(&class.fates, shown);
                },
            )
            .await?;
        }
        passes += 1;
    }
    let clock = start.elapsed().as_secs_f64();
    let after = processes::seconds(&stand.group);
    let (harness, guest) = (after.0 - before.0, after.1 - before.1);
    Ok(Cost { classes: tally.visits, passes, clock, harness, guest })
}

fn row(machine: &str, course: &Course) -> Vec<String> {
    let kind = course.filesystem.kind.name;
    let aim = match (machine, kind) {
        ("uml", "ext4") => "≥ 500",
        ("uml", "xfs") => "≥ 50",
        ("uml", "btrfs") => "≥ 200",
        ("qemu-emulated", "ext4") => "≥ 100",
        _ => "",
    };
    vec![
        machine.into(),
        kind.into(),
        course.per_second.shown(0),
        aim.into(),
        course.per_processor_second.shown(0),
        format!("{:.0} %", course.guest_share.median()),
        course.classes.to_string(),
    ]
}

fn print_native(stands: &[(Stand, Vec<Course>)]) {
    let row = |machine: &str, course: &Course| {
        let kind = course.filesystem.kind.name;
        let aim = if (machine, kind) == ("uml", "ext4") { "≤ 1.5" } else { "" };
        let (native, slower) = match &course.no_native {
            Some(reason) => (format!("skipped, because {reason}"), String::new()),
            None => (course.native.shown(2), course.slower.shown(2)),
        };
        vec![machine.into(), kind.into(), native, slower, aim.into()]
    };
    let rows = stands.iter().flat_map(|(stand, courses)| courses.iter().map(|it| row(stand.machine.name(), it)));
    let heading = "Time for each class, beside the limit: a state of each on the host's own kernel (a loop device on a file in\n\
                   memory; mount, read, unmount, detach).";
    let header = ["machine", "file system", "limit, ms/class", "machine ÷ limit", "aim"];
    print_table(heading, &header, rows.collect());
}
