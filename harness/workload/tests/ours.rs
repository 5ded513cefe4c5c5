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

fn files(directory: &Path) -> Files {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a file")))
        .collect()
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
    assert_eq!(workloads.len(), 10);
    for workload in &workloads {
        let name = &workload.name;
        assert!(workload.description.is_some(), "{name} has no description");
        let (before, after, output) = run(workload);
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
            assert_eq!(output.stdout, if name == "durable_replace" { b"saved\n".as_slice() } else { b"" }, "{name}");
        }
        // Nothing depends on the time or on chance.
        assert_eq!(
            (before, after),
            {
                let (before, after, _) = run(workload);
                (before, after)
            },
            "{name}"
        );
    }
}
