//! What an earlier set of schedules has shown, the present one shows, too.
//!
//! `data/outcomes-521da6a.txt` holds every outcome of every workload (but those that are large or long) that the explorer
//! found at that commit with up to one injection, when schedules were of set 1: see [`oracle::short`].

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::guests;
use oracle::compare::{explored, plain};
use oracle::known::known_earlier;
use oracle::native::Outcome;
use oracle::short::{Kept, Short, record};
use testkit::is_full;

/// What was found.
const OLD: &str = include_str!("data/outcomes-521da6a.txt");

/// Workloads that are looked at in an ordinary run, too.
const QUICK: [&str; 3] = ["buffered_flush", "fsync_replace_py", "mkdir_tree_no_directory_fsync"];

fn each_old_outcome_is_found(kind: &str) {
    let Some(mut guests) = guests() else { return };
    let mut old: BTreeMap<String, BTreeSet<Short>> = BTreeMap::new();
    for kept in OLD.lines().map(|line| line.parse::<Kept>().unwrap()) {
        if kept.kind == kind && (is_full() || QUICK.contains(&kept.workload.as_str())) {
            old.entry(kept.workload).or_default().insert(kept.short);
        }
    }
    assert!(old.len() >= QUICK.len());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut wrong = Vec::new();
    for (workload, mut missing) in old {
        let (count, begun) = (missing.len(), std::time::Instant::now());
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workloads").join(&workload);
        let (_, trace) = record(&directory).unwrap();
        let mut all = |found: &BTreeSet<Outcome>| {
            let found: BTreeSet<Short> = found.iter().map(Short::of).collect();
            missing.retain(|short| !found.contains(short));
            missing.is_empty()
        };
        let explored = runtime.block_on(explored(&mut guests, &plain(kind), &trace, 1, &mut all)).unwrap();
        all(&explored.outcomes);
        eprintln!(
            "{workload} on {kind}: {count} old outcomes, {} missing after {} executions, {} mounts, {:.0?}",
            missing.len(),
            explored.schedules,
            explored.mounts,
            begun.elapsed()
        );
        for short in missing {
            let kept = Kept { workload: workload.clone(), kind: kind.into(), short };
            match known_earlier(&kept) {
                Some(reason) => eprintln!("    known to be missing: {}: {reason}", kept.short),
                None => wrong.push(format!("{workload} {kind} {}", kept.short)),
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn each_old_outcome_is_found_on_ext4() {
    each_old_outcome_is_found("ext4");
}

#[test]
fn each_old_outcome_is_found_on_xfs() {
    each_old_outcome_is_found("xfs");
}

#[test]
fn each_old_outcome_is_found_on_btrfs() {
    each_old_outcome_is_found("btrfs");
}
