//! How long the first command takes, and how long it takes from then on.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::sample::{Samples, print_table};
use crate::{Effort, Outcome, Places};

/// `scripts/harness run workloads/naive_config`, cold and warm, and the same without the script, on User Mode Linux.
pub fn measure(places: &Places, effort: Effort) -> Outcome<()> {
    let mut rows = Vec::new();
    if effort.cold {
        let cold = cold(&places.root)?;
        rows.push(vec!["scripts/harness, cold".into(), format!("{cold:.0}"), String::new()]);
    }
    let script = places.root.join("scripts/harness");
    let program = [places.harness.as_path()];
    let uml = vm::program(&["linux.uml"]).is_some();
    let (mut warm, mut direct) = (Samples::default(), Samples::default());
    // The script builds what is not built: not measured.
    run(&mut harness(&[Path::new("bash"), &script], &places.root, &[]))?;
    for _ in 0..effort.rounds {
        warm.push(run(&mut harness(&[Path::new("bash"), &script], &places.root, &[]))?);
        if uml {
            direct.push(run(&mut harness(&program, &places.root, &["--vm", "uml"]))?);
        }
    }
    rows.push(vec!["scripts/harness, warm".into(), warm.shown(1), String::new()]);
    if uml {
        rows.push(vec!["harness --vm uml".into(), direct.shown(1), "≤ 15".into()]);
    }
    print_table(
        "Seconds that `run workloads/naive_config` takes: ext4, xfs and btrfs, every single injection.\n\
         Cold: in a fresh clone of the last commit, with the build of the harness and the unpacking of the guest kernel, \
         with empty target and cache directories; cargo's downloads are there.",
        &["command", "seconds", "aim"],
        rows,
    );
    if !uml {
        println!("harness --vm uml: skipped, because linux.uml is not installed");
    }
    Ok(())
}

/// `PROGRAM run workloads/naive_config OPTIONS`, in `directory`, with its results thrown away.
fn harness(program: &[&Path], directory: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(["run", "workloads/naive_config"]).args(options).current_dir(directory);
    command
}

/// Seconds that a run takes. It is to find violations: status 1.
fn run(command: &mut Command) -> Outcome<f64> {
    let results = tempfile::tempdir()?;
    command.arg("--out").arg(results.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = command.output()?;
    let seconds = start.elapsed().as_secs_f64();
    if output.status.code() != Some(1) {
        return Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(seconds)
}

/// The first command of someone who has just cloned the project.
fn cold(root: &Path) -> Outcome<f64> {
    let place = tempfile::tempdir()?;
    let clone = place.path().join("clone");
    let mut git = Command::new("git");
    let output = git.args(["clone", "--quiet"]).arg(root).arg(&clone).output()?;
    if !output.status.success() {
        return Err(format!("{git:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let mut command = harness(&[Path::new("bash"), Path::new("scripts/harness")], &clone, &[]);
    command.env("CARGO_TARGET_DIR", place.path().join("target"));
    command.env("XDG_CACHE_HOME", place.path().join("cache")).env_remove("HARNESS_KERNELS");
    run(&mut command)
}
