//! Process crashes: the program is killed (SIGKILL), and the kernel lives on.
//!
//! Then files are what the calls so far made of them, synced or not, on every file system: no guest is needed. What is
//! lost is what the program had not handed to the kernel, above all its own buffers.
//!
//! A write can be cut short. Between two pages the kernel looks whether the writer has been killed
//! (`generic_perform_write` in mm/filemap.c, `fatal_signal_pending`), so any part of a write up to the end of a page of
//! the file may have been done; a file system that copies several pages at a time does fewer of these. So it is with
//! `copy_file_range`, which writes what it reads (`splice_direct_to_actor` in fs/splice.c). Where the file system shares
//! blocks instead, the copy can be whole, but no program can rely on it: copy_file_range(2) may copy less than asked for.
//!
//! Left out: a write can also end where a page of the program's own buffer ends, if that page is not in memory; a copy
//! also where the kernel's buffer of what it read ends; and of several processes some can outlive the one that is
//! killed. Here all are killed at once.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use checker::{
    CHUNK, CrashWindow, Entry, EntryKind, Invariant, Kind, Mount, Observation, ReadPlan, Reading, Seen, describe,
};
use program::{Call, Divergence, Node, RelPath, Trace, Tree, Vfs};
use report::{Killed, ProcessReport, ProcessViolation};
use serde::{Deserialize, Serialize};

use crate::cause::{Cause, told_apart};
use crate::subject::Subject;
use crate::words::{notes_on, op_ref, promises};

/// The unit in which a write or copy is cut short, bytes: a page of x86-64.
const PAGE: u64 = 4096;

/// What crashes: `--crash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Crash {
    /// The power fails: what the disk had not flushed may be lost
    #[default]
    Power,
    /// The program is killed: what it had not handed to the kernel is lost
    Process,
    /// Either
    Both,
}

impl Crash {
    /// Whether the power fails.
    pub fn power(self) -> bool {
        self != Crash::Process
    }

    /// Whether the program is killed.
    pub fn process(self) -> bool {
        self != Crash::Power
    }
}

/// A point at which a program can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// How many ops had ended.
    pub ended: usize,
    /// If the next one, a write or copy, was under way: how much it had written (bytes).
    pub written: Option<u64>,
}

impl Point {
    /// How many ops had begun.
    pub fn begun(&self) -> usize {
        self.ended + usize::from(self.written.is_some())
    }
}

/// Judges every point at which a recorded program can be killed; `None` once `stop` is set. What cannot be judged is
/// looked at only if `explore_invalid` says so.
///
/// Where the workload has a check, to be called within a tokio runtime, where blocking is allowed.
pub fn process_crash(subject: &Subject, explore_invalid: bool, stop: &AtomicBool) -> Option<ProcessReport> {
    let Subject { name, trace, history, rules, .. } = subject;
    if !subject.is_explored(explore_invalid) {
        let (limits, notes) = (subject.limits().to_vec(), notes_on(subject));
        return Some(ProcessReport {
            workload: name.clone(),
            states: 0,
            violations: vec![],
            limits,
            failure: None,
            notes,
        });
    }
    let mut states = 0;
    let mut unchecked = None;
    let mut found: BTreeMap<(RelPath, Invariant, Kind, Cause), ProcessViolation> = BTreeMap::new();
    let walked = points(trace, |point, tree| {
        if stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        states += 1;
        let window = CrashWindow { begun_earliest: point.begun(), ended_latest: point.ended };
        let observation = observe(&tree, rules.read_plan());
        let mut findings = rules.judge(&observation, &window);
        if let Some(checker) = &subject.checker {
            match tokio::runtime::Handle::current().block_on(checker.judge(&observation, &window)) {
                Ok(more) => findings.extend(more),
                Err(error) => drop(unchecked.get_or_insert(error.to_string())),
            }
        }
        for finding in findings {
            if !finding.fails {
                continue;
            }
            let cause = Cause::of(&finding);
            let first = || {
                let promises = promises(trace, &finding.invariant, point.ended);
                let op = point.begun().checked_sub(1).map(|index| op_ref(trace, index));
                // The root stands for all files.
                let versions = if finding.path.is_root() { &[] } else { history.versions(&finding.path) };
                ProcessViolation {
                    invariant: finding.invariant.to_string(),
                    kind: finding.kind,
                    path: finding.path.to_string(),
                    states: 0,
                    killed: Killed { op, written: point.written },
                    observed: finding.observed.clone(),
                    acks: promises.acks,
                    acks_left_out: promises.left_out,
                    promised: promises.promised,
                    cause: cause.text(),
                    output: finding.check.as_ref().map(|check| check.output.clone()),
                    old: versions.first().map(|version| describe(&version.state)),
                    new: versions.last().map(|version| describe(&version.state)),
                }
            };
            let key = (finding.path.clone(), finding.invariant.clone(), finding.kind, cause.clone());
            found.entry(key).or_insert_with(first).states += 1;
        }
        ControlFlow::Continue(())
    });
    // Looked at once more: a check that was under way ended without a word.
    if stop.load(Ordering::Relaxed) {
        return None;
    }
    let failure = walked.err().map(|(op, why)| format!("op {op} cannot be followed: {why}")).or(unchecked);
    let (violations, limits) = (folded(found.into_values()), subject.limits().to_vec());
    Some(ProcessReport { workload: name.clone(), states, violations, limits, failure, notes: notes_on(subject) })
}

/// Leaves so many failures of a check apart as are reported; the rest become one, shown by the first of them.
fn folded(violations: impl Iterator<Item = ProcessViolation>) -> Vec<ProcessViolation> {
    let (failures, mut folded): (Vec<_>, Vec<_>) = violations.partition(|violation| violation.cause.is_some());
    let counted = failures.iter().filter_map(|failure| Some((failure.cause.clone()?, failure.states)));
    let kept = told_apart(counted);
    let (apart, others): (Vec<_>, Vec<_>) =
        failures.into_iter().partition(|failure| failure.cause.as_ref().is_some_and(|cause| kept.contains(cause)));
    folded.extend(apart);
    let states = others.iter().map(|other| other.states).sum();
    let first =
        others.into_iter().min_by_key(|other| other.killed.op.as_ref().map(|op| (op.index, other.killed.written)));
    folded.extend(first.map(|first| ProcessViolation { states, cause: Cause::Others.text(), ..first }));
    folded
}

/// Calls `each` with every point, in order, and what is there then, until it has had enough.
///
/// # Errors
///
/// The op that the model of a file system cannot follow, and why; what comes after it is not visited.
pub fn points(trace: &Trace, mut each: impl FnMut(Point, Tree) -> ControlFlow<()>) -> Result<(), (usize, Divergence)> {
    let mut vfs = Vfs::new(&trace.before);
    if each(Point { ended: 0, written: None }, vfs.tree()).is_break() {
        return Ok(());
    }
    for (index, op) in trace.ops.iter().enumerate() {
        // What failed changed nothing.
        if op.result >= 0 {
            if let Some((offset, length)) = span(&op.call) {
                let mut partly = vfs.clone();
                let mut written = 0;
                for cut in cuts(offset, length) {
                    partly.apply(&part(&op.call, written, cut)).map_err(|why| (index, why))?;
                    written = cut;
                    if each(Point { ended: index, written: Some(cut) }, partly.tree()).is_break() {
                        return Ok(());
                    }
                }
            }
            vfs.apply(&op.call).map_err(|why| (index, why))?;
        }
        if each(Point { ended: index + 1, written: None }, vfs.tree()).is_break() {
            break;
        }
    }
    Ok(())
}

/// Where a call that can be cut short writes, and how much (bytes).
fn span(call: &Call) -> Option<(u64, u64)> {
    match call {
        Call::Write { offset, data, .. } => Some((*offset, data.len() as u64)),
        Call::CopyRange { to_offset, length, .. } => Some((*to_offset, *length)),
        _ => None,
    }
}

/// What such a call does of its bytes from `start` to `end`.
fn part(call: &Call, start: u64, end: u64) -> Call {
    let mut part = call.clone();
    match &mut part {
        Call::Write { offset, data, .. } => {
            *offset += start;
            *data = Arc::new(data[start as usize..end as usize].to_vec());
        }
        Call::CopyRange { from_offset, to_offset, length, .. } => {
            *from_offset += start;
            *to_offset += start;
            *length = end - start;
        }
        _ => {}
    }
    part
}

/// Where a write of `length` bytes at `offset` can be cut: how much is written then, ascending.
fn cuts(offset: u64, length: u64) -> impl Iterator<Item = u64> {
    let first = PAGE - offset % PAGE;
    (0..).map(move |page| first + page * PAGE).take_while(move |written| *written < length)
}

/// What the agent would report of this tree: it follows the same read plan.
fn observe(tree: &Tree, read_plan: &ReadPlan) -> Observation {
    let mut names: HashMap<u64, Vec<&RelPath>> = HashMap::new();
    tree.0.iter().for_each(|(path, node)| names.entry(node.inode).or_default().push(path));
    let entry = |path: &RelPath, node: &Node| {
        let kind = match &node.kind {
            program::Kind::File(content) => {
                EntryKind::File { size: content.len() as u64, seen: see(read_plan, path, content) }
            }
            program::Kind::Directory => EntryKind::Directory { error: None },
            program::Kind::Symlink(target) => EntryKind::Symlink { target: target.clone() },
            program::Kind::Special { mode, .. } => EntryKind::Special { mode: *mode },
        };
        let names = &names[&node.inode];
        let same_as = names.first().filter(|first| **first != path).map(|&first| first.clone());
        Entry { kind, mode: node.mode, uid: node.uid, gid: node.gid, links: names.len() as u64, same_as }
    };
    let entries = tree.0.iter().map(|(path, node)| (path.clone(), entry(path, node))).collect();
    Observation { mount: Mount::Mounted, entries }
}

fn see(read_plan: &ReadPlan, path: &RelPath, content: &program::Content) -> Seen {
    let size = content.len() as u64;
    if read_plan.read_all_up_to > 0 && size <= read_plan.read_all_up_to {
        return Seen::Bytes(content.clone());
    }
    let Some(mut reading) = Reading::begin(read_plan, path, size) else { return Seen::NotRead };
    while let Some(offset) = reading.next_offset() {
        let start = offset as usize;
        if let Some(seen) = reading.feed(&content[start..(start + CHUNK).min(content.len())]) {
            return seen;
        }
    }
    reading.finish()
}

#[cfg(test)]
mod tests;
