//! The name of a run: a hash of all that its tokens depend on.

use std::sync::Arc;

use checker::Wanted;
use program::Trace;
use serde::Serialize;
use sha2::{Digest, Sha256};
use workload::IgnorePattern;

use crate::spec::RunSpec;
use crate::subject::Subject;

/// What makes a run what it is, beside its traces.
#[derive(Serialize)]
struct Identity<'a> {
    workloads: Vec<(&'a str, &'a [Wanted])>,
    /// The checks of those workloads that have one, by their index.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<(usize, &'a [String])>,
    /// What each of those workloads ignores that ignore anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignore: Vec<(usize, &'a [IgnorePattern])>,
    /// What runs before checks and views, in the same way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovers: Vec<(usize, &'a [String])>,
    machine: &'a str,
    spec: &'a RunSpec,
}

/// Names a run by what goes into it: the same run has the same name, and with it the same tokens.
///
/// Another recording of a program gives the same trace, unless the program does something else: random names of
/// temporary files, or times in what it writes, make it another run. How the program was called does not: the paths of
/// a checkout say nothing about what a crash may leave.
pub(crate) fn hash(subjects: &[Arc<Subject>], spec: &RunSpec, machine: &str) -> String {
    let identity = Identity {
        workloads: subjects.iter().map(|subject| (subject.name.as_str(), subject.demands.wanted.as_slice())).collect(),
        checks: (0..).zip(subjects).filter_map(|(n, it)| Some((n, it.checker.as_ref()?.command()?))).collect(),
        ignore: (0..)
            .zip(subjects)
            .map(|(n, it)| (n, it.demands.ignore.as_slice()))
            .filter(|it| !it.1.is_empty())
            .collect(),
        recovers: (0..).zip(subjects).filter_map(|(n, it)| Some((n, it.checker.as_ref()?.recover()?))).collect(),
        machine,
        spec,
    };
    let mut hasher = Sha256::new();
    hasher.update(serde_json::to_vec(&identity).expect("names and numbers can be written as JSON"));
    for subject in subjects {
        let Trace { command: _, before, holes, ops, after, limits, outside: _, refused: _, explored_from } =
            &subject.trace;
        let recorded = postcard::to_stdvec(&(before, ops, after, limits));
        hasher.update(recorded.expect("a trace holds nothing that postcard cannot write"));
        if let Some(from) = explored_from {
            hasher.update(format!("from {from}"));
        }
        // Most workloads have none, and keep the name that they always had.
        if !holes.is_empty() {
            hasher.update(postcard::to_stdvec(holes).expect("names and numbers can be written"));
        }
    }
    hex::encode(&hasher.finalize()[..4])
}

/// Whether two recordings are one run: nothing that the hash takes of them differs.
pub(crate) fn is_same(one: &Trace, other: &Trace) -> bool {
    fn parts(trace: &Trace) -> impl PartialEq {
        let Trace { command: _, before, holes, ops, after, limits, outside: _, refused: _, explored_from } = trace;
        (before, holes, ops, after, limits, explored_from)
    }
    parts(one) == parts(other)
}

#[cfg(test)]
mod tests {
    use filesystems::Filesystem;
    use program::{Call, Handle, Op};

    use super::*;
    use crate::spec::{Budget, Disk};
    use crate::subject::Bounds;

    fn subject(name: &str) -> Arc<Subject> {
        called(name, &[])
    }

    fn called(name: &str, command: &[&str]) -> Arc<Subject> {
        let command = command.iter().map(ToString::to_string).collect();
        // O_WRONLY | O_CREAT: rules want something to change.
        let open = Call::Open { handle: Handle(0), path: "f".into(), flags: 0o101, mode: 0o644 };
        let ops = vec![Op { call: open, syscall: "open".into(), result: 0, thread: 0 }];
        let trace = Trace { command, ops, ..Trace::default() };
        Arc::new(Subject::of(name.into(), vec![], trace, Bounds::default()).unwrap())
    }

    #[test]
    fn the_name_of_a_run_depends_on_all_that_tokens_depend_on() {
        let ext4 = Filesystem::from(&filesystems::EXT4);
        let spec = RunSpec { filesystems: vec![ext4.clone()], ..RunSpec::default() };
        let name = |subjects: &[&str], spec: &RunSpec, machine| {
            let subjects: Vec<_> = subjects.iter().map(|name| subject(name)).collect();
            hash(&subjects, spec, machine)
        };
        let first = name(&["a"], &spec, "uml");
        let elsewhere = called("a", &["/another/checkout/save.py"]);
        assert_eq!(first, hash(&[elsewhere], &spec, "uml"));
        let mut names = vec![
            first,
            name(&["b"], &spec, "uml"),
            name(&["a", "a"], &spec, "uml"),
            name(&["a"], &spec, "qemu-kvm"),
            name(&["a"], &RunSpec { filesystems: vec![ext4.clone(), ext4], ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { kernel: Some("vmlinuz".into()), ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { disk: Disk::Lying, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { schedules: 2, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { recovery_crashes: true, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { explore_invalid: true, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { ignore: vec!["*.log".parse().unwrap()], ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { seed: 1, ..spec.clone() }, "uml"),
            name(&["a"], &RunSpec { budget: Budget { mounts: Some(9), time: None }, ..spec.clone() }, "uml"),
        ];
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }
}
