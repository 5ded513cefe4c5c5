//! How many crash states one mount stands for.

use std::process::{Command, Stdio};

use num_bigint::BigUint;

use crate::sample::print_table;
use crate::{Effort, Outcome, Places};

/// For each cell. Few need it: what they leave is not counted.
const BUDGET: &str = "5m";

/// Runs every workload on every file system and divides.
pub fn count(places: &Places, effort: Effort) -> Outcome<()> {
    let out = tempfile::tempdir()?;
    let mut workloads: Vec<_> = std::fs::read_dir(places.root.join("workloads"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("workload.toml").is_file())
        .collect();
    workloads.sort();
    let mut command = Command::new(&places.harness);
    command.args(["run", "--budget", BUDGET, "--schedules", &effort.schedules.to_string(), "--out"]);
    let said = command.arg(out.path()).args(workloads).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let report = report::read_report(out.path())
        .map_err(|error| format!("{error}; the run said: {}", String::from_utf8_lossy(&said.stderr)))?;
    let rows = report.cells.iter().map(|cell| {
        let states = &cell.crash_states;
        vec![
            cell.id.workload.clone(),
            cell.id.fs.clone(),
            cell.schedules.total.to_string(),
            report::count(&states.allowed),
            states.mounts.to_string(),
            ratio(&states.covered, states.mounts),
            if cell.exhaustive() { "all".into() } else { report::count(&states.covered) },
        ]
    });
    let heading = format!(
        "Covered crash states for each mount (the whole workload directory, --schedules {}, torn writes: one).",
        effort.schedules
    );
    let header = ["workload", "file system", "schedules", "states", "mounts", "states/mounts", "covered"];
    print_table(&heading, &header, rows.collect());
    let mut ratios: Vec<BigUint> = report
        .cells
        .iter()
        .filter(|cell| cell.crash_states.mounts > 0)
        .map(|cell| &cell.crash_states.covered / cell.crash_states.mounts)
        .collect();
    ratios.sort();
    if let (Some(median), Some(best)) = (ratios.get(ratios.len() / 2), ratios.last()) {
        println!(
            "states/mounts: median {} (aim: ≥ 100), best {} (aim: ≥ 10^100)",
            report::count(median),
            report::count(best)
        );
    }
    if !report.cells.iter().any(|cell| cell.id.workload.starts_with("big_")) {
        println!("no workload big_*: the aim for the best is for files of 64 MiB");
    }
    Ok(())
}

/// One digit after the point, rounded down.
fn ratio(states: &BigUint, mounts: u64) -> String {
    if mounts == 0 {
        return "–".to_owned();
    }
    let tenths: BigUint = states * 10u32 / mounts;
    let (whole, tenth): (BigUint, BigUint) = (&tenths / 10u32, tenths % 10u32);
    if whole < BigUint::from(1000u32) { format!("{whole}.{tenth}") } else { report::count(&whole) }
}
