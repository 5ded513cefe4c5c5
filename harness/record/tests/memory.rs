//! How much the recorder holds of a program: a test binary of its own, since memory is measured of a whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Run, spec};
use program::{Call, Trace};
use record::{RecordError, RecordSpec, record};

const MIB: u64 = 1 << 20;

fn shell(script: &str, data_limit: u64) -> Result<Run, RecordError> {
    let directory = tempfile::tempdir().unwrap();
    let spec = RecordSpec { data_limit, ..spec(["sh", "-c", script], directory.path()) };
    record(&spec).map(|trace| Run { trace, directory })
}

fn refusal(script: &str, data_limit: u64) -> String {
    match shell(script, data_limit) {
        Ok(run) => panic!("recorded: {}", run.text()),
        Err(error) => error.to_string(),
    }
}

/// The most memory that this process had since the last call, bytes: proc(5), `VmHWM`, and `clear_refs`.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn written(trace: &Trace) -> usize {
    let data = trace.ops.iter().map(|op| if let Call::Write { data, .. } = &op.call { data.len() } else { 0 });
    data.sum()
}

/// All in one test: nothing else may take memory meanwhile.
#[test]
fn a_program_that_does_not_stop_is_stopped_and_takes_no_memory() {
    let start = Instant::now();
    // Up to the limit everything is there.
    let run = shell("head -c 1000000 /dev/zero > f; head -c 48576 /dev/zero", MIB).unwrap();
    assert_eq!((written(&run.trace), run.lines("ack").is_empty()), (1_000_000, false));
    run.expect_complete();
    let refused = refusal("head -c 1000000 /dev/zero > f; head -c 48577 /dev/zero", MIB);
    let told = "more than the 1.0 MiB that a recording can hold, and was killed: have it write and print less";
    assert_eq!(refused, format!("it wrote 976 KiB to files and 47 KiB to its output and to sockets, {told}"));

    peak();
    let before = peak();
    for script in [
        "yes > f",
        "yes",
        "yes >&2",
        // As a shell, which makes one call for each line.
        "while :; do echo line; done",
        // More with one call than is held in memory.
        "dd if=/dev/zero of=f bs=100M count=1",
        "dd if=/dev/zero of=f bs=100M oflag=direct count=1",
    ] {
        let refused = refusal(script, if script.starts_with("while") { MIB / 8 } else { 64 * MIB });
        assert!(refused.contains("that a recording can hold"), "{script}: {refused}");
        let most = peak().saturating_sub(before);
        assert!(most < 16 * MIB, "{script}: {most} bytes");
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}
