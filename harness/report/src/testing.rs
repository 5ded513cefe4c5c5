//! Reports with one of everything, for tests.

use std::collections::BTreeSet;

use checker::{ContentSummary, Description, Format, Hint, Observed, Record, Unjudged, Wanted, Why};
use num_bigint::BigUint;
use program::{Limit, OpId};

use crate::{
    AckRef, Asked, BlockContent, BlockWrite, CellId, CellReport, CrashStates, Durable, EndingReport, Event, Explored,
    InjectedReport, InjectionReport, Killed, KnownSchedule, Losses, Note, OpShown, Ops, ProcessReport,
    ProcessViolation, ProgressReport, Promised, Reach, Report, ScheduleReport, Schedules, Tear, TornWrite,
    ViolationReport, WorkReport, WriteCause, WriteReport, WrittenBack,
};

/// A cell's name, with its file system as `--fs` takes it.
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
        unjudged: vec![],
        unmodelled_calls: vec![],
        failure: None,
        notes: vec![],
    }
}

/// Words as reports of older versions have them, and what they do not have.
pub fn violation() -> ViolationReport {
    let lost = |n: u64| {
        let cause = WriteCause::Op { op: OpId(2) };
        WriteReport::Known(BlockWrite { sector: 512 + 8 * n, bytes: 4096, holds: None, cause, torn: None })
    };
    let hint = "no fsync of config.tmp between its last write (op 2) and op 4 (rename)";
    ViolationReport {
        invariant: "atomic-replace".into(),
        kind: checker::Kind::Empty,
        path: "config.json".into(),
        states: 332u32.into(),
        token: "cc1-7f3k-9a".into(),
        after_op: Some(OpId(4)),
        after_op_latest: Some(OpId(6)),
        lost: (0..8).map(lost).collect(),
        kept: vec![WriteReport::Text { text: "12,288 bytes at sector 1,040: journal".into(), op: None }],
        unwritten: vec![],
        observed: Observed::Empty,
        schedule: ScheduleReport::Text { text: "commit after op 4".into() },
        hint: Some(Hint::Text { text: hint.into() }),
        acks: vec![AckRef::Text("stdout: saved\u{1b}[0m\n".into())],
        acks_left_out: 0,
        promised: None,
        cause: None,
        output: None,
        old: Some(text_file(9000, "old")),
        new: Some(text_file(10_000, "new")),
    }
}

fn text_file(size: u64, text: &str) -> Description {
    Description::File { size, content: ContentSummary::Text(text.into()) }
}

/// What a violation of this version holds, nothing of it in words.
pub fn known_violation() -> ViolationReport {
    let write = |holds, cause, torn| {
        WriteReport::Known(BlockWrite { sector: 1040, bytes: 12_288, holds: Some(holds), cause, torn })
    };
    let (path, op) = (String::from("config.tmp"), OpId(2));
    let work = || WorkReport::Writeback {
        file: WrittenBack::Path(path.clone()),
        up_to: None,
        from: Some(4096),
        under_way: true,
    };
    let after = InjectedReport::After { work: vec![work(), WorkReport::Commit] };
    let injections =
        vec![InjectionReport { op, what: after }, InjectionReport { op: OpId(4), what: InjectedReport::CommitDuring }];
    let schedule = KnownSchedule {
        injections,
        ending: EndingReport::CommitFirst,
        cold: true,
        still: false,
        fast_commits: true,
        recovery_crash: true,
    };
    let metadata = |label: Option<&str>| BlockContent::Metadata { label: label.map(str::to_owned) };
    let data = BlockContent::Data { path: path.clone(), byte: 8192 };
    let change = checker::NameChange::Rename { from: path.clone(), to: "config.json".into() };
    ViolationReport {
        lost: vec![write(data.clone(), WriteCause::Op { op }, None)],
        kept: vec![
            write(data.clone(), WriteCause::Background { work: work() }, Some(TornWrite::Head { kept: 512 })),
            write(metadata(Some("superblock")), WriteCause::AfterTheEnd, Some(TornWrite::Tail { lost: 1024 })),
            write(metadata(None), WriteCause::Background { work: WorkReport::Commit }, None),
            write(BlockContent::Zeros, WriteCause::Recovery, Some(TornWrite::Sectors { lost: 1536 })),
        ],
        observed: Observed::Stale { is: text_file(9000, "old"), promise: OpId(5), promised: Description::NoFile },
        schedule: ScheduleReport::Known(schedule),
        hint: Some(Hint::DataNotSynced { path, written: op, named: OpId(4), change, sync_range: Some(OpId(3)) }),
        acks: vec![AckRef::Op(OpId(5)), AckRef::Op(OpId(6))],
        promised: Some(Promised { ack: AckRef::Op(OpId(6)), before: 1 }),
        ..violation()
    }
}

/// The ops of the program that these violations are about.
pub fn ops(_workload: &str, ids: BTreeSet<OpId>) -> Ops {
    let write = "write(\"config.tmp\", 10,000 bytes)";
    shown(&["open", "open", write, "sync_file_range(3)", RENAME, "ack stdout \"saved\"", "exit 0"], ids)
}

const RENAME: &str = "rename(\"config.tmp\", \"config.json\")";

/// The ops of the program that is killed.
pub fn killed_ops(_workload: &str, ids: BTreeSet<OpId>) -> Ops {
    shown(&["open", "open", "write(\"config.json\", 10,000 bytes)", "", RENAME, "", "exit 0"], ids)
}

fn shown(calls: &[&str], ids: BTreeSet<OpId>) -> Ops {
    let shown = |id: OpId| {
        let call = (*calls.get(id.0)?).to_owned();
        let syscall = call.split_once('(').map(|(name, _)| name.to_owned());
        Some(OpShown { id, call, syscall, thread: Some(0) })
    };
    Ops::from(ids.into_iter().filter_map(shown).collect::<Vec<_>>())
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
        observed: Observed::Text { text: "9,000 bytes, version 0".into() },
        schedule: ScheduleReport::Text { text: "none".into() },
        hint: None,
        acks: vec![],
        acks_left_out: 0,
        promised: None,
        cause: None,
        output: None,
        old: None,
        new: None,
    }
}

/// A cell in which something does not.
pub fn violated(fs: &str) -> CellReport {
    CellReport { violations: vec![violation()], durable_after_exit: Durable::No, ..cell(fs) }
}

/// A cell that is not covered whole.
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
        notes: vec![Note::Text { text: "the budget of 5000 mounts ran out".into() }],
        ..cell(fs)
    }
}

/// A cell in which everything holds that can be judged.
pub fn unjudged(fs: &str) -> CellReport {
    let beside = Why::ChangedBeside { beside: Some("journal".into()), more: 1 };
    let all = [("data.db", beside), ("env/data.mdb", Why::Recovers { format: Format::Lmdb })];
    let unjudged = all.map(|(path, why)| Unjudged { path: path.into(), why });
    CellReport { unjudged: unjudged.to_vec(), ..cell(fs) }
}

/// A cell that the recorder could not follow.
pub fn invalid(fs: &str) -> CellReport {
    let limit = Limit { call: "mmap".into(), detail: "shared mapping of data.db".into(), count: 2 };
    CellReport { unmodelled_calls: vec![limit], durable_after_exit: Durable::Unknown, ..cell(fs) }
}

/// A cell that the harness could not judge by its own fault.
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
        unjudged: vec![],
        unmodelled_calls: vec![],
        failure: None,
        notes: vec![],
    }
}

/// A program in which something does not hold once it is killed.
pub fn killed_and_violated(workload: &str) -> ProcessReport {
    let violation = violation();
    let violation = ProcessViolation {
        invariant: violation.invariant,
        kind: checker::Kind::WrongLength,
        path: violation.path,
        states: 3,
        killed: Killed { op: Some(OpId(2)), written: Some(4096) },
        observed: Observed::Text { text: "4,096 bytes".into() },
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
    let outside = Note::WrittenOutside { path: "/etc/odd".into() };
    let holds = ProcessReport { notes: vec![outside], ..killed("safe_config") };
    let killed = vec![killed_and_violated("naive_config"), holds, failed];
    Report::with_process_crashes(report().cells, killed).with_ops(killed_ops)
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
        unjudged("f2fs"),
    ];
    let config = Wanted::AtomicReplace { path: "config.json".into() };
    let log = Wanted::AppendOnly { path: "log".into(), record: Some(Record::Line), garbage_tail: None };
    let check = Some(vec!["python3".into(), "{workload}/check.py".into()]);
    let asked = vec![
        Asked {
            workload: "naive_config".into(),
            invariants: vec![config, log],
            chosen: None,
            ignore: vec![],
            check: None,
            require_durable: false,
        },
        Asked {
            workload: "safe_config".into(),
            invariants: vec![],
            chosen: None,
            ignore: vec!["*.tmp".into()],
            check,
            require_durable: false,
        },
    ];
    Report { explored: Some(explored()), asked, ..Report::new(cells) }.with_ops(ops)
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
            let ops = ops(&cell.id.workload, violation.ops());
            events.push(Event::ViolationFound { cell: cell.id.clone(), violation: Box::new(violation.clone()), ops });
        }
        events.push(Event::Note { cell: Some(cell.id.clone()), text: "clean mounts take 1 ms".into() });
        events.push(Event::CellFinished(Box::new(cell.clone())));
    }
    events.push(Event::RunFinished(report));
    events
}
