//! How many crash states one mount stands for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use num_bigint::BigUint;
use report::CellReport;

use crate::sample::print_table;
use crate::{Effort, Outcome, Places};

/// For each cell. What it leaves is not counted, so the ratio is one of what was covered; being one of mounts, it cuts
/// at the same place on every machine.
const BUDGET: &str = "2000mounts";

/// Runs every workload on every file system and divides.
pub fn count(places: &Places, effort: Effort) -> Outcome<()> {
    let mut workloads: Vec<_> = std::fs::read_dir(places.root.join("workloads"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("workload.toml").is_file())
        .collect();
    workloads.sort();
    // Those with files of 64 MiB or thousands of ops are there for their one epoch's size, not for their schedules.
    let (large, small): (Vec<_>, Vec<_>) = workloads.into_iter().partition(|path| {
        path.file_name().is_some_and(|name| ["big_", "long_"].iter().any(|it| name.to_string_lossy().starts_with(it)))
    });
    for tear in ["one", "any"] {
        count_with(places, &small, &large, effort.schedules, tear)?;
    }
    Ok(())
}

/// The same for one kind of torn writes.
fn count_with(places: &Places, small: &[PathBuf], large: &[PathBuf], schedules: u32, tear: &str) -> Outcome<()> {
    let injections = schedules.to_string();
    let mut cells = run(&places.harness, small, &["--schedules", &injections, "--tear", tear])?;
    cells.extend(run(&places.harness, large, &["--schedules", "0", "--tear", tear])?);
    let rows = cells.iter().map(|cell| {
        let states = &cell.crash_states;
        vec![
            cell.id.workload.clone(),
            cell.id.fs.clone(),
            cell.schedules.total.to_string(),
            reporters::count(&states.allowed),
            states.mounts.to_string(),
            ratio(&states.covered, states.mounts),
            if cell.exhaustive() { "all".into() } else { reporters::count(&states.covered) },
        ]
    });
    let heading = format!(
        "Covered crash states for each mount: every workload, torn writes: {tear}, --budget {BUDGET}, --schedules \
         {injections} (big_* and long_*: 0)."
    );
    let header = ["workload", "file system", "schedules", "states", "mounts", "states/mounts", "covered"];
    print_table(&heading, &header, rows.collect());
    let mut ratios: Vec<BigUint> = cells
        .iter()
        .filter(|cell| cell.crash_states.mounts > 0)
        .map(|cell| &cell.crash_states.covered / cell.crash_states.mounts)
        .collect();
    ratios.sort();
    if let (Some(median), Some(best)) = (ratios.get(ratios.len() / 2), ratios.last()) {
        println!(
            "states/mounts, torn writes: {tear}: median {} (aim: ≥ 100), best {} (aim: ≥ 10^100)",
            reporters::count(median),
            reporters::count(best)
        );
    }
    Ok(())
}

/// The cells of a run of `workloads` on all file systems.
fn run(harness: &Path, workloads: &[PathBuf], options: &[&str]) -> Outcome<Vec<CellReport>> {
    let out = tempfile::tempdir()?;
    let mut command = Command::new(harness);
    command.args(["run", "--budget", BUDGET]).args(options).arg("--out").arg(out.path()).args(workloads);
    let said = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let report = report::read_report(out.path())
        .map_err(|error| format!("{error}; the run said: {}", String::from_utf8_lossy(&said.stderr)))?;
    Ok(report.cells)
}

/// One digit after the point, rounded down.
fn ratio(states: &BigUint, mounts: u64) -> String {
    if mounts == 0 {
        return "–".to_owned();
    }
    let tenths: BigUint = states * 10u32 / mounts;
    let (whole, tenth): (BigUint, BigUint) = (&tenths / 10u32, tenths % 10u32);
    if whole < BigUint::from(1000u32) { format!("{whole}.{tenth}") } else { reporters::count(&whole) }
}
