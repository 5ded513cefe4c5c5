//! The native oracle on the command line: see `scripts/oracle`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use oracle::compare::{OneGuest, explored, missing, plain};
use oracle::fresh::KINDS;
use oracle::litmus::{Litmus, NOT_NATIVE, table};
use oracle::native::{Effort, Outcome, Workshop, look, run};
use oracle::program::Program;
use oracle::short::{Short, record};
use oracle::{log, random, words};
use vm::{Paths, Uml};

const USAGE: &str = "\
oracle: holds the explorer against native mounts (needs root, FUSE and loop devices)

    oracle COUNT [FIRST]       COUNT random programs, from seed FIRST (0) on, on ext4, xfs and btrfs
    oracle litmus              runs every litmus program natively: which states show
    oracle litmus NUMBER FS    one of them: what the disk saw, and all that is found
    oracle explorer BOUND      which states the explorer finds, with up to so many injections
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
        ["explorer", bound] => bound.parse().map_err(Failure::from).and_then(explorer),
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

/// The table of what the explorer finds.
fn explorer(bound: u32) -> Result<bool, Failure> {
    let paths = Paths::from_environment();
    let mut guests = OneGuest::new(Uml::find(&paths.cache)?, &paths.cache)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
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
            let (shown, replays) = (there(&found.outcomes), found.schedules);
            all &= shown;
            let yes = if shown { "yes" } else { "no" };
            cells.push(format!("{yes}: {} ({replays} replays, {} mounts)", wanted.outcome, found.mounts));
        }
        println!("| {} | {} |", litmus.number, cells.join(" | "));
    }
    Ok(all)
}

/// What the explorer finds of workloads on one file system.
fn outcomes(kind: &str, workloads: &[&str], trees: bool) -> Result<bool, Failure> {
    let paths = Paths::from_environment();
    let mut guests = OneGuest::new(Uml::find(&paths.cache)?, &paths.cache)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for directory in workloads {
        let (name, trace) = record(Path::new(directory))?;
        let found = runtime.block_on(explored(&mut guests, &plain(kind), &trace, 1, |_| false))?;
        eprintln!("{name} {kind}: {} replays, {} mounts", found.schedules, found.mounts);
        let tree = |outcome: &Outcome| if trees { format!(" {}", outcome.tree) } else { String::new() };
        let line = |outcome| format!("{name} {kind} {}{}", Short::of(outcome), tree(outcome));
        let lines: BTreeSet<String> = found.outcomes.iter().map(line).collect();
        lines.iter().for_each(|line| println!("{line}"));
    }
    Ok(true)
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
    let paths = Paths::from_environment();
    let mut guests = OneGuest::new(Uml::find(&paths.cache)?, &paths.cache)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
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
