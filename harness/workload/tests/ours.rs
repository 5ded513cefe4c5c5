//! The workloads of this repository: each builds, makes an old state, and then a new one that cannot be taken for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use workload::Workload;

fn all() -> Vec<Workload> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../workloads");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(root).expect("a directory").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.retain(|path| path.join("workload.toml").exists());
    paths.iter().map(|path| Workload::load(path).unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// Contents by name.
type Files = BTreeMap<String, Vec<u8>>;

/// Every file below a directory.
fn files(directory: &Path) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            let below = self::files(&entry.path());
            files.extend(below.into_iter().map(|(path, content)| (format!("{name}/{path}"), content)));
        } else {
            files.insert(name, fs::read(entry.path()).expect("a file"));
        }
    }
    files
}

/// Runs the command in a fresh directory: the files before, the files after, what it said.
fn run(workload: &Workload) -> (Files, Files, Output) {
    let run = tempfile::tempdir().expect("a temporary directory");
    let stop = AtomicBool::new(false);
    workload.build(&stop).and_then(|()| workload.prepare(run.path(), &stop)).unwrap_or_else(|error| panic!("{error}"));
    let before = files(run.path());
    let invocation = workload.command_in(run.path()).unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new(&invocation.program)
        .args(&invocation.argv[1..])
        .current_dir(&invocation.directory)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}: {output:?}", workload.name);
    (before, files(run.path()), output)
}

#[test]
fn each_turns_an_old_file_into_a_new_one() {
    let workloads = all();
    let mut players = 0;
    for workload in &workloads {
        let name = &workload.name;
        let (before, after, output) = run(workload);
        if !before.contains_key("settings.json") && !before.contains_key("library.db") {
            continue;
        }
        players += 1;
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{name} leaves no other file");
        let (file, old) = before.first_key_value().expect("setup makes a file");
        let new = &after[file];
        if name.starts_with("overwrite_") {
            // One field, and both halves of it differ: the one before the end of the first block and the one after.
            let differ: Vec<usize> = (0..old.len()).filter(|&at| old[at] != new[at]).collect();
            assert_eq!(old.len(), new.len(), "{name}");
            assert!(differ.iter().all(|at| (3969..3969 + 255).contains(at)), "{name}: {differ:?}");
            assert!(differ.first() < Some(&4096) && differ.last() > Some(&4096), "{name}: {differ:?}");
            assert_eq!(output.stdout, b"updated\n", "{name}");
        } else {
            assert!(old.len() > 2 * 4096 && new.len() > old.len(), "{name}: {} and {} bytes", old.len(), new.len());
            // No sector is the same in both: a file mixed of the two is neither.
            let same = old.chunks(512).zip(new.chunks(512)).position(|(old, new)| old == new);
            assert_eq!(same, None, "{name}");
            assert_eq!(
                output.stdout,
                if name.starts_with("durable_replace") { b"saved\n".as_slice() } else { b"" },
                "{name}"
            );
        }
    }
    assert_eq!(players, 11);
}

#[test]
fn each_says_what_it_is_and_always_does_the_same() {
    for workload in &all() {
        assert!(workload.description.is_some(), "{} has no description", workload.name);
        // Nothing depends on the time or on chance.
        let [one, other] = [run(workload), run(workload)].map(|(before, after, output)| (before, after, output.stdout));
        assert_eq!(one, other, "{}", workload.name);
        assert_ne!(one.0, one.1, "{} changes something", workload.name);
    }
}

#[test]
fn each_check_accepts_what_the_whole_command_leaves_and_nothing_less() {
    let mut checked = 0;
    for workload in &all() {
        if workload.check.is_none() {
            continue;
        }
        checked += 1;
        let (before, after, output) = run(workload);
        assert!(accepts(workload, &after, &output.stdout), "{}", workload.name);
        assert!(accepts(workload, &before, b""), "{}", workload.name);
        // The old state, though everything was acknowledged.
        assert!(!accepts(workload, &before, &output.stdout), "{}", workload.name);
    }
    assert_eq!(checked, 20);
}

/// Runs a check in a directory with these files.
fn accepts(workload: &Workload, files: &Files, acks: &[u8]) -> bool {
    let (tree, beside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    for (path, content) in files {
        fs::write(tree.path().join(path), content).expect("a file");
    }
    let acks_file = beside.path().join("acks");
    fs::write(&acks_file, acks).expect("a file");
    let check = workload.check_in(tree.path(), &acks_file).expect("a program").expect("a check");
    let mut command = Command::new(&check.program);
    let output = command.args(&check.argv[1..]).current_dir(&check.directory).envs(&check.env).output();
    output.expect("it starts").status.success()
}
