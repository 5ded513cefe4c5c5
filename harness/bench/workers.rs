//! What a second worker is worth.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use engine::run::{Options, run};
use engine::spec::{Budget, RunSpec, Tear};
use filesystems::Filesystem;
use report::Event;
use vm::{Choice, Limits, Paths};
use workload::Workload;

use crate::sample::{Samples, print_table};
use crate::{Effort, Outcome, Places};

/// Torn in every way, it has more states than are looked at here.
const WORKLOAD: &str = "naive_config";

/// The same run with one worker and with two, in turns.
pub async fn measure(places: &Places, effort: Effort) -> Outcome<()> {
    if vm::program(&["linux.uml"]).is_none() {
        println!("workers: skipped, because linux.uml is not installed");
        return Ok(());
    }
    let workload = Workload::load(&places.workload(WORKLOAD))?;
    let (mut one, mut two, mut gain) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..effort.rounds {
        let alone = rate(&workload, 1, effort.mounts).await?;
        let both = rate(&workload, 2, effort.mounts).await?;
        one.push(alone);
        two.push(both);
        gain.push(both / alone);
    }
    let rows = vec![vec![one.shown(0), two.shown(0), gain.shown(2), "≥ 1.8".into()]];
    let heading = format!(
        "Classes per second of a run on User Mode Linux, {WORKLOAD} on ext4, --tear any, --budget {}mounts.\n\
         From when the executions are done: guests that boot, and executions, are not in it.",
        effort.mounts
    );
    print_table(&heading, &["-j 1", "-j 2", "-j 2 ÷ -j 1", "aim"], rows);
    Ok(())
}

/// Classes per second of the part of a run that only explores. With a budget of mounts nothing is explored before all
/// schedules are replayed; so this is all from the first report of progress that counts a mount.
async fn rate(workload: &Workload, workers: usize, mounts: u64) -> Outcome<f64> {
    let results = tempfile::tempdir()?;
    let options = Options {
        spec: RunSpec {
            filesystems: vec![Filesystem::from(&filesystems::EXT4)],
            tear: Tear::Any,
            budget: Budget { time: None, mounts: Some(mounts) },
            ..RunSpec::default()
        },
        vm: Choice::Uml,
        workers,
        limits: Limits::default(),
        recordings: 1,
    };
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let watch = tokio::spawn(async move {
        let mut first = None;
        while let Some(event) = events.recv().await {
            match (event, first) {
                (Event::Progress { progress, .. }, None) if progress.mounts > 0 => {
                    first = Some((Instant::now(), progress.mounts));
                }
                (Event::CellFinished(cell), Some((start, mounts))) => {
                    return Some((cell.crash_states.mounts - mounts) as f64 / start.elapsed().as_secs_f64());
                }
                _ => {}
            }
        }
        None
    });
    let stop = Arc::new(AtomicBool::new(false));
    let directory = |_: &str| results.path().to_owned();
    run(std::slice::from_ref(workload), &options, &Paths::from_environment(), &stop, sender, directory).await?;
    Ok(watch.await?.ok_or("the run was over before it told how far it was")?)
}
