//! What `scripts/bench` runs: measures the harness on the machine at hand, and prints the figures beside their aims.
//!
//! Every ratio is of figures from one run, taken in turns, so that what else the machine does falls on all of them.
//! Nothing is asserted: a slow machine is no defect.

mod first;
mod limit;
mod processes;
mod recorder;
mod sample;
mod speed;
mod states;
mod workers;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// How often everything is measured.
    rounds: usize,
    /// Each exploration is repeated for at least this long, seconds.
    seconds: f64,
    /// Mounts in each run that is measured with one worker and with two.
    mounts: u64,
    /// Injections in the workloads whose states are counted.
    schedules: u32,
    /// Whether the very first run, with its build, is measured too.
    cold: bool,
}

const FULL: Effort = Effort { rounds: 5, seconds: 2.0, mounts: 8000, schedules: 1, cold: true };
const QUICK: Effort = Effort { rounds: 3, seconds: 0.5, mounts: 1000, schedules: 0, cold: false };

/// Where things are.
struct Places {
    /// The checkout.
    root: PathBuf,
    /// The harness.
    harness: PathBuf,
    /// `many_calls`, an example of the recorder's crate.
    many_calls: PathBuf,
}

impl Places {
    /// Examples lie in `examples` beside the binaries.
    fn find() -> Outcome<Self> {
        let own = std::env::current_exe()?;
        let examples = own.parent().unwrap_or(Path::new("."));
        let places = Self {
            root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?,
            harness: examples.join("../harness"),
            many_calls: examples.join("many_calls"),
        };
        for program in [&places.harness, &places.many_calls] {
            if !program.is_file() {
                return Err(format!("{} is not built: run scripts/bench, which builds it", program.display()).into());
            }
        }
        Ok(places)
    }

    fn workload(&self, name: &str) -> PathBuf {
        self.root.join("workloads").join(name)
    }
}

fn main() -> ExitCode {
    let effort = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => FULL,
        [quick] if quick == "--quick" => QUICK,
        _ => {
            eprintln!("usage: scripts/bench [--quick]");
            return ExitCode::from(2);
        }
    };
    match measure(effort) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(effort: Effort) -> Outcome<()> {
    let places = Places::find()?;
    let runtime = tokio::runtime::Runtime::new()?;
    println!("{}", sample::machine());
    println!("Figures are medians of {} turns, with (least to most).", effort.rounds);
    runtime.block_on(speed::measure(&places, effort))?;
    runtime.block_on(workers::measure(&places, effort))?;
    drop(runtime);
    states::count(&places, effort)?;
    recorder::measure(&places, effort)?;
    first::measure(&places, effort)
}
