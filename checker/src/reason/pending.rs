//! What no sync has made durable yet: data of files, and names.

use program::{RelPath, Trace};

use super::names::{Before, Names};
use super::{Reason, Watch};

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

/// That there was no fsync of all this, each with the op that changed it, before some time; `None` of nothing.
pub(super) fn no_fsync(of: Vec<(usize, String)>, before: String) -> Option<Reason> {
    let (ops, texts): (Vec<usize>, Vec<String>) = of.into_iter().unzip();
    let text = format!("no fsync of {} {before}", texts.join(", nor of "));
    (!ops.is_empty()).then_some(Reason { text, ops })
}
