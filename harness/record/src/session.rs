//! One recording from start to end: the recorder's thread, and beside it the supervisor.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::fstat;
use program::{Call, Channel, Ended, RefusedCall, Trace, unexplained};

use crate::kept::{Kept, OPS_LIMIT};
use crate::launch::{self, Output};
use crate::normalise::normalise;
use crate::recorder::{self, Cut, Recorded, Scene};
use crate::said::{self, said};
use crate::snapshot::{holes, snapshot, snapshot_after};
use crate::spec::FILLED_LIMIT;
use crate::supervise::{Printed, Shared, Stop, supervise};
use crate::{RecordError, RecordSpec, stop, temporary_names};

/// Runs the command of `spec` and writes down what it, and all that it starts, does to the files below the directory.
///
/// The program runs with the rights of this process, without a terminal, with `no_new_privs` (set-user-ID programs gain nothing) and
/// without core files. Descriptors of this process are not handed on. Calls that change or sync files never overlap: a thread that enters
/// one while another thread is inside one waits, so the order of [`Trace::ops`] is exact. Needs Linux 5.3 or later on x86-64, no privileges.
///
/// A program that fails is no error here: see [`exit_status`]. Processes that outlive the command are waited for.
pub fn record(spec: &RecordSpec) -> Result<Trace, RecordError> {
    if spec.command.first().is_none_or(|name| name.is_empty()) {
        return Err(RecordError::NoCommand);
    }
    let directory = |source| RecordError::Directory { path: spec.directory.clone(), source };
    let root = fs::canonicalize(&spec.directory).map_err(directory)?;
    let metadata = fs::metadata(&root).map_err(directory)?;
    if !metadata.is_dir() {
        return Err(directory(io::ErrorKind::NotADirectory.into()));
    }
    let before = snapshot(&root)?;
    let holes = holes(&root, &before)?;
    let (mut recorded, printed) = run(spec, &root, metadata.dev())?;
    if let Some(cut) = recorded.cut {
        return Err(cut_short(spec, recorded, printed, cut));
    }
    account(&mut recorded, printed).map_err(not_kept)?;
    let after = snapshot_after(&root, &before)?;
    let mut trace = Trace {
        command: spec.command.iter().map(|part| part.to_string_lossy().into_owned()).collect(),
        before,
        holes,
        ops: normalise(recorded.ops),
        after,
        limits: Vec::new(),
        outside: recorded.outside.into_iter().collect(),
        refused: recorded
            .refused
            .into_iter()
            .map(|(call, count)| RefusedCall { call: call.to_owned(), count })
            .collect(),
        explored_from: None,
    };
    temporary_names::number(&mut trace);
    for unmodelled in unexplained(&trace) {
        recorded.unmodelled.merge(unmodelled);
    }
    trace.limits = recorded.unmodelled.into_vec();
    Ok(trace)
}

/// How the recorded command ended, as a shell would show it: its exit status, or 128 + the signal that killed it.
pub fn exit_status(trace: &Trace) -> Option<i32> {
    trace.ops.iter().find_map(|op| match op.call {
        Call::Exit { status } => Some(status),
        _ => None,
    })
}

/// The same, with the two told apart.
pub fn ended(trace: &Trace) -> Option<Ended> {
    trace.ops.iter().find_map(Ended::of)
}

fn run(spec: &RecordSpec, root: &Path, device: u64) -> Result<(Recorded, Printed), RecordError> {
    let (stdout, stderr) = (Output::new()?, Output::new()?);
    let inode = |pipe: &OwnedFd| -> Result<u64, RecordError> {
        Ok(fstat(pipe).map_err(|error| RecordError::system("look at a pipe")(error.into()))?.st_ino)
    };
    let scene = Scene {
        root: root.to_path_buf(),
        // Paths that lead over links are shown as they are behind these.
        at: spec.at.iter().map(|path| fs::canonicalize(path).unwrap_or_else(|_| path.clone())).collect(),
        device,
        pipes: [inode(&stdout.reader)?, inode(&stderr.reader)?],
        io_uring: spec.io_uring,
        data_limit: spec.data_limit,
    };
    let done = Output::new()?;
    let shared = Shared::default();
    let writers = (stdout.writer, stderr.writer, done.writer);
    // Ptrace belongs to one thread: its own, so that nobody else's children get into its way.
    std::thread::scope(|scope| {
        let recorder = scope.spawn(|| trace_program(spec, &scene, &shared, writers));
        let printed = supervise(spec, &shared, stdout.reader, stderr.reader, &done.reader);
        let mut recorded = match recorder.join() {
            Ok(recorded) => recorded?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let printed = printed.map_err(RecordError::system("read what the program prints"))?;
        // It may have ended before the recorder noticed that something is missing.
        let late = shared.stop().filter(|stop| !matches!(stop, Stop::TimeOut | Stop::Cancelled));
        recorded.cut = recorded.cut.or(late.map(|stop| Cut { stop, who: "the command" }));
        Ok((recorded, printed))
    })
}

/// The recorder's thread. The last of the writers is closed at its end, which ends the supervisor.
fn trace_program(
    spec: &RecordSpec,
    scene: &Scene,
    shared: &Shared,
    (stdout, stderr, done): (OwnedFd, OwnedFd, OwnedFd),
) -> Result<Recorded, RecordError> {
    let bell = launch::bell()?;
    shared.set_bell(Some(bell));
    let recorded = launch::launch(spec, &scene.root, stdout.as_fd(), stderr.as_fd()).and_then(|launched| {
        drop((stdout, stderr));
        recorder::run(scene, shared, launched, bell)
    });
    shared.set_bell(None);
    stop::kill(bell);
    launch::reap(bell);
    drop(done);
    recorded
}

/// Why a recording that was cut short came to nothing.
fn cut_short(spec: &RecordSpec, recorded: Recorded, mut printed: Printed, cut: Cut) -> RecordError {
    let Recorded { mut ops, mut kept, .. } = recorded;
    match cut.stop {
        Stop::Cancelled => RecordError::Cancelled,
        Stop::TimeOut => {
            // What was copied to our own standard error need not be said twice.
            let filled = if spec.echo { Ok(()) } else { kept.fill_end(&mut ops, &mut printed, said::MOST) };
            let said = if spec.echo || filled.is_err() { String::new() } else { said(&ops) };
            RecordError::TimeOut { what: cut.who, limit: spec.time_limit, said }
        }
        Stop::TooMuchData => RecordError::TooMuchData {
            written: kept.written(),
            // Of what the recorder did not follow, only the pipes know.
            printed: kept.printed().max(printed.stdout.length() + printed.stderr.length()),
            limit: if kept.is_filled() { FILLED_LIMIT.min(spec.data_limit) } else { spec.data_limit },
            filled: kept.is_filled(),
        },
        Stop::TooManyCalls => RecordError::TooManyCalls { calls: ops.len(), limit: OPS_LIMIT },
        Stop::NotKept => {
            let failures = [kept.failure(), printed.stdout.failure(), printed.stderr.failure()];
            let failure = failures.into_iter().flatten().next();
            not_kept(failure.unwrap_or_else(|| io::ErrorKind::Other.into()))
        }
    }
}

fn not_kept(source: io::Error) -> RecordError {
    RecordError::System { what: "keep what the program writes and prints in a temporary file", source }
}

/// Compares the acks with what really came out of the pipes, and gives the ops their data.
fn account(recorded: &mut Recorded, mut printed: Printed) -> io::Result<()> {
    let streams =
        [("standard output", &printed.stdout, Channel::Stdout), ("standard error", &printed.stderr, Channel::Stderr)];
    for (name, stream, channel) in streams {
        let (came, acked) = (stream.length(), recorded.kept.acked(channel));
        if came != acked {
            let detail = format!("{came} bytes came out of the {name}, recorded calls wrote {acked}");
            recorded.unmodelled.add("ack", detail);
        }
    }
    let mut kept = std::mem::replace(&mut recorded.kept, Kept::new(0));
    std::mem::take(&mut recorded.prelude).put_before(&mut recorded.ops, &mut kept);
    kept.fill(&mut recorded.ops, &mut printed)
}
