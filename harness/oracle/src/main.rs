//! The native oracle on the command line: see `scripts/oracle`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use oracle::compare::{OneGuest, Way, explored, missing, plain};
use oracle::fresh::KINDS;
use oracle::litmus::{Litmus, NOT_NATIVE, table};
use oracle::native::{Effort, Outcome, Workshop, look, run};
use oracle::program::Program;
use oracle::search::search;
use oracle::short::{Short, record};
use oracle::unseen::{self, Unseen};
use oracle::{log, random, right, words};
use tokio::runtime::Runtime;
use vm::{Choice, Paths};

const USAGE: &str = "\
oracle: holds the explorer against native mounts (needs root, FUSE and loop devices)

    oracle COUNT [FIRST]       COUNT random programs, from seed FIRST (0) on, on ext4, xfs and btrfs
    oracle litmus              runs every litmus program natively: which states show
    oracle litmus NUMBER FS    one of them: what the disk saw, and all that is found
    oracle explorer BOUND [--kernel FILE]
                               which states the explorer finds, with up to so many injections; in QEMU with this kernel
    oracle states BOUND [--kernel FILE] [FS...]
                               every state that it finds of the litmus programs, one line each; on each of these, which
                               may have mount options (f2fs:fsync_mode=strict)
    oracle unseen [ROUNDS [FS...]]
                               which states of the explorer no native run shows in so many rounds (40), on each of these
    oracle seed SEED FS        the same for the random program of a seed
    oracle outcomes [--trees] FS WORKLOAD...
                               what the explorer finds of these workloads by default, one line each: workload, file
                               system, hash, number of promises; and, if asked for, the tree";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["perform"] => oracle::perform::serve().map_err(Failure::from).map(|()| true),
        ["litmus"] => litmus(),
        ["litmus", number, kind] => match table().into_iter().find(|litmus| litmus.number.to_string() == number) {
            Some(Litmus { program, .. }) => show(&program, kind),
            None => Err(format!("there is no litmus program {number} to be run natively").into()),
        },
        ["explorer", bound] => bound.parse().map_err(Failure::from).and_then(|bound| explorer(bound, None)),
        ["explorer", bound, "--kernel", kernel] => {
            bound.parse().map_err(Failure::from).and_then(|bound| explorer(bound, Some(Path::new(kernel))))
        }
        ["states", bound, ref rest @ ..] => {
            let (kernel, kinds) = match *rest {
                ["--kernel", kernel, ref kinds @ ..] => (Some(Path::new(kernel)), kinds),
                ref kinds => (None, kinds),
            };
            let kinds = if kinds.is_empty() { &KINDS } else { kinds };
            bound.parse().map_err(Failure::from).and_then(|bound| states(bound, kernel, kinds))
        }
        ["unseen"] => unseen(40, &KINDS),
        ["unseen", rounds] => rounds.parse().map_err(Failure::from).and_then(|rounds| unseen(rounds, &KINDS)),
        ["unseen", rounds, ref kinds @ ..] => {
            rounds.parse().map_err(Failure::from).and_then(|rounds| unseen(rounds, kinds))
        }
        ["outcomes", "--trees", kind, ref workloads @ ..] => outcomes(kind, workloads, true),
        ["outcomes", kind, ref workloads @ ..] => outcomes(kind, workloads, false),
        ["seed", seed, kind] => seed.parse().map_err(Failure::from).and_then(|seed| show(&random::program(seed), kind)),
        [count] => count.parse().map_err(Failure::from).and_then(|count| random(count, 0)),
        [count, first] => match (count.parse(), first.parse()) {
            (Ok(count), Ok(first)) => random(count, first),
            _ => Err(USAGE.into()),
        },
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("oracle: {error}");
            ExitCode::from(3)
        }
    }
}

fn workshop() -> Result<Workshop, Failure> {
    if let Some(reason) = oracle::native::lacking() {
        return Err(reason.into());
    }
    let me: PathBuf = std::env::current_exe()?;
    Ok(Workshop::open(&me)?)
}

/// The table of what shows natively.
fn litmus() -> Result<bool, Failure> {
    let workshop = workshop()?;
    println!("| # | {} |\n| --- | --- | --- | --- |", KINDS.join(" | "));
    let mut all = true;
    for litmus in table().into_iter().filter(Litmus::is_native) {
        let mut cells = Vec::new();
        for kind in KINDS {
            let Some(wanted) = litmus.wanted.iter().find(|wanted| wanted.kind == kind) else {
                // The table does not name it: whether it shows is worth knowing all the same.
                let run = run(&workshop, kind, &litmus.program)?;
                let found = look(&workshop, kind, &litmus.program, &run, Effort::default())?;
                let also = litmus.wanted.iter().find(|other| found.outcomes.contains_key(&other.outcome));
                cells.push(also.map_or("–".to_owned(), |other| format!("also: {}", other.outcome)));
                continue;
            };
            let shown = oracle::native::shows(&workshop, kind, &litmus.program, &wanted.outcome, litmus.tries)?;
            all &= shown.is_some();
            let text = &wanted.outcome;
            cells.push(match shown {
                Some(1) => format!("yes: {text}"),
                Some(tries) => format!("yes, in run {tries}: {text}"),
                None => format!("no: {text}"),
            });
        }
        println!("| {} | {} |", litmus.number, cells.join(" | "));
    }
    for (number, why) in NOT_NATIVE {
        println!("| {number} | not run: {why} | | |");
    }
    Ok(all)
}

/// Where the explorer's guests run, and the runtime that drives them. A kernel of the user's choice takes QEMU; without
/// one it is User Mode Linux, which every host can run.
fn guests(kernel: Option<&Path>) -> Result<(OneGuest, Runtime), Failure> {
    let paths = Paths::from_environment();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let choice = if kernel.is_some() { Choice::Qemu } else { Choice::Uml };
    let machine = runtime.block_on(vm::choose(choice, kernel, &paths))?;
    Ok((OneGuest::new(machine, &paths.cache)?, runtime))
}

/// The table of what the explorer finds.
fn explorer(bound: u32, kernel: Option<&Path>) -> Result<bool, Failure> {
    let (mut guests, runtime) = guests(kernel)?;
    println!("| # | {} |\n| --- | --- | --- | --- |", KINDS.join(" | "));
    let mut all = true;
    for litmus in table() {
        let trace = litmus.program.trace()?;
        let mut cells = Vec::new();
        for kind in KINDS {
            let Some(wanted) = litmus.wanted.iter().find(|wanted| wanted.kind == kind) else {
                cells.push("–".to_owned());
                continue;
            };
            let there = |found: &BTreeSet<Outcome>| found.contains(&wanted.outcome);
            let found = runtime.block_on(explored(&mut guests, &plain(kind), &trace, bound, there))?;
            let (shown, executions) = (there(&found.outcomes), found.schedules);
            all &= shown;
            let yes = if shown { "yes" } else { "no" };
            let cell = format!("{yes}: {} ({executions} executions, {} mounts)", wanted.outcome, found.mounts);
            // An emulated guest takes minutes for a line of the table.
            eprintln!("{} {kind} {cell}", litmus.number);
            cells.push(cell);
        }
        println!("| {} | {} |", litmus.number, cells.join(" | "));
    }
    Ok(all)
}

/// What the explorer finds of workloads on one file system.
fn outcomes(kind: &str, workloads: &[&str], trees: bool) -> Result<bool, Failure> {
    let (mut guests, runtime) = guests(None)?;
    for directory in workloads {
        let (name, trace) = record(Path::new(directory))?;
        let found = runtime.block_on(explored(&mut guests, &plain(kind), &trace, 1, |_| false))?;
        eprintln!("{name} {kind}: {} executions, {} mounts", found.schedules, found.mounts);
        let tree = |outcome: &Outcome| if trees { format!(" {}", outcome.tree) } else { String::new() };
        let line = |outcome| format!("{name} {kind} {}{}", Short::of(outcome), tree(outcome));
        let lines: BTreeSet<String> = found.outcomes.iter().map(line).collect();
        lines.iter().for_each(|line| println!("{line}"));
    }
    Ok(true)
}

/// All that the explorer finds of the litmus programs: for comparing kernels. A state to which each way tears a write is
/// marked, since what a tear leaves depends on where blocks lie.
fn states(bound: u32, kernel: Option<&Path>, kinds: &[&str]) -> Result<bool, Failure> {
    let (mut guests, runtime) = guests(kernel)?;
    for litmus in table() {
        for kind in kinds {
            let (trace, filesystem) = (litmus.program.trace()?, kind.parse()?);
            let found = runtime.block_on(explored(&mut guests, &filesystem, &trace, bound, |_| false))?;
            eprintln!("{} {kind}: {} executions, {} mounts", litmus.number, found.schedules, found.mounts);
            for (outcome, way) in found.ways {
                println!("{} {kind} {outcome}{}", litmus.number, if way.torn { " torn" } else { "" });
            }
        }
    }
    Ok(true)
}

/// What the explorer finds and no native run shows. A native run waits more than it works, so the file systems are looked at
/// side by side.
fn unseen(rounds: u64, kinds: &[&str]) -> Result<bool, Failure> {
    let native = table().into_iter().filter(Litmus::is_native);
    let native = native.map(|litmus| (litmus.number.to_string(), litmus.program));
    let right = right::programs().into_iter().map(|(name, program)| (name.to_owned(), program));
    let programs: Vec<(String, Program)> = native.chain(right).collect();
    let on = |kind: &&str| unseen_on(kind, &programs, rounds).map_err(|error| format!("{kind}: {error}"));
    let on_all = std::thread::scope(|scope| {
        let threads: Vec<_> = kinds.iter().map(|kind| scope.spawn(move || on(kind))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|_| Err("a search panicked".into()))
        };
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    let mut all: Vec<Unseen> = Vec::new();
    println!("| program | file system | explorer | of these without a tear | native | of these unseen | runs |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for on_one in on_all {
        let (rows, unseen) = on_one?;
        rows.iter().for_each(|row| println!("{row}"));
        all.extend(unseen);
    }
    println!("\n{}", unseen::counts(&all, kinds));
    println!("One of each kind:\n");
    unseen::examples(&all).into_iter().for_each(|example| println!("- {example}"));
    println!("\nAll without a torn write:\n");
    all.iter().filter(|unseen| !unseen.way.torn).for_each(|unseen| println!("- {unseen}"));
    Ok(true)
}

/// The same for one file system: a row of the table for each program, and what is unseen.
fn unseen_on(kind: &str, programs: &[(String, Program)], rounds: u64) -> Result<(Vec<String>, Vec<Unseen>), Failure> {
    let workshop = workshop()?;
    let (mut guests, runtime) = guests(None)?;
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for (name, program) in programs {
        let found = runtime.block_on(explored(&mut guests, &plain(kind), &program.trace()?, 1, |_| false))?;
        let untorn = found.ways.iter().filter(|(_, way)| !way.torn);
        let wanted: BTreeMap<Outcome, Way> = untorn.map(|(outcome, way)| (outcome.clone(), way.clone())).collect();
        let searched = search(&workshop, kind, program, rounds, &wanted);
        searched.failed.iter().for_each(|failed| eprintln!("{name} {kind}: {failed}"));
        let new = unseen::unseen(name, kind, &found.ways, &searched.outcomes.keys().cloned().collect());
        let lacking = new.iter().filter(|unseen| !unseen.way.torn).count();
        let (explorer, whole, native) = (found.ways.len(), wanted.len(), searched.outcomes.len());
        let row = format!("| {name} | {kind} | {explorer} | {whole} | {native} | {lacking} | {} |", searched.runs);
        eprintln!("{row} {} mounts", searched.mounts);
        for (outcome, by) in missing(&searched.outcomes, &found.outcomes) {
            eprintln!("{name} {kind}: not the explorer's: {outcome}: {by}");
        }
        rows.push(row);
        all.extend(new);
    }
    Ok((rows, all))
}

/// One program on one file system, in full.
fn show(program: &Program, kind: &str) -> Result<bool, Failure> {
    let workshop = workshop()?;
    let run = run(&workshop, kind, program)?;
    println!("{program}\n{kind} on {}", run.device);
    for event in &run.log.events {
        match event {
            log::Event::StepBegun(step) => println!("        begins: {}", words::step(&program.steps[*step])),
            log::Event::StepDone(step) => println!("        has ended: {}", words::step(&program.steps[*step])),
            other => println!("{}", words::event(other, &run.log)),
        }
    }
    let found = look(&workshop, kind, program, &run, Effort::default())?;
    println!("{} mounts; {} windows had more states than were looked at", found.mounts, found.sampled);
    for (outcome, witness) in &found.outcomes {
        println!("{outcome}  lost: {:?} of window {}", witness.lost, witness.window);
    }
    Ok(true)
}

/// Random programs, held against the explorer.
fn random(count: u64, first: u64) -> Result<bool, Failure> {
    let workshop = workshop()?;
    let (mut guests, runtime) = guests(None)?;
    let (mut outcomes, mut lacking) = (0, 0);
    for seed in first..first + count {
        let program = random::program(seed);
        for kind in KINDS {
            let run = run(&workshop, kind, &program)?;
            let native = look(&workshop, kind, &program, &run, Effort::SMALL)?;
            let bound = (program.background_events() - random::ENDING) as u32;
            let all = |found: &_| missing(&native.outcomes, found).is_empty();
            let explored =
                runtime.block_on(explored(&mut guests, &plain(kind), &program.trace()?, bound.max(1), all))?;
            outcomes += native.outcomes.len();
            for (outcome, witness) in missing(&native.outcomes, &explored.outcomes) {
                lacking += 1;
                println!("missing: seed {seed} {kind} {outcome} (window {}, lost {:?})", witness.window, witness.lost);
                println!("    {program}");
            }
        }
    }
    println!(
        "{count} programs on {}: {outcomes} native outcomes, {lacking} not found by the explorer",
        KINDS.join(", ")
    );
    Ok(lacking == 0)
}
