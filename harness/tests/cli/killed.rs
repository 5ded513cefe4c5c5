//! A run that is killed with SIGKILL, at any moment, and gone on with: nothing is lost, nothing is left behind.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Place, on_uml, shown, signal, uml, wait};

/// How many kills: usually, and in `scripts/test --full`.
const KILLS: (usize, usize) = (3, 100);
/// A run is left to come to its end after so many.
const IN_A_ROW: usize = 10;

#[test]
fn killed_and_gone_on_with() {
    if !uml() {
        return;
    }
    let wanted = testkit::rounds(KILLS.0, KILLS.1);
    let place = Place::new();
    let script = "echo x > f; echo saved";
    let begin = |out| on_uml(&["--recovery-crashes", "--format=json", "--out", out, "--", "sh", "-c", script]);
    let start = Instant::now();
    let undisturbed = place.run(&begin("undisturbed"));
    let took = start.elapsed();
    assert_eq!(undisturbed.status, 1, "{}", undisturbed.stderr);
    let (mut kills, mut runs, mut seed) = (0, 0, 0u64);
    while kills < wanted {
        runs += 1;
        let _ = fs::remove_dir_all(place.path("killed"));
        for _ in 0..IN_A_ROW.min(wanted - kills) {
            let begun = place.path("killed/run.json").exists();
            let arguments = if begun { vec!["run", "--resume", "killed", "--format=json"] } else { begin("killed") };
            let mut child = place.command(&arguments).spawn().unwrap();
            // From at once to when it should be over: Knuth's numbers (MMIX) are no chance, and nobody aims with them.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let delay = took.mul_f64((seed >> 40) as f64 / f64::from(1 << 24));
            std::thread::sleep(delay.min(Duration::from_secs(20)));
            if child.try_wait().unwrap().is_none() {
                signal(&child, "KILL");
            }
            kills += usize::from(shown(child.wait().unwrap()) == 128 + 9);
            wait("guests to end", || place.guests().is_empty());
        }
        let begun = place.path("killed/run.json").exists();
        let arguments = if begun { vec!["run", "--resume", "killed", "--format=json"] } else { begin("killed") };
        let ended = place.run(&arguments);
        assert_eq!((ended.status, &ended.stdout), (1, &undisturbed.stdout), "{}", ended.stderr);
        let file = |run: &str, name: &str| fs::read_to_string(place.path(run).join(name)).unwrap();
        assert_eq!(file("killed", "report.json"), file("undisturbed", "report.json"));
        assert_eq!(file("killed", "matrix.md"), file("undisturbed", "matrix.md"));
        let names = |run: &str| {
            let names = fs::read_dir(place.path(run)).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        // No file that was not yet whole, and none missing.
        assert_eq!(names("killed"), names("undisturbed"));
        // Neither guests nor directories for temporary files.
        assert_eq!(place.left(), Vec::<String>::new());
    }
    println!("killed {kills} times in {runs} runs, each gone on with: the same report, nothing left behind");
}
