//! The workload's own check: a program that judges an unpacked copy of a recovered tree, on the host.

use checker::{CheckFailure, Kind, Observed};

use crate::error::CheckError;
use crate::place::{Failed, Runner};
use crate::trees::{Entries, NotWhole, whole};

/// What is wrong with a tree, if anything.
pub(crate) type Verdict = Option<Fault>;

/// What is wrong with a tree.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub kind: Kind,
    pub observed: Observed,
    pub check: Option<CheckFailure>,
}

/// Runs the check, and once more if it was killed: only what happens twice is the tree's own doing.
pub(crate) fn run(runner: Runner<'_>, entries: &Entries, acks: &[u8]) -> Result<Verdict, CheckError> {
    let (verdict, killed) = run_once(runner, entries, acks)?;
    if killed { Ok(run_once(runner, entries, acks)?.0) } else { Ok(verdict) }
}

/// Unpacks a tree, runs the check in it, and says what that came to, and whether it was killed.
fn run_once(runner: Runner<'_>, entries: &Entries, acks: &[u8]) -> Result<(Verdict, bool), CheckError> {
    match whole(entries) {
        Ok(()) => {}
        Err(NotWhole::TooLarge(path, size)) => return Err(CheckError::TooLarge { name: runner.name(), path, size }),
        Err(NotWhole::Unreadable(path)) => {
            let observed = Observed::NoWholeTree { path: path.to_string(), earliest_acks: false };
            return Ok((Some(Fault { kind: Kind::ReadError, observed, check: None }), false));
        }
    }
    let place = match runner.unpack(entries)? {
        Ok(place) => place,
        Err(failed) => return Ok((Some(fault(failed.clone())), failed.killed)),
    };
    let (tree, name) = (place.tree(), runner.name());
    let file = place.acks(acks).map_err(|source| CheckError::Unpack { name, source })?;
    let Some(invocation) = runner.workload.check_in(&tree, &file)? else { return Ok((None, false)) };
    let failed = runner.run(&invocation, &[(&file, "$HARNESS_ACKS"), (&tree, ".")])?;
    let killed = failed.as_ref().is_some_and(|failed| failed.killed);
    Ok((failed.map(fault), killed))
}

fn fault(failed: Failed) -> Fault {
    let Failed { ended, message, output, timed_out, killed: _ } = failed;
    let observed = Observed::Check { ended: ended.clone(), message: message.clone(), earliest_acks: false };
    let (kind, message) = match timed_out {
        // How far it came depends on the host.
        true => (Kind::CheckTimedOut, String::new()),
        false => (Kind::CheckFailed, message),
    };
    Fault { kind, observed, check: Some(CheckFailure { ended, message, output }) }
}

/// What a check found where nothing crashed, for an error.
pub(crate) fn words(observed: &Observed) -> String {
    match observed {
        Observed::Check { ended, message, .. } => format!("{ended}: {message}"),
        Observed::NoWholeTree { path, .. } => format!("{path} cannot be read, so the check has no whole tree"),
        _ => "it does not hold".to_owned(),
    }
}
