//! Which call is probably missing.

use checker::{Hint, InPlace, NameChange, NameOp, Pending};
use program::OpId;
use report::Ops;

/// How to replace a file.
const ADVICE: &str = "write a temporary file, fsync it, and rename it over the target";

/// Which call is probably missing, worded no stronger than that.
pub fn hint(hint: &Hint, ops: &Ops) -> String {
    let syscall = |op: &OpId| call_of(*op, ops);
    match hint {
        Hint::RemovedBeforeReplaced { op, change: by, path } => format!(
            "op {op} ({}) takes {path} away before the new one is in place: a crash in between leaves none; rename(2) \
             replaces in one step",
            change(by)
        ),
        Hint::DataNotSynced { path, written, named, change: by, sync_range } => format!(
            "no fsync of {path} between its last write (op {written}) and op {named} ({}): the new name can reach the disk \
             before the data{}",
            change(by),
            no_durability_call(*sync_range)
        ),
        Hint::InPlace { op, path, how } => {
            let call = syscall(op);
            match how {
                InPlace::Emptied => {
                    format!("op {op} ({call}) empties {path} in place, so that a crash can leave it so; {ADVICE}")
                }
                InPlace::Shortened => format!("op {op} ({call}) shortens {path} in place; {ADVICE}"),
                InPlace::Appended => {
                    format!("op {op} ({call}) appends to {path}, of which a crash can keep any part; {ADVICE}")
                }
                InPlace::Overwritten => format!("op {op} ({call}) overwrites {path} in place; {ADVICE}"),
            }
        }
        Hint::MadeUnderFinalName { path, made, filled, still_empty: false } => {
            format!("{path} is made under its final name (op {made}) and filled afterwards (op {filled}); {ADVICE}")
        }
        Hint::MadeUnderFinalName { path, made, filled, still_empty: true } => format!(
            "{path} is made under its final name (op {made}, {}), and stays empty until op {filled}: {ADVICE}",
            syscall(made)
        ),
        Hint::NotSyncedBeforePromise { pending: all, promise, sync_range } => {
            let range = no_durability_call(*sync_range);
            let only_names = all.iter().all(|one| matches!(one, Pending::Names { .. }));
            let why = if only_names { ": fsync(2) of a file does not promise that its name is durable" } else { "" };
            format!("no fsync of {} before the promise (op {promise}){range}{why}", pending(all))
        }
        Hint::NotSyncedBeforeChange { pending: all, change } => format!(
            "no fsync of {} before op {change} ({}): a crash can keep what comes later without that",
            pending(all),
            syscall(change)
        ),
        Hint::TornAppend { op, path, unsynced } => {
            let before = unsynced.map(|before| format!("; no fsync of {path} between op {before} and op {op} either"));
            format!(
                "op {op} ({}) appends to {path}, and a crash can keep any part of that, or zeros in its place, whatever is \
                 synced afterwards: give each record a checksum and drop a broken end when reading (garbage-tail = \
                 \"dropped\"){}",
                syscall(op),
                before.unwrap_or_default()
            )
        }
        Hint::Unordered { path, earlier, later } => format!(
            "no fsync of {path} between op {earlier} ({}) and op {later} ({}): a crash can keep the later change without \
             the earlier",
            syscall(earlier),
            syscall(later)
        ),
        Hint::NotInOneStep { changes } => {
            let one = |change: &checker::FileChange| {
                format!("{} changes with op {} ({})", change.path, change.op, syscall(&change.op))
            };
            format!(
                "{}: a crash can keep one without the other, whatever is synced; keep both in one file, or switch both with \
                 one rename (of their directory, or of a symbolic link to it)",
                changes.iter().map(one).collect::<Vec<_>>().join(", ")
            )
        }
        Hint::MetadataChangedInPlace { op, path } => {
            format!("op {op} ({}) changes what {path} had; before it was in place would be soon enough", syscall(op))
        }
        Hint::MadeWithOtherMetadata { op, path, mode, placed } => {
            let name = path.as_deref().unwrap_or("a file without a name");
            let advice = "give it the old file's mode and owner";
            match placed {
                None => format!("op {op} makes {name} anew with mode {mode:04o}: {advice}"),
                Some(placed) => format!(
                    "op {op} makes {name} with mode {mode:04o}, and {} puts it in place: {advice} before that (fchmod(2), \
                     fchown(2))",
                    name_op(placed)
                ),
            }
        }
        Hint::Leftover { op, path, removed } => {
            let until = removed.map(|op| format!(", and a crash can come before op {op} ({})", syscall(&op)));
            format!(
                "op {op} ({}) makes {path}{}: remove what is left at the next start, or make it without a name (O_TMPFILE, \
                 open(2))",
                syscall(op),
                until.unwrap_or_default()
            )
        }
        Hint::Text { text } => text.clone(),
    }
}

/// The call of an op, by its name; the end of the command as reports show it.
fn call_of(op: OpId, ops: &Ops) -> &str {
    ops.get(op).map_or("unknown", |op| op.syscall.as_deref().unwrap_or(&op.call))
}

/// What says that sync_file_range was no help.
fn no_durability_call(range: Option<OpId>) -> String {
    let text = |op| format!("; op {op} (sync_file_range) is not a durability call, see sync_file_range(2)");
    range.map(text).unwrap_or_default()
}

fn change(change: &NameChange) -> String {
    match change {
        NameChange::Rename { from, to } => format!("rename of {from} to {to}"),
        NameChange::Link { to } => format!("link to {to}"),
        NameChange::Arrive { to } => format!("rename from outside to {to}"),
        NameChange::Leave { path } => format!("rename of {path} to outside"),
        NameChange::Unlink { path } => format!("unlink of {path}"),
        NameChange::Rmdir { path } => format!("removal of {path}"),
        NameChange::Create { path } => format!("creation of {path}"),
    }
}

/// `op 7 (rename of tmp to f)`.
fn name_op(NameOp { op, change: by }: &NameOp) -> String {
    format!("op {op} ({})", change(by))
}

/// Of what there was no fsync, each with what changed it.
fn pending(all: &[Pending]) -> String {
    let text = |one: &Pending| match one {
        Pending::Data { path, written } => format!("{path} since its last write (op {written})"),
        Pending::Names { directory, since, until } => {
            // The directory that the command works in has no name.
            let directory = if directory == "." { String::new() } else { format!(" {directory}") };
            let until = until.as_ref().map(|until| format!(" and {}", name_op(until))).unwrap_or_default();
            format!("the directory{directory} since {}{until}", name_op(since))
        }
    };
    all.iter().map(text).collect::<Vec<_>>().join(", nor of ")
}
