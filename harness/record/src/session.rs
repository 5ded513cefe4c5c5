//! One recording from start to end: the recorder's thread, and beside it the supervisor.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::fstat;
use program::{Call, Channel, Ended, Op, RefusedCall, Trace, unexplained};

use crate::launch::{self, Output};
use crate::normalise::normalise;
use crate::recorder::{self, Cut, Recorded, Scene};
use crate::said::said;
use crate::snapshot::{holes, snapshot};
use crate::supervise::{Printed, Shared, supervise};
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
    account(&mut recorded, &printed);
    match recorded.cut {
        None => {}
        Some(Cut::Cancelled) => return Err(RecordError::Cancelled),
        Some(Cut::TimeOut(what)) => {
            // What was copied to our own standard error need not be said twice.
            let said = if spec.echo { String::new() } else { said(&recorded.ops) };
            return Err(RecordError::TimeOut { what, limit: spec.time_limit, said });
        }
    }
    let after = snapshot(&root)?;
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
        device,
        pipes: [inode(&stdout.reader)?, inode(&stderr.reader)?],
        io_uring: spec.io_uring,
    };
    let done = Output::new()?;
    let shared = Shared::default();
    let writers = (stdout.writer, stderr.writer, done.writer);
    // Ptrace belongs to one thread: its own, so that nobody else's children get into its way.
    std::thread::scope(|scope| {
        let recorder = scope.spawn(|| trace_program(spec, &scene, &shared, writers));
        let printed = supervise(spec, &shared, stdout.reader, stderr.reader, &done.reader);
        let recorded = match recorder.join() {
            Ok(recorded) => recorded?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok((recorded, printed.map_err(RecordError::system("read what the program prints"))?))
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

/// Compares the acks with what really came out of the pipes, and takes from there what could not be read from memory.
fn account(recorded: &mut Recorded, printed: &Printed) {
    for gap in &recorded.gaps {
        let stream = if gap.channel == Channel::Stdout { &printed.stdout } else { &printed.stderr };
        if let (Some(Op { call: Call::Ack { data, .. }, .. }), Some(bytes)) =
            (recorded.ops.get_mut(gap.op), stream.get(gap.start..gap.start + gap.length))
        {
            *data = bytes.to_vec();
        }
    }
    let streams = [("standard output", &printed.stdout), ("standard error", &printed.stderr)];
    for ((name, stream), acked) in streams.into_iter().zip(recorded.acked) {
        if stream.len() as u64 != acked {
            let detail = format!("{} bytes came out of the {name}, recorded calls wrote {acked}", stream.len());
            recorded.unmodelled.add("ack", detail);
        }
    }
}
