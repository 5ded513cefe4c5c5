//! Reports with one of everything, for this crate's tests.

use checker::{Record, Wanted};
use num_bigint::BigUint;
use program::Limit;

use crate::{
    Asked, CellId, CellReport, CrashStates, Durable, Event, Explored, Killed, Losses, OpRef, ProcessReport,
    ProcessViolation, ProgressReport, Reach, Report, Schedules, Tear, ViolationReport, WriteRef,
};

pub fn id(fs: &str) -> CellId {
    let (fs, mount_options) = fs.split_once(':').unwrap_or((fs, ""));
    CellId {
        workload: "naive_config".into(),
        fs: fs.into(),
        mount_options: mount_options.into(),
        mkfs_options: String::new(),
    }
}

/// A cell in which everything holds.
pub fn cell(fs: &str) -> CellReport {
    CellReport {
        id: id(fs),
        vm: "uml".into(),
        kernel: "6.1.0".into(),
        schedules: Schedules { explored: 3, new: 2, total: 3 },
        crash_states: CrashStates { allowed: 1204u32.into(), covered: 1204u32.into(), mounts: 96 },
        reach: None,
        durable_after_exit: Durable::Yes,
        violations: vec![],
        not_durable: vec![],
        weaknesses: vec![],
        warnings: vec![],
        limits: vec![],
        failure: None,
        notes: vec![],
    }
}

pub fn violation() -> ViolationReport {
    let rename = OpRef { index: 4, text: "rename(\"config.tmp\", \"config.json\")".into() };
    let write = OpRef { index: 2, text: "write(\"config.tmp\", 10,000 bytes)".into() };
    let lost =
        (0..8).map(|n| WriteRef { write: format!("4,096 bytes at sector {}", 512 + 8 * n), op: Some(write.clone()) });
    ViolationReport {
        invariant: "atomic-replace".into(),
        kind: checker::Kind::Empty,
        path: "config.json".into(),
        states: 332u32.into(),
        token: "cc1-7f3k-9a".into(),
        after_op: Some(rename),
        after_op_latest: Some(OpRef { index: 6, text: "exit 0".into() }),
        lost: lost.collect(),
        kept: vec![WriteRef { write: "12,288 bytes at sector 1,040: journal".into(), op: None }],
        unwritten: vec![],
        observed: "0 bytes".into(),
        schedule: "commit after op 4".into(),
        reason: Some("no fsync of config.tmp between its last write (op 2) and op 4 (rename)".into()),
        acks: vec!["stdout: saved\u{1b}[0m\n".into()],
        acks_left_out: 0,
        promised: None,
        cause: None,
        output: None,
        old: Some("9,000 bytes, \"old\" …".into()),
        new: Some("10,000 bytes, \"new\" …".into()),
    }
}

/// The least that a violation can hold.
pub fn bare_violation() -> ViolationReport {
    ViolationReport {
        invariant: "durable-after exit".into(),
        kind: checker::Kind::Stale,
        path: "config.json".into(),
        states: BigUint::from(1u32),
        token: "cc1-2".into(),
        after_op: None,
        after_op_latest: None,
        lost: vec![],
        kept: vec![],
        unwritten: vec![],
        observed: "9,000 bytes, version 0".into(),
        schedule: "none".into(),
        reason: None,
        acks: vec![],
        acks_left_out: 0,
        promised: None,
        cause: None,
        output: None,
        old: None,
        new: None,
    }
}

pub fn violated(fs: &str) -> CellReport {
    CellReport { violations: vec![violation()], durable_after_exit: Durable::No, ..cell(fs) }
}

pub fn incomplete(fs: &str) -> CellReport {
    let allowed = BigUint::from(1u32) << 256;
    CellReport {
        crash_states: CrashStates { covered: &allowed / 3u32, allowed, mounts: 5000 },
        schedules: Schedules { explored: 3, new: 3, total: 12 },
        reach: Some(Reach {
            executed: 12,
            by_losses: [(24, 24), (3072, 3072), (196_608, 25_000)]
                .into_iter()
                .zip(0..)
                .map(|((allowed, covered), writes): ((u32, u32), u32)| Losses {
                    writes,
                    allowed: allowed.into(),
                    covered: covered.into(),
                })
                .collect(),
        }),
        durable_after_exit: Durable::Unknown,
        notes: vec!["the budget of 5000 mounts ran out".into()],
        ..cell(fs)
    }
}

pub fn invalid(fs: &str) -> CellReport {
    let limit = Limit { call: "mmap".into(), detail: "shared mapping of data.db".into(), count: 2 };
    CellReport { limits: vec![limit], durable_after_exit: Durable::Unknown, ..cell(fs) }
}

pub fn failed(fs: &str) -> CellReport {
    CellReport {
        failure: Some("the guest's kernel has no such file system".into()),
        schedules: Schedules::default(),
        crash_states: CrashStates::default(),
        durable_after_exit: Durable::Unknown,
        ..cell(fs)
    }
}

/// A program that can be killed at any point.
pub fn killed(workload: &str) -> ProcessReport {
    ProcessReport {
        workload: workload.into(),
        states: 2048,
        violations: vec![],
        limits: vec![],
        failure: None,
        notes: vec![],
    }
}

pub fn killed_and_violated(workload: &str) -> ProcessReport {
    let violation = violation();
    let write = OpRef { index: 2, text: "write(\"config.json\", 10,000 bytes)".into() };
    let violation = ProcessViolation {
        invariant: violation.invariant,
        kind: checker::Kind::WrongLength,
        path: violation.path,
        states: 3,
        killed: Killed { op: Some(write), written: Some(4096) },
        observed: "4,096 bytes".into(),
        acks: violation.acks,
        acks_left_out: 0,
        promised: None,
        cause: None,
        output: None,
        old: violation.old,
        new: violation.new,
    };
    ProcessReport { violations: vec![violation], ..killed(workload) }
}

/// The same as [`report`], and programs that are killed: one holds, one does not, one cannot be judged.
pub fn with_process_crashes() -> Report {
    let failed = ProcessReport { failure: Some("op 3 cannot be followed".into()), ..killed("odd_config") };
    let outside = "/etc/odd was written outside the workload's directory: not tested".into();
    let holds = ProcessReport { notes: vec![outside], ..killed("safe_config") };
    let killed = vec![killed_and_violated("naive_config"), holds, failed];
    Report::with_process_crashes(report().cells, killed)
}

/// What is explored unless something else is asked for.
pub fn explored() -> Explored {
    Explored {
        disk: "writeback".into(),
        tear: Tear::One,
        sector: 512,
        fua: true,
        schedules: 1,
        set: 2,
        recovery_crashes: false,
        others: Default::default(),
    }
}

/// Two workloads; every verdict.
pub fn report() -> Report {
    let other = |mut cell: CellReport| {
        cell.id.workload = "safe_config".into();
        cell
    };
    let weakness = ViolationReport {
        invariant: "mountable".into(),
        kind: checker::Kind::Unmountable,
        path: ".".into(),
        ..bare_violation()
    };
    let leftover = ViolationReport {
        invariant: "no-leftovers".into(),
        kind: checker::Kind::Leftover,
        path: "config.tmp".into(),
        ..bare_violation()
    };
    let not_durable = CellReport {
        not_durable: vec![bare_violation()],
        weaknesses: vec![weakness],
        warnings: vec![leftover],
        durable_after_exit: Durable::No,
        ..cell("xfs")
    };
    let cells = vec![
        violated("ext4:noauto_da_alloc"),
        incomplete("xfs"),
        invalid("btrfs"),
        other(cell("ext4:noauto_da_alloc")),
        other(not_durable),
        other(failed("f2fs")),
    ];
    let config = Wanted::AtomicReplace { path: "config.json".into() };
    let log = Wanted::AppendOnly { path: "log".into(), record: Some(Record::Line), garbage_tail: None };
    let check = Some(vec!["python3".into(), "{workload}/check.py".into()]);
    let asked = vec![
        Asked { workload: "naive_config".into(), invariants: vec![config, log], check: None },
        Asked { workload: "safe_config".into(), invariants: vec![], check },
    ];
    Report { explored: Some(explored()), asked, ..Report::new(cells) }
}

/// A cell after so many schedules.
pub fn progress(cell: &CellReport, done: u64) -> ProgressReport {
    ProgressReport {
        schedules_done: done,
        schedules_total: cell.schedules.total,
        states_covered: &cell.crash_states.covered * done / cell.schedules.total.max(1),
        states_allowed: cell.crash_states.allowed.clone(),
        mounts: done * 8,
        violations: cell.violations.len(),
    }
}

/// Every kind of event.
pub fn events() -> Vec<Event> {
    let report = report();
    let mut events = vec![Event::RunStarted { cells: report.cells.iter().map(|cell| cell.id.clone()).collect() }];
    events.push(Event::Note { cell: None, text: "recorded 7 ops of ./save config.json".into() });
    events.push(Event::Warning { cell: None, text: "the command also wrote /tmp/x, which is not tested".into() });
    for cell in &report.cells {
        events.push(Event::CellStarted { cell: cell.id.clone(), vm: cell.vm.clone() });
        for done in 0..=cell.schedules.explored {
            events.push(Event::Progress { cell: cell.id.clone(), progress: progress(cell, done) });
        }
        for violation in &cell.violations {
            events.push(Event::ViolationFound { cell: cell.id.clone(), violation: Box::new(violation.clone()) });
        }
        events.push(Event::Note { cell: Some(cell.id.clone()), text: "clean mounts take 1 ms".into() });
        events.push(Event::CellFinished(Box::new(cell.clone())));
    }
    events.push(Event::RunFinished(report));
    events
}
