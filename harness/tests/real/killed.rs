//! A program that is really killed leaves what one of the points of its whole run says.

use std::collections::BTreeMap;

use engine::spec::Crash;
use program::{KilledFiles, Kind, RelPath, Trace, Tree, kill_points};
use report::Verdict;

use crate::support::{options, run, workloads};

/// Does what programs do to files, in as many steps as it is told, and kills itself.
const PROGRAM: &str = r#"
import os, signal, sys
steps = iter(range(int(sys.argv[1])))
def step(value=None):
    if next(steps, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return value
file = step(os.open("new", os.O_WRONLY | os.O_CREAT))
step(os.write(file, b"n" * 10000))
step(os.pwrite(file, b"m" * 300, 4000))
buffered = step(open("log", "w"))
buffered.write("in a buffer\n")
step(os.link("new", "second"))
step(os.rename("new", "config"))
step(os.ftruncate(file, 5000))
step(os.mkdir("d"))
step(os.rename("second", "d/moved"))
step(os.unlink("old"))
step(buffered.flush())
step()
"#;

fn record(steps: usize) -> Trace {
    let directory = tempfile::tempdir().unwrap();
    for name in ["config", "old"] {
        std::fs::write(directory.path().join(name), "old").unwrap();
    }
    let command = ["python3", "-c", PROGRAM, &steps.to_string()];
    let trace = record::record(&record::RecordSpec::new(command, directory.path())).unwrap();
    assert_eq!(trace.limits, []);
    trace
}

fn contents(tree: &Tree) -> BTreeMap<RelPath, Kind> {
    tree.0.iter().map(|(path, node)| (path.clone(), node.kind.clone())).collect()
}

#[test]
fn each_real_kill_is_one_of_the_points_in_order() {
    let whole = record(1000);
    assert_eq!(record::exit_status(&whole), Some(0));
    let mut files = KilledFiles::new(&whole);
    let all: Vec<_> = kill_points(&whole).into_iter().map(|point| contents(&files.at(point).unwrap())).collect();
    let mut at = 0;
    for steps in 0..12 {
        let killed = record(steps);
        assert_eq!(record::exit_status(&killed), Some(128 + 9));
        let found = contents(&killed.after);
        let next = all[at..].iter().position(|point| *point == found);
        at += next.unwrap_or_else(|| panic!("killed after {steps} steps it left {found:?}"));
    }
    assert_eq!(all.last(), Some(&contents(&whole.after)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_is_lost_without_any_machine() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&["ext4"]);
    options.spec.crash = Crash::Process;
    let names = ["buffered_flush", "buffered_no_flush", "fsync_replace_py", "overwrite_in_place"];
    let report = run(&workloads(&names), &options, directory.path()).await.report;
    assert_eq!(report.cells, []);
    let verdicts: Vec<Verdict> = report.process_crashes.iter().map(|killed| killed.verdict()).collect();
    // The name that is overwritten in place lies across the end of a page.
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Violation, Verdict::Pass, Verdict::Violation]);
    let [lost] = report.process_crashes[1].violations.as_slice() else { panic!("{:?}", report.process_crashes[1]) };
    assert_eq!((lost.kind, lost.path.as_str()), (checker::Kind::Empty, "settings"));
    assert_eq!(report::read_report(directory.path()).unwrap(), report);
}
