//! What no sync has made durable yet: data of files, and names.

use program::{RelPath, Trace};

use super::Watch;
use super::names::{Before, Names};
use crate::Pending;

/// What the ops before `until` have left: the data of files, with what became of the name `path`, and changes of names.
pub(super) fn before<'a>(trace: &Trace, path: &'a RelPath, until: usize) -> (Watch<'a>, Names) {
    let mut watch = Watch::new(trace, path);
    let mut names = Names::default();
    for (index, op) in trace.ops.iter().enumerate().take(until).filter(|(_, op)| op.result >= 0) {
        let before = Before::new(&watch.vfs, &op.call);
        watch.step(index, &op.call);
        names.step(&watch.vfs, index, &op.call, &before);
    }
    (watch, names)
}

/// In the order of the ops since which there was no sync; of those with one op, by what they are called.
pub(super) fn sorted(mut pending: Vec<Pending>) -> Vec<Pending> {
    let name = |pending: &Pending| match pending {
        Pending::Data { path, .. } => format!("{path} since"),
        // The directory that the command works in has no name.
        Pending::Names { directory, .. } if directory == "." => "the directory since".to_owned(),
        Pending::Names { directory, .. } => format!("the directory {directory} since"),
    };
    pending.sort_by_cached_key(|pending| (pending.since(), name(pending)));
    pending
}
