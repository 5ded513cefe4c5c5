use std::collections::BTreeMap;

use checker::CrashWindow;
use storage::{BlockLog, Image, Queueing, State, WriteEntry};

use super::manifest::BEFORE;
use super::*;
use crate::spec::{Disk, Fua, RunSpec, Sector, Tear};
use crate::sum::seal;

const RUN: &str = "0a1b2c3d";

/// What is kept of a run on User Mode Linux, of no cells.
fn kept() -> Kept {
    Kept {
        version: VERSION,
        machine: "uml".into(),
        spec: RunSpec::default(),
        cells: vec![],
        workloads: vec![],
        tools: BTreeMap::new(),
    }
}

fn cell(fs: &str) -> KeptCell {
    KeptCell { workload: 0, fs: fs.into(), mount_options: "noatime".into(), mkfs_options: String::new() }
}

/// Directories of one run, each named by when it began.
struct Runs(tempfile::TempDir);

impl Runs {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A run that has recorded its programs, and no more.
    fn begin(&self, second: u32) -> Store {
        let (store, _) = Store::create(&self.path().join(format!("{second}-{RUN}"))).unwrap();
        store.keep(RUN, &kept()).unwrap();
        store
    }

    /// Which run answers a token: when it began.
    fn find(&self, rest: &str) -> Result<String, String> {
        let found = Store::find(self.path(), &token(rest)).map_err(|error| error.to_string());
        let name = |store: Store| store.directory().file_name().unwrap().to_string_lossy().into_owned();
        let here = self.path().display().to_string();
        found.map(|store| name(store).replace(&format!("-{RUN}"), "")).map_err(|error| error.replace(&here, "[RUNS]"))
    }
}

fn token(rest: &str) -> Token {
    format!("{RUN}.{rest}").parse().unwrap()
}

/// Keeps an execution that shows one state of its first epoch.
fn show(store: &Store, schedule: usize, state: State) {
    let window = CrashWindow { begun_earliest: 0, ended_latest: 0 };
    let shown = Shown { epoch: 0, state, window, recovery_crash: None };
    store.keep_execution(0, schedule, (&Image::zeroed(4096), &BlockLog::default()), &[shown]).unwrap();
}

fn finish(store: &Store) {
    store.write("report.json", b"{}").unwrap();
    store.write("matrix.md", b"").unwrap();
}

#[test]
fn the_newest_run_that_can_answer_is_found() {
    let runs = Runs::new();
    assert!(runs.find("c0.s0.e0").unwrap_err().starts_with("found no run 0a1b2c3d in [RUNS]"));
    let cut = runs.begin(10);
    insta::assert_snapshot!(runs.find("c0.s0.e0").unwrap_err());
    let whole = runs.begin(20);
    show(&whole, 0, State::default());
    finish(&whole);
    runs.begin(30);
    assert_eq!(runs.find("c0.s0.e0").unwrap(), "20", "the newest was cut short");
    // What it has not, no other has.
    assert_eq!(runs.find("c0.s7.e0").unwrap(), "20", "an older one was cut short, too");
    // A cell that was finished before the run was cut short has its executions.
    show(&cut, 1, State::default());
    assert_eq!(runs.find("c0.s1.e0").unwrap(), "10");
    let newest = runs.begin(40);
    show(&newest, 0, State { lost: vec![1], ..State::default() });
    finish(&newest);
    assert_eq!(runs.find("c0.s0.e0").unwrap(), "20", "the state that the token was printed for");
    assert_eq!(runs.find("c0.s0.e0.l1").unwrap(), "40");
    assert_eq!(runs.find("c0.s0.e0.l2").unwrap(), "40", "a state that no report shows");
    fs::write(newest.directory().join("cell-0-schedule-0.log"), "cut off").unwrap();
    assert_eq!(runs.find("c0.s0.e0.l2").unwrap(), "20", "what is damaged cannot answer");
}

#[test]
fn a_directory_that_is_named_is_the_one_or_none() {
    let runs = Runs::new();
    let store = runs.begin(10);
    let error = Store::find(store.directory(), &token("c0.s0.e0")).unwrap_err();
    assert!(matches!(error, StoreError::CutShort { .. }), "{error}");
    show(&store, 0, State::default());
    assert_eq!(Store::find(store.directory(), &token("c0.s0.e0")).unwrap(), store);
}

#[test]
fn the_first_kernel_is_the_one_that_is_kept() {
    let runs = Runs::new();
    let store = runs.begin(10);
    assert_eq!(store.kernel().unwrap(), None);
    // Guests boot side by side.
    let kept: Vec<String> = std::thread::scope(|scope| {
        let keep = ["6.1", "6.12", "6.1", "6.12"].map(|release| scope.spawn(|| store.keep_kernel(release).unwrap()));
        keep.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let first = store.kernel().unwrap().unwrap();
    assert!(["6.1", "6.12"].contains(&first.as_str()));
    assert_eq!(kept, vec![first; 4]);
    let names: Vec<_> = fs::read_dir(store.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "nothing of those that came too late: {names:?}");
}

#[test]
fn a_new_run_forgets_what_an_older_one_left_in_its_directory() {
    let runs = Runs::new();
    let store = runs.begin(10);
    show(&store, 0, State::default());
    show(&store, 12, State::default());
    finish(&store);
    store.keep_kernel("6.1").unwrap();
    store.write("workload-3.trace", b"").unwrap();
    let own = [
        "workload-.trace",
        "workload-03.trace",
        "cell-0-schedule-0.txt",
        "cell-0-schedule-.log",
        "cell-0-schedule-+1.log",
        "notes",
    ];
    own.iter().for_each(|name| store.write(name, b"").unwrap());
    runs.begin(10);
    let left = fs::read_dir(store.directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<String> = left.collect();
    left.sort();
    let mut expected = [&own[..], &["lock", "run-id", "run.json"]].concat();
    expected.sort();
    assert_eq!(left, expected);
}

/// A directory that somebody chose by mistake keeps what is in it.
#[test]
fn what_no_run_has_left_is_not_removed() {
    for name in ["kernel", "report.json", "journal.jsonl", "matrix.md", "workload-0.trace", "cell-1-schedule-0.log"] {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("project");
        fs::create_dir(&directory).unwrap();
        Store::check(&directory).unwrap();
        fs::write(directory.join("notes"), "").unwrap();
        let error = Store::check(&directory).unwrap_err().to_string();
        assert!(error.contains("project: there is notes in it"), "{error}");
        fs::write(directory.join(name), "mine").unwrap();
        let error = Store::create(&directory).err().unwrap().to_string();
        assert!(error.contains(&format!("project: there is {name} in it")), "{error}");
        assert_eq!(fs::read_to_string(directory.join(name)).unwrap(), "mine");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "no lock: it would be taken for a sign of a run");
    }
}

/// A damaged log is no reason to write where no disk is.
#[test]
fn what_no_disk_can_have_seen_is_not_read() {
    let runs = Runs::new();
    let store = runs.begin(10);
    let kept = |sector| {
        let write = WriteEntry { sector, data: vec![1; storage::SECTOR].into(), step: 0 };
        let entries = vec![storage::Entry::Write(0)];
        let log = BlockLog { writes: vec![write], queueing: vec![Queueing::default()], entries };
        store.keep_execution(0, 0, (&Image::zeroed(65536), &log), &[]).unwrap();
        log
    };
    let log = kept(127);
    assert_eq!(store.execution(0, 0).unwrap().log, log);
    kept(128);
    let error = store.execution(0, 0).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "cell-0-schedule-0.log is damaged or from another version: it holds writes that no such disk can have seen"
        ),
        "{error}"
    );
}

/// Whether it begins anew or goes on: what the first has found is still there afterwards.
#[test]
fn a_directory_in_which_a_run_is_at_work_is_left_alone() {
    let runs = Runs::new();
    let store = runs.begin(10);
    let _lock = store.lock().unwrap();
    let here = runs.path().display().to_string();
    let refused = |error: StoreError| error.to_string().replace(&here, "[RUNS]");
    let expected =
        format!("another run is at work in [RUNS]/10-{RUN}: wait until it has ended, or name another directory");
    assert_eq!(refused(Store::create(store.directory()).err().unwrap()), expected);
    assert_eq!(refused(store.lock().err().unwrap()), expected);
    assert_eq!(store.id().unwrap(), RUN);
}

/// Each kept execution, and what is said of it once one of its files was changed so.
fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<KeptExecution, StoreError> {
    let runs = Runs::new();
    let store = runs.begin(10);
    let mut image = Image::zeroed(1 << 20);
    image.write(7, &[9; storage::SECTOR]);
    let write = WriteEntry { sector: 3, data: vec![1; storage::SECTOR].into(), step: 0 };
    let log =
        BlockLog { writes: vec![write], queueing: vec![Queueing::default()], entries: vec![storage::Entry::Write(0)] };
    store.keep_execution(0, 0, (&image, &log), &[]).unwrap();
    store.execution(0, 0).unwrap();
    let path = store.directory().join(name);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    store.execution(0, 0)
}

proptest::proptest! {
    /// Without checksums, the half of these were shown as the run's own.
    #[test]
    fn a_flipped_bit_is_never_passed_over(at in proptest::prelude::any::<proptest::sample::Index>(), bit in 0..8) {
        let flip = |bytes: &mut Vec<u8>| {
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
        };
        for name in ["cell-0-schedule-0.image", "cell-0-schedule-0.log"] {
            let error = changed(name, flip).unwrap_err();
            proptest::prop_assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        }
        let trace = Trace {
            command: vec!["save".into()],
            outside: vec!["/elsewhere".into()],
            ..Trace::default()
        };
        let mut bytes = trace.to_bytes();
        flip(&mut bytes);
        proptest::prop_assert!(Trace::from_bytes(&bytes).is_err());
    }
}

#[test]
fn files_that_are_cut_or_longer_are_damaged() {
    for name in ["cell-0-schedule-0.image", "cell-0-schedule-0.log"] {
        for change in [(|bytes| bytes.truncate(bytes.len() - 1)) as fn(&mut Vec<u8>), Vec::clear, |bytes| bytes.push(0)]
        {
            let error = changed(name, change).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        }
    }
}

#[test]
fn what_is_kept_is_sealed() {
    let runs = Runs::new();
    let store = runs.begin(10);
    assert_eq!(store.kept().unwrap(), kept());
    let path = store.directory().join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    for (was, is) in [("\"seed\": 0", "\"seed\": 1"), ("\"checksum\"", "\"sum\""), ("uml", "umm")] {
        assert!(text.contains(was), "{text}");
        fs::write(&path, text.replace(was, is)).unwrap();
        let error = store.kept().unwrap_err().to_string();
        assert!(error.ends_with("it does not hold what its checksum was made of"), "{error}");
    }
    fs::write(&path, text.replace("\"version\": 7", "\"version\": 5")).unwrap();
    assert!(store.kept().unwrap_err().to_string().ends_with("it has version 5, this harness reads 6 and 7"));
}

/// Tokens of runs of the version before can still be looked at.
#[test]
fn what_the_version_before_kept_is_read() {
    let runs = Runs::new();
    let store = runs.begin(10);
    let cells = ["xfs", "ext4", "xfs"].map(cell).to_vec();
    let mut value = serde_json::to_value(Kept { version: BEFORE, cells: cells.clone(), ..kept() }).unwrap();
    let object = value.as_object_mut().unwrap();
    for key in ["disk", "tear", "sector", "fua", "filesystems"] {
        object.remove(key);
    }
    let model = serde_json::json!({ "cache": "Lying", "tear": "Any", "unit": 8, "fua": false });
    object.insert("model".into(), model);
    seal(&mut value);
    fs::write(store.directory().join(MANIFEST), value.to_string()).unwrap();
    let expected = RunSpec {
        disk: Disk::Lying,
        tear: Tear::Any,
        sector: Sector::Bytes4096,
        fua: Fua::Off,
        filesystems: ["xfs:noatime", "ext4:noatime"].map(|text| text.parse().unwrap()).to_vec(),
        ..RunSpec::default()
    };
    assert_eq!(store.kept().unwrap(), Kept { spec: expected, cells, ..kept() });
}

/// The manifest of an older build has another name.
#[test]
fn a_manifest_of_the_old_name_is_read() {
    let runs = Runs::new();
    let store = runs.begin(10);
    show(&store, 0, State::default());
    fs::rename(store.directory().join(MANIFEST), store.directory().join(OLD_MANIFEST)).unwrap();
    assert_eq!(Store::open(store.directory()).unwrap().kept().unwrap(), kept());
    assert_eq!(runs.find("c0.s0.e0").unwrap(), "10");
    assert!(store.damaged_manifest("").to_string().contains("/replay.json is damaged"));
    // A new run takes its place, whose manifest is the only one.
    let new = Kept { machine: "qemu-kvm".into(), ..kept() };
    Store::create(store.directory()).unwrap().0.keep(RUN, &new).unwrap();
    assert!(!store.files().has(OLD_MANIFEST));
    assert_eq!(store.kept().unwrap(), new);
}

#[test]
fn an_old_manifest_is_a_sign_of_a_run() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("notes"), "").unwrap();
    assert!(Store::check(place.path()).is_err());
    fs::write(place.path().join(OLD_MANIFEST), "").unwrap();
    Store::check(place.path()).unwrap();
}

/// Its seal is right, and still there is none of its cells that could be explored as another file system.
#[test]
fn an_unknown_file_system_is_no_other_one() {
    let runs = Runs::new();
    let store = runs.begin(10);
    let known: Vec<KeptCell> = filesystems::ALL.iter().map(|known| cell(known.name)).collect();
    store.keep(RUN, &Kept { cells: known.clone(), ..kept() }).unwrap();
    assert_eq!(store.kept().unwrap().cells, known);
    for name in ["zfs", "", "EXT4"] {
        store.keep(RUN, &Kept { cells: [&known[..], &[cell(name)]].concat(), ..kept() }).unwrap();
        let error = store.kept().unwrap_err().to_string();
        assert!(error.starts_with(&store.directory().join(MANIFEST).display().to_string()), "{error}");
        assert!(
            error.ends_with(&format!("unknown file system {name:?}: supported: ext4, xfs, btrfs, f2fs")),
            "{error}"
        );
    }
}

/// Whoever made a results directory may have put anything into it.
#[test]
fn nothing_is_read_or_written_through_what_is_no_file() {
    use std::os::unix::fs::symlink;
    type Replace = fn(&Path, &Path);
    let replaces: [Replace; 3] = [
        |path, victim| symlink(victim, path).unwrap(),
        |path, _| symlink("/dev/zero", path).unwrap(),
        |path, _| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
    ];
    for replace in replaces {
        let runs = Runs::new();
        let store = runs.begin(10);
        show(&store, 0, State::default());
        let victim = runs.path().join("victim");
        fs::write(&victim, "mine\n").unwrap();
        let swap = |name: &str| {
            let path = store.directory().join(name);
            let _ = fs::remove_file(&path);
            replace(&path, &victim);
        };
        let names =
            ["run-id", MANIFEST, KERNEL, "workload-0.trace", "cell-0-schedule-0.log", "cell-0-schedule-0.image", LOCK];
        names.iter().for_each(|name| swap(name));
        swap(journal::NAME);
        assert!(store.id().is_err());
        assert!(store.kept().is_err());
        assert!(store.kernel().is_err() && store.keep_kernel("6.1").is_err());
        assert!(store.trace(0).is_err());
        assert!(store.execution(0, 0).is_err() && store.image("cell-0-schedule-0.image").is_err());
        assert!(store.lock().is_err());
        assert!(journal::Journal::open(&store, RUN, 0).is_err());
        assert!(runs.find("c0.s0.e0").is_err());
        // What is written takes their place.
        store.keep(RUN, &kept()).unwrap();
        show(&store, 0, State::default());
        assert_eq!((store.id().unwrap().as_str(), store.kept().unwrap()), (RUN, kept()));
        store.execution(0, 0).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine\n");
    }
}

#[test]
fn what_a_killed_writer_left_is_removed() {
    let runs = Runs::new();
    let store = runs.begin(10);
    let left = [
        ".run.json.0123456789abcdef.tmp",
        ".replay.json.0123456789abcdef.tmp",
        ".cell-0-schedule-1.image.0123456789abcdef.tmp",
    ];
    let own = [".notes.0123456789abcdef.tmp", ".replay.json.tmp"];
    left.iter().chain(&own).for_each(|name| fs::write(store.directory().join(name), "").unwrap());
    runs.begin(10);
    left.iter().for_each(|name| assert!(!store.files().has(name), "{name}"));
    own.iter().for_each(|name| assert!(store.files().has(name), "{name}"));
}
