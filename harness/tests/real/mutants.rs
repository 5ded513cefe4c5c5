//! No sync of a right program is for show: where one is left out, a crash state breaks what the program wants, or the
//! kernel's source says why there is no such state.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::run::{Options, run_recorded};
use engine::store::Store;
use engine::subject::{Bounds, Demands, Judges, Subject};
use program::{Call, RelPath, Target, Trace, Unsynced, Vfs};
use report::Event;
use vm::Paths;
use workload::Workload;

use crate::spared::spared;
use testkit::is_full;

use crate::support::{options, uml, workloads};

/// The programs that hold ([`crate::variants`]).
const RIGHT: [&str; 12] = [
    "durable_replace",
    "fsync_replace_py",
    "append_log",
    "checksummed_log",
    "segmented_log",
    "wal_cut",
    "mkdir_tree",
    "link_unlink_swap",
    "rename_exchange",
    "o_tmpfile_linkat",
    "undo_log",
    "redo_log",
];

/// Programs that people trust, each a workload below `databases/`, and the program that it needs. Only in full runs: some take
/// many minutes. The others there take hours on one file system, and are run by hand, with a budget.
const DATABASES: [(&str, &str); 5] = [
    ("sqlite_delete", "python3"),
    ("sqlite_wal", "python3"),
    ("lmdb", "python3"),
    ("git", "git"),
    ("redis", "redis-server"),
];

/// Those of them that are here, or the one that `HARNESS_DATABASE` names.
fn databases() -> Vec<Workload> {
    let only = std::env::var("HARNESS_DATABASE").ok();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/real/databases");
    let chosen = DATABASES.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name));
    let given = chosen.filter(|(_, program)| testkit::have(program));
    given.map(|(name, _)| Workload::load(&here.join(name)).unwrap()).collect()
}

/// Those that are looked at in an ordinary run: a few mounts show what is wrong.
const QUICK: [&str; 2] = ["durable_replace", "append_log"];

/// A trace with one sync left out.
struct Mutant {
    /// The op that is missing, or that waits no more.
    op: usize,
    /// What it was: `fsync of settings.json.tmp`.
    sync: String,
    trace: Trace,
}

/// Every trace that lacks one sync of this one.
fn mutants(trace: &Trace) -> Vec<Mutant> {
    let mut vfs = Vfs::new(&trace.before);
    let mut mutants = Vec::new();
    for (index, op) in trace.ops.iter().enumerate() {
        let name = |target: &Target| {
            let inode = vfs.inode_of(target);
            let names = inode.map(|inode| vfs.names(inode)).unwrap_or_default();
            match names.first() {
                Some(path) => path.to_string(),
                None if inode == vfs.inode_of(&Target::Path(RelPath::root())) => "the directory".to_owned(),
                None => "a file without a name".to_owned(),
            }
        };
        let of = |handle: &_| format!("{} of {}", op.syscall, name(&Target::Handle(*handle)));
        if let Some(left) = op.call.without_sync() {
            let sync = match &op.call {
                Call::Open { path, .. } => format!("synchronous {} of {path}", op.syscall),
                Call::Write { handle, .. } => format!("synchronous {}", of(handle)),
                Call::SyncRange { handle, .. }
                | Call::Fsync { handle }
                | Call::Fdatasync { handle }
                | Call::Msync { handle, .. }
                | Call::SyncFs { handle } => of(handle),
                _ => op.syscall.clone(),
            };
            let mut other = trace.clone();
            match left {
                Unsynced::Nothing => drop(other.ops.remove(index)),
                Unsynced::Call(call) => other.ops[index].call = call,
            }
            mutants.push(Mutant { op: index, sync, trace: other });
        }
        if op.result >= 0 {
            vfs.apply(&op.call).unwrap();
        }
    }
    mutants
}

/// What `harness run` finds fault with on one file system, and after how many mounts: it is stopped once it does.
async fn fault(workload: &Workload, trace: Trace, kind: &str) -> (Option<String>, u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let judges = Judges::of(workload, &trace, &stop).unwrap();
    let bounds = Bounds { injections: 1, ..Bounds::default() };
    let demands = Demands::of(workload);
    let subject = Subject::new(workload.name.clone(), demands, trace, bounds, judges).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let place = |_: &str| -> PathBuf { directory.path().into() };
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let listening = tokio::spawn({
        let stop = stop.clone();
        async move {
            while let Some(event) = events.recv().await {
                if matches!(event, Event::ViolationFound { .. }) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    });
    let options = Options { workers: 1, ..options(&[kind]) };
    let subjects = vec![Arc::new(subject)];
    let finished = run_recorded(subjects, &options, &Paths::from_environment(), &stop, sender, place).await.unwrap();
    listening.await.unwrap();
    let [cell] = &finished.report.cells[..] else { panic!("one cell was asked for") };
    assert_eq!(cell.failure, None);
    let fault = cell.violations.first().map(|violation| reporters::sentences::observed(&violation.observed));
    assert!(fault.is_some() || cell.exhaustive(), "{}", cell.id);
    (fault, cell.crash_states.mounts)
}

async fn each_sync_is_needed_or_spared(kind: &str) {
    if uml().is_none() {
        return;
    }
    let names = if is_full() { RIGHT.as_slice() } else { QUICK.as_slice() };
    let recorded = |workload: Workload| {
        let stop = Arc::new(AtomicBool::new(false));
        let recorded = Subject::record(&workload, Bounds::default(), Default::default(), &stop).unwrap();
        (workload, recorded.trace)
    };
    let all: Vec<_> = workloads(names).into_iter().map(recorded).collect();
    each_of_these(&all, kind).await;
}

async fn each_of_these(all: &[(Workload, Trace)], kind: &str) {
    let mut wrong = Vec::new();
    for (workload, trace) in all {
        for Mutant { op, sync, trace } in mutants(trace) {
            let text = format!("{} on {kind} without op {op} ({sync})", workload.name);
            let (fault, mounts) = fault(workload, trace, kind).await;
            let reason = spared(&workload.name, op, kind);
            let shown = fault.as_deref().or(reason).unwrap_or("nothing is found");
            eprintln!("{text}: {mounts} mounts: {shown}");
            match (fault.is_some(), reason.is_some()) {
                (true, false) | (false, true) => {}
                (true, true) => wrong.push(format!("{text}: is caught, and stands in the list of what is not")),
                (false, false) => wrong.push(format!("{text}: nothing is found")),
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sync_is_needed_or_spared_on_ext4() {
    each_sync_is_needed_or_spared("ext4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sync_is_needed_or_spared_on_xfs() {
    each_sync_is_needed_or_spared("xfs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sync_is_needed_or_spared_on_btrfs() {
    each_sync_is_needed_or_spared("btrfs").await;
}

/// As they are, they hold; and no sync of theirs is for show.
async fn databases_hold_and_need_their_syncs(kind: &str) {
    if uml().is_none() || !is_full() {
        return;
    }
    for workload in databases() {
        let directory = tempfile::tempdir().unwrap();
        // By the binary: it is also what starts servers.
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_harness"));
        command.args(["run", "--vm", "uml", "--budget", "none", "--fs", kind, "--out"]).arg(directory.path());
        let ran = command.arg(workload.directory.as_deref().unwrap()).output().unwrap();
        let printed = String::from_utf8_lossy(&ran.stderr);
        let report = report::read_report(directory.path()).unwrap_or_else(|error| panic!("{error}: {printed}"));
        let [cell] = &report.cells[..] else { panic!("one cell was asked for") };
        eprintln!("{}: {}, {:?}", cell.id, cell.verdict(), cell.crash_states);
        assert_eq!((&cell.failure, cell.violations.len()), (&None, 0), "{} {:?}", cell.id, cell.violations);
        let trace = Store::open(directory.path()).unwrap().trace(0).unwrap();
        each_of_these(&[(workload, trace)], kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_hold_and_need_their_syncs_on_ext4() {
    databases_hold_and_need_their_syncs("ext4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_hold_and_need_their_syncs_on_xfs() {
    databases_hold_and_need_their_syncs("xfs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_hold_and_need_their_syncs_on_btrfs() {
    databases_hold_and_need_their_syncs("btrfs").await;
}
