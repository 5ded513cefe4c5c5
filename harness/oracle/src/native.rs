//! Runs a program on a native mount, and looks at what a crash would have left.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

use crate::crash::{ALL_UP_TO, subsets, windows};
use crate::device::{Loop, Mounted, private_mounts};
use crate::disk::{Disk, FILE, Held};
use crate::fresh::{WORK, fresh, options, options_of_run};
use crate::image::Image;
use crate::log::{Event, Log};
use crate::perform::{Answer, Order};
use crate::program::{Background, Op, Program, Step};
use crate::tree::Tree;

/// Why a program could not be run natively.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// Something here.
    #[error("failed to {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A step of the program, or what had to be done for it.
    #[error("{what} failed natively: {reason}")]
    Failed {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// Something did not end.
    #[error("{what} had not ended after {} s", LONGEST.as_secs())]
    Hangs {
        /// What.
        what: String,
    },
}

fn fail(what: impl Into<String>) -> impl FnOnce(io::Error) -> NativeError {
    let what = what.into();
    move |source| NativeError::Io { what, source }
}

/// How long anything may take.
const LONGEST: Duration = Duration::from_secs(20);

/// How long a step is waited for while the disk holds writes: it may wait for them.
const WHILE_HELD: Duration = Duration::from_millis(60);

/// How long no request must have come to the disk for what was started to be there.
const QUIET: Duration = Duration::from_millis(5);

/// The same after background work. What follows the end of a write takes its time too: btrfs makes an extent known only
/// after it has called the pages clean (fs/btrfs/ordered-data.c).
const QUIET_BEHIND: Duration = Duration::from_millis(25);

/// What this machine lacks for native runs; `None` if nothing.
pub fn lacking() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("native mounts need root".into());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return Some(format!("there is no {device} here"));
        }
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known: Vec<&str> = known.lines().filter_map(|line| line.split_whitespace().last()).collect();
    for kind in crate::fresh::KINDS.iter().chain(&["fuse"]) {
        if !known.contains(kind) {
            return Some(format!("the kernel here has no {kind} (modprobe {kind} may load it)"));
        }
    }
    // Containers often have root's number, and not what it is for.
    std::thread::spawn(private_mounts)
        .join()
        .map_or(None, |outcome| outcome.err().map(|error| format!("no mounts of our own can be had: {error}")))
}

/// A place to work in: memory, with mounts that nobody else sees and that go with us.
pub struct Workshop {
    directory: tempfile::TempDir,
    /// The program that performs (see [`crate::perform::serve`]) when it is called with `perform`.
    performer: PathBuf,
}

impl Workshop {
    /// For the calling thread: it gets mounts of its own.
    pub fn open(performer: &Path) -> Result<Self, NativeError> {
        private_mounts().map_err(fail("get mounts of our own"))?;
        let directory = tempfile::Builder::new().prefix("oracle-").tempdir().map_err(fail("make a directory"))?;
        let kind = Some("tmpfs");
        mount(kind, directory.path(), kind, MsFlags::empty(), Some("mode=700"))
            .map_err(|errno| errno.into())
            .map_err(fail("mount memory"))?;
        for name in ["fuse", "run", "look"] {
            std::fs::create_dir(directory.path().join(name)).map_err(fail("make a directory"))?;
        }
        Ok(Self { directory, performer: performer.into() })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.directory.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// What a disk saw of a program.
#[derive(Debug)]
pub struct Run {
    /// The disk in the beginning.
    pub start: Image,
    /// What it saw.
    pub log: Log,
    /// What the kernel says of the device.
    pub device: String,
    /// For each step whether it ended while writes were held: none of these had been answered before.
    pub passed: Vec<bool>,
}

/// The process that performs.
struct Performer {
    process: Child,
    orders: ChildStdin,
    answers: Receiver<Answer>,
    given: usize,
    /// Answers that nobody has waited for yet.
    early: HashMap<usize, Result<String, String>>,
}

impl Performer {
    fn start(program: &Path) -> Result<Self, NativeError> {
        let start = || {
            let mut process =
                Command::new(program).arg("perform").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let (Some(orders), Some(out)) = (process.stdin.take(), process.stdout.take()) else {
                return Err(io::Error::other("no pipes"));
            };
            Ok((process, orders, out))
        };
        let (process, orders, out) = start().map_err(fail(format!("start {}", program.display())))?;
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { break };
                let Ok(answer) = serde_json::from_str(&line) else { break };
                if sender.send(answer).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, orders, answers, given: 0, early: HashMap::new() })
    }

    fn give(&mut self, order: &Order) -> Result<usize, NativeError> {
        let mut line = serde_json::to_vec(order).map_err(io::Error::other).map_err(fail("write an order"))?;
        line.push(b'\n');
        self.orders.write_all(&line).map_err(fail("give an order"))?;
        self.given += 1;
        Ok(self.given - 1)
    }

    /// Waits for the answer to an order; `None` if it does not come in time.
    fn answer(&mut self, order: usize, time: Duration) -> Result<Option<Result<String, String>>, NativeError> {
        let end = Instant::now() + time;
        loop {
            if let Some(result) = self.early.remove(&order) {
                return Ok(Some(result));
            }
            match self.answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(answer) => drop(self.early.insert(answer.order, answer.result)),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(NativeError::Failed {
                        what: "the performing process".into(),
                        reason: "it ended".into(),
                    });
                }
            }
        }
    }

    /// Gives an order and waits for its end.
    fn carry_out(&mut self, order: &Order, what: &str) -> Result<String, NativeError> {
        let number = self.give(order)?;
        let result = self.answer(number, LONGEST)?.ok_or_else(|| NativeError::Hangs { what: what.into() })?;
        result.map_err(|reason| NativeError::Failed { what: what.into(), reason })
    }
}

impl Drop for Performer {
    fn drop(&mut self) {
        // What it waits for has been answered by now, or is when the disk goes.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A step that has begun and whose end has not been seen.
struct UnderWay {
    step: usize,
    order: usize,
    what: String,
}

/// Runs a program natively.
pub fn run(workshop: &Workshop, kind: &str, program: &Program) -> Result<Run, NativeError> {
    let made = fresh(kind, &program.start, workshop.directory.path());
    let image = made.map_err(fail(format!("make a fresh {kind} with the start state")))?;
    let disk = Disk::mount(image, &workshop.at("fuse")).map_err(fail("mount the logging disk (FUSE)"))?;
    let mut performer = Performer::start(&workshop.performer)?;
    let order = Order::Mount {
        disk: workshop.at("fuse").join(FILE),
        at: workshop.at("run"),
        kind: kind.into(),
        options: options_of_run(kind).into(),
        warm: !program.cold,
    };
    let device = performer.carry_out(&order, &format!("the mount of {kind}"))?;
    disk.settle(Duration::from_millis(20));
    let start = disk.begin();
    let mut passed = vec![false; program.steps.len()];
    let mut under_way: Vec<UnderWay> = Vec::new();
    let outcome = perform(&disk, &mut performer, program, &mut passed, &mut under_way);
    let log = disk.end();
    disk.release();
    outcome?;
    performer.carry_out(&Order::Unmount, "the unmount")?;
    Ok(Run { start, log, device, passed })
}

fn perform(
    disk: &Disk,
    performer: &mut Performer,
    program: &Program,
    passed: &mut [bool],
    under_way: &mut Vec<UnderWay>,
) -> Result<(), NativeError> {
    if program.fast {
        let ops = program.ops().cloned().collect();
        performer.carry_out(&Order::Ops(ops), "the program")?;
        (0..program.steps.len()).for_each(|step| disk.mark(Event::StepDone(step)));
        disk.settle(QUIET);
        return Ok(());
    }
    let mut op_under_way: Option<UnderWay> = None;
    for (index, step) in program.steps.iter().enumerate() {
        let (order, what) = match step {
            Step::Background(Background::Hold(letters)) => {
                disk.hold(letters.clone().map_or(Held::AllData, Held::Letters));
                continue;
            }
            Step::Background(Background::Release) => {
                disk.release();
                // All that waited goes on.
                for pending in under_way.drain(..).chain(op_under_way.take()) {
                    await_end(disk, performer, pending)?;
                }
                disk.settle(QUIET);
                continue;
            }
            Step::Background(work) => (Order::Background(work.clone()), work.to_string()),
            Step::Op(op) => {
                if let Some(pending) = op_under_way.take() {
                    await_end(disk, performer, pending)?;
                }
                (Order::Ops(vec![op.clone()]), op.to_string())
            }
        };
        disk.mark(Event::StepBegun(index));
        let number = performer.give(&order)?;
        let pending = UnderWay { step: index, order: number, what };
        let holds = disk.holds();
        match performer.answer(number, if holds { WHILE_HELD } else { LONGEST })? {
            Some(result) => {
                disk.mark(Event::StepDone(index));
                passed[index] = disk.waiting() > 0;
                result.map_err(|reason| NativeError::Failed { what: pending.what, reason })?;
            }
            None if !holds => return Err(NativeError::Hangs { what: pending.what }),
            None if matches!(step, Step::Op(_)) => op_under_way = Some(pending),
            None => under_way.push(pending),
        }
        match step {
            Step::Op(_) => disk.settle(QUIET),
            Step::Background(_) => {
                std::thread::sleep(QUIET_BEHIND);
                disk.settle(QUIET_BEHIND);
            }
        }
    }
    disk.settle(QUIET);
    // A crash may come before anything is answered; but then nothing new is begun.
    if op_under_way.is_some() || !under_way.is_empty() {
        disk.release();
        for pending in under_way.drain(..).chain(op_under_way.take()) {
            await_end(disk, performer, pending)?;
        }
    }
    Ok(())
}

/// Waits for the end of a step that waits for the disk: which answers what it holds, until the step has ended.
fn await_end(disk: &Disk, performer: &mut Performer, pending: UnderWay) -> Result<(), NativeError> {
    let end = Instant::now() + LONGEST;
    while Instant::now() < end {
        disk.answer_waiting();
        if let Some(result) = performer.answer(pending.order, QUIET)? {
            disk.mark(Event::StepDone(pending.step));
            return result.map(drop).map_err(|reason| NativeError::Failed { what: pending.what, reason });
        }
    }
    Err(NativeError::Hangs { what: pending.what })
}

/// What a crash leaves, and how many promises had been given by then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// The tree; or why there is none.
    pub tree: String,
    /// How many.
    pub promises: usize,
}

impl std::fmt::Display for Outcome {
    /// `{f:00} [0]`: with the number of promises.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]", self.tree, self.promises)
    }
}

/// One way to get an outcome.
#[derive(Clone, Debug)]
pub struct Witness {
    /// The window of the log.
    pub window: usize,
    /// The volatile writes that survive.
    pub kept: Vec<usize>,
    /// Those that do not.
    pub lost: Vec<usize>,
}

/// How many states are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Up to how many volatile writes all subsets are taken.
    pub all_up_to: usize,
    /// How many random subsets of more.
    pub random: usize,
    /// For these.
    pub seed: u64,
    /// No more mounts than this.
    pub mounts: usize,
}

impl Effort {
    /// Little enough for many programs: a mount of btrfs takes some 0.1 s.
    pub const SMALL: Self = Self { all_up_to: 6, random: 8, seed: 1, mounts: 100 };
}

impl Default for Effort {
    fn default() -> Self {
        Self { all_up_to: ALL_UP_TO, random: 32, seed: 1, mounts: 5000 }
    }
}

/// In which run of up to `tries` an outcome shows; `None` if in none.
pub fn shows(
    workshop: &Workshop,
    kind: &str,
    program: &Program,
    outcome: &Outcome,
    tries: usize,
) -> Result<Option<usize>, NativeError> {
    for number in 1..=tries {
        let run = run(workshop, kind, program)?;
        if look(workshop, kind, program, &run, Effort::default())?.outcomes.contains_key(outcome) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// All that was found of a run.
#[derive(Debug, Default)]
pub struct Found {
    /// Each outcome, and a way to it.
    pub outcomes: BTreeMap<Outcome, Witness>,
    /// How many images were mounted.
    pub mounts: usize,
    /// How many windows had more subsets than were taken.
    pub sampled: usize,
}

/// Mounts what crashes would have left of a run, and reads it.
pub fn look(
    workshop: &Workshop,
    kind: &str,
    program: &Program,
    run: &Run,
    effort: Effort,
) -> Result<Found, NativeError> {
    let mut found = Found::default();
    let mut known: HashMap<[u8; 32], String> = HashMap::new();
    let promises = promises(program, &run.log);
    for (number, window) in windows(&run.log).into_iter().enumerate() {
        let count = window.volatile.len();
        found.sampled += usize::from(count > effort.all_up_to);
        for bits in subsets(count, effort.all_up_to, effort.random, effort.seed) {
            let part = |wanted: bool| {
                let part = window.volatile.iter().zip(&bits).filter(move |(_, kept)| **kept == wanted);
                part.map(|(write, _)| *write).collect::<Vec<usize>>()
            };
            let kept = part(true);
            let image = window.image(&run.start, &run.log, &kept);
            let digest = image.digest();
            let tree = match known.get(&digest) {
                Some(tree) => tree.clone(),
                None if found.mounts >= effort.mounts => {
                    found.sampled += 1;
                    continue;
                }
                None => {
                    found.mounts += 1;
                    let tree = look_at(workshop, kind, &image).map_err(fail("look at a crash image"))?;
                    known.insert(digest, tree.clone());
                    tree
                }
            };
            for given in promises[window.earliest(&run.log, &kept)]..=promises[window.to] {
                let witness = || Witness { window: number, kept: kept.clone(), lost: part(false) };
                found.outcomes.entry(Outcome { tree: tree.clone(), promises: given }).or_insert_with(witness);
            }
        }
    }
    Ok(found)
}

/// After each number of events: how many promises had been given.
fn promises(program: &Program, log: &Log) -> Vec<usize> {
    let mut given = vec![0];
    for event in &log.events {
        let more = match event {
            Event::StepDone(step) => matches!(program.steps.get(*step), Some(Step::Op(Op::Print { .. }))),
            _ => false,
        };
        given.push(given[given.len() - 1] + usize::from(more));
    }
    given
}

/// Mounts one image on a copy in memory, and reads it.
fn look_at(workshop: &Workshop, kind: &str, image: &Image) -> io::Result<String> {
    let (file, at) = (workshop.at("state"), workshop.at("look"));
    image.store(&std::fs::File::create(&file)?)?;
    let tree = match Mounted::mount(Loop::attach(&file, false)?, &at, kind, options(kind)) {
        Ok(mounted) => {
            let tree =
                Tree::read(&at.join(WORK)).map_or_else(|error| format!("unreadable: {error}"), |tree| tree.to_string());
            mounted.unmount()?;
            tree
        }
        Err(error) => format!("refused: {error}"),
    };
    std::fs::remove_file(&file)?;
    Ok(tree)
}
