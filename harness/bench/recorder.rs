//! What recording costs, beside no tracing at all and beside strace.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::sample::{Samples, print_table};
use crate::{Effort, Outcome, Places};

/// Calls that no recorder of files cares for, and calls that each does.
const CALLS: [&str; 2] = ["200000", "6000"];
/// What strace is to look at: the calls of `many_calls` that matter.
const INTERESTING: &str = "trace=open,openat,close,write,pwrite64";

/// Runs the same program in each way, in turns.
pub fn measure(places: &Places, effort: Effort) -> Outcome<()> {
    let strace = vm::program(&["strace"]);
    let program = places.many_calls.as_path();
    let mut ways = vec![("native", Vec::new())];
    let record = [places.harness.as_path(), "record".as_ref(), "-o".as_ref(), "out".as_ref(), "--".as_ref()];
    ways.push(("harness record", record.to_vec()));
    if let Some(strace) = &strace {
        let with = |more: &[&'static str]| {
            let arguments = more.iter().chain(&["-e", INTERESTING, "-o", "out"]);
            std::iter::once(strace.as_path()).chain(arguments.map(|text| Path::new(*text))).collect::<Vec<&Path>>()
        };
        ways.push(("strace -f --seccomp-bpf", with(&["-f", "--seccomp-bpf"])));
        ways.push(("strace -f", with(&["-f"])));
    }
    let mut times = vec![Samples::default(); ways.len()];
    for _ in 0..effort.rounds {
        for ((_, before), times) in ways.iter().zip(&mut times) {
            let mut line = before.clone();
            line.push(program);
            line.extend(CALLS.map(Path::new));
            times.push(run(&line)?);
        }
    }
    let native = times[0].median();
    let rows = ways.iter().zip(&times).map(|((name, _), times)| {
        let aim = if *name == "harness record" { "≤ strace -f --seccomp-bpf" } else { "" };
        vec![(*name).into(), times.shown(3), format!("{:.1}", times.median() / native), aim.into()]
    });
    let heading = format!("Recording {} uninteresting and {} interesting calls.", CALLS[0], CALLS[1]);
    print_table(&heading, &["way", "seconds", "÷ native", "aim"], rows.collect());
    if strace.is_none() {
        println!("strace: skipped, because strace is not installed");
    }
    Ok(())
}

/// Seconds that a command takes in a fresh directory.
fn run(line: &[&Path]) -> Outcome<f64> {
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).current_dir(directory.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output()?;
    let seconds = start.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(seconds)
}
