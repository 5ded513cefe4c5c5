//! What a crash would have left of a run: each state mounted, and read.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::{NativeError, Run, Workshop, fail, run};
use crate::crash::{ALL_UP_TO, subsets, windows};
use crate::device::{Loop, Mounted};
use crate::fresh::{WORK, options};
use crate::image::Image;
use crate::log::{Event, Log};
use crate::program::{Op, Program, Step};
use crate::tree::Tree;

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
