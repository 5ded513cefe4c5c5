//! Deciding late finds what a flat enumeration finds: the same outcomes, each in the same number of states. On small
//! random programs, every file system, and every kind of disk.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::Arc;

use checker::ReadPlan;
use engine::brute::{Outcomes, brute_force, count};
use engine::execute::Execution;
use engine::subject::{Bounds, Subject};
use engine::visit::{EquivalenceClass, enter, explore};
use explore::Branch;
use filesystems::Filesystem;
use num_bigint::BigUint;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use storage::{BlockLog, CacheKind, DiskModel, Entry, Fates, Layers, TearKind, epochs};
use vm::GuestError;

use crate::support::{OneGuest, execute_on, filesystem, record_program, uml};

/// One call of the random program. One that fails is no part of the trace.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create(&'static str),
    Write(&'static str, u32, u32),
    Truncate(&'static str, u32),
    Rename(&'static str, &'static str),
    Fsync(&'static str),
    Fdatasync(&'static str),
    Unlink(&'static str),
    Mkdir(&'static str),
}

fn act() -> impl Strategy<Value = Act> {
    let file = || prop_oneof![Just("a"), Just("b"), Just("d/c")];
    prop_oneof![
        1 => file().prop_map(Act::Create),
        4 => (file(), 0u32..5000, 1u32..6000).prop_map(|(path, at, length)| Act::Write(path, at, length)),
        1 => (file(), 0u32..6000).prop_map(|(path, length)| Act::Truncate(path, length)),
        2 => (file(), file()).prop_map(|(from, to)| Act::Rename(from, to)),
        2 => file().prop_map(Act::Fsync),
        1 => file().prop_map(Act::Fdatasync),
        1 => file().prop_map(Act::Unlink),
        1 => Just(Act::Mkdir("e")),
        1 => prop_oneof![Just("."), Just("d")].prop_map(Act::Fsync),
    ]
}

/// A program, one of its schedules (modulo their number), and how much of what the disk saw is looked at.
#[derive(Clone, Debug)]
struct Case {
    acts: Vec<Act>,
    schedule: usize,
    /// Writes that a disk that ignores flushes has in its cache at the crash, unless that makes too many states.
    writes: usize,
    /// How many states are mounted for each model of a disk.
    most: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let most = prop_oneof![3 => Just(100u32), 1 => Just(1024)];
    (prop::collection::vec(act(), 2..9), any::<usize>(), 3usize..11, most)
        .prop_map(|(acts, schedule, writes, most)| Case { acts, schedule, writes, most })
}

/// The program, in Python: one process, and exactly these calls.
fn program(acts: &[Act]) -> String {
    let mut text = String::from(
        "import os\n\
         def call(function, path, *arguments):\n\
         \x20   try:\n\
         \x20       if function in (os.rename, os.unlink, os.mkdir): return function(path, *arguments)\n\
         \x20       flags = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT\n\
         \x20       file = os.open(path, flags, 0o644)\n\
         \x20       if function: function(file, *arguments)\n\
         \x20       os.close(file)\n\
         \x20   except OSError: pass\n",
    );
    for (number, act) in acts.iter().enumerate() {
        let letter = char::from(b'A' + number as u8);
        let _ = match act {
            Act::Create(path) => writeln!(text, "call(None, '{path}')"),
            Act::Write(path, at, length) => writeln!(text, "call(os.pwrite, '{path}', b'{letter}' * {length}, {at})"),
            Act::Truncate(path, length) => writeln!(text, "call(os.ftruncate, '{path}', {length})"),
            Act::Rename(from, to) => writeln!(text, "call(os.rename, '{from}', '{to}')"),
            Act::Fsync(path) => writeln!(text, "call(os.fsync, '{path}')"),
            Act::Fdatasync(path) => writeln!(text, "call(os.fdatasync, '{path}')"),
            Act::Unlink(path) => writeln!(text, "call(os.unlink, '{path}')"),
            Act::Mkdir(path) => writeln!(text, "call(os.mkdir, '{path}')"),
        };
    }
    text
}

/// The part of a log up to and with this many writes.
fn beginning(log: &BlockLog, writes: usize) -> BlockLog {
    let mut entries = Vec::new();
    for entry in &log.entries {
        if matches!(entry, Entry::Write(index) if *index as usize == writes) {
            break;
        }
        entries.push(entry.clone());
    }
    let writes: Vec<_> = log.writes.iter().take(writes).cloned().collect();
    BlockLog { queueing: log.queueing[..writes.len()].to_vec(), writes, entries }
}

/// The seeded bug: an explorer that does not turn round one answer, that of run number `turn`, as if the question did
/// not matter, and takes the states that it never saw for more of the kind that it has just seen. Its classes still add
/// up to all states.
async fn explore_wrongly(
    guests: &mut OneGuest,
    filesystem: &Filesystem,
    layers: &Arc<Layers>,
    turn: usize,
    mut class: impl FnMut(EquivalenceClass),
) -> Result<bool, GuestError> {
    let mut branches = vec![Branch::root()];
    for run in 0.. {
        let Some(branch) = branches.pop() else { break };
        let found = enter(guests, filesystem, layers, &branch.prefix(), false).await?;
        branches.extend(branch.rest(found.fates.decisions(), 0));
        if run == turn
            && let Some(unseen) = branches.pop()
        {
            let mut fates = layers.fates();
            unseen.prefix().into_iter().for_each(|decision| fates.settle(decision));
            class(EquivalenceClass { fates, observation: found.observation.clone(), recovery: None });
        }
        class(found);
    }
    Ok(true)
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    epochs: u64,
    states: u64,
    mounts: u64,
    outcomes: usize,
}

/// Compares both ways on the epochs of a replay, as long as there are not more than `most` states.
async fn compare(
    guests: &mut OneGuest,
    filesystem: &Filesystem,
    execution: &Execution,
    model: DiskModel,
    most: u32,
    bug: Option<usize>,
) -> Result<Compared, String> {
    let mut compared = Compared::default();
    let mut durable = execution.start.clone();
    let mut from = 0;
    for epoch in epochs(&execution.log, &model) {
        epoch.advance(&mut durable, &execution.log, from);
        from = epoch.durable;
        let layers = Arc::new(Layers::new(durable.clone(), &execution.log, &epoch, model));
        let Ok(states) = u64::try_from(layers.fates().count()) else { continue };
        if states == 1 || compared.states + states > u64::from(most) {
            continue;
        }
        let mut late = Outcomes::new();
        let class = |class: EquivalenceClass| {
            compared.mounts += 1;
            count(&mut late, &class.observation, class.fates.count());
        };
        let whole = match bug {
            None => explore(guests, filesystem, &layers, || true, class).await,
            Some(turn) => explore_wrongly(guests, filesystem, &layers, turn, class).await,
        };
        let whole = whole.map_err(|error| error.to_string())?;
        let flat = brute_force(guests, filesystem, &layers).await.map_err(|error| error.to_string())?;
        if !whole || late != flat || flat.values().sum::<BigUint>() != BigUint::from(states) {
            let numbers = |outcomes: &Outcomes| outcomes.values().map(BigUint::to_string).collect::<Vec<_>>();
            let (late, flat) = (numbers(&late), numbers(&flat));
            return Err(format!("{filesystem:?} {model:?} {epoch:?}: outcomes {late:?}, by brute force {flat:?}"));
        }
        compared.epochs += 1;
        compared.states += states;
        compared.outcomes = compared.outcomes.max(flat.len());
    }
    Ok(compared)
}

/// Every kind of disk. Where each unit has a fate of its own, units are large, or there would be too many states.
fn models() -> impl Iterator<Item = DiskModel> {
    let caches = [CacheKind::Writeback, CacheKind::Writethrough, CacheKind::Lying];
    let tears = [(TearKind::None, 1), (TearKind::One, 1), (TearKind::Any, 8)];
    caches.into_iter().flat_map(move |cache| tears.map(|(tear, unit)| DiskModel { cache, tear, unit, fua: true }))
}

/// Compares on one case, for each model. Adds to `compared`, in the order of [`models`].
async fn one_case(
    guests: &mut OneGuest,
    filesystem: &Filesystem,
    case: &Case,
    bug: Option<usize>,
    compared: &mut [Compared],
) -> Result<(), String> {
    let setup = "mkdir d; yes old | head -c 5000 | tee a > d/c";
    let subject = Subject::of(
        "random".into(),
        Vec::new(),
        record_program(setup, &["python3", "-c", &program(&case.acts)]),
        Bounds::default(),
    );
    let subject = subject.map_err(|error| error.to_string())?;
    let schedule = case.schedule % subject.schedules.len();
    let execution = execute_on(guests, filesystem, &subject, schedule).await;
    for (model, sum) in models().zip(compared) {
        let cut;
        let execution = match model.cache {
            CacheKind::Lying => {
                let few = |log: &BlockLog| Fates::open(&model, &log.writes).count() <= BigUint::from(case.most);
                let log = (1..=case.writes).rev().map(|writes| beginning(&execution.log, writes)).find(few);
                cut = Execution { start: execution.start.clone(), log: log.unwrap_or_default() };
                &cut
            }
            _ => &execution,
        };
        let more = compare(guests, filesystem, execution, model, case.most, bug).await?;
        sum.epochs += more.epochs;
        sum.states += more.states;
        sum.mounts += more.mounts;
        sum.outcomes = sum.outcomes.max(more.outcomes);
    }
    Ok(())
}

/// Runs so many random cases, always the same.
fn run(uml: vm::Uml, kind: &str, cases: u32, bug: Option<usize>) -> Result<Vec<Compared>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // All that there is is read, so that outcomes differ where states do.
    let read_plan = ReadPlan { read_all_up_to: 1 << 20, ..ReadPlan::default() };
    let guests = RefCell::new(OneGuest::new(uml, Arc::new(read_plan)));
    let compared = RefCell::new(vec![Compared::default(); models().count()]);
    let shrink = if bug.is_some() { 0 } else { 30 };
    let config = Config { cases, max_shrink_iters: shrink, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let filesystem = filesystem(kind);
    let outcome = runner.run(&case(), |case| {
        let (guests, compared) = (&mut *guests.borrow_mut(), &mut *compared.borrow_mut());
        let outcome = runtime.block_on(one_case(guests, &filesystem, &case, bug, compared));
        outcome.map_err(TestCaseError::fail)
    });
    // A guest ends in its runtime.
    runtime.block_on(async { drop(guests) });
    outcome.map(|()| compared.into_inner()).map_err(|error| error.to_string())
}

fn agree(kind: &str, cases: u32) {
    let Some(uml) = uml() else { return };
    let compared = run(uml, kind, cases, None).unwrap_or_else(|problem| panic!("{problem}"));
    for (model, compared) in models().zip(&compared) {
        eprintln!("{kind}, {model:?}: {compared:?}");
        assert!(compared.epochs > 0, "{kind}, {model:?}: nothing to compare");
    }
    assert!(compared.iter().any(|compared| compared.outcomes > 1), "{kind}: all states look the same");
}

#[test]
fn on_ext4() {
    agree("ext4", 8);
}

#[test]
fn on_xfs() {
    agree("xfs", 6);
}

#[test]
fn on_btrfs() {
    agree("btrfs", 6);
}

#[test]
fn on_f2fs() {
    agree("f2fs", 6);
}

/// The comparison is worth something only if it tells an explorer that is wrong.
#[test]
fn an_explorer_that_leaves_out_one_branch_is_told() {
    let Some(uml) = uml() else { return };
    for turn in 0..3 {
        let problem = run(uml.clone(), "ext4", 8, Some(turn)).expect_err("the seeded bug was not found");
        assert!(problem.contains("by brute force"), "{problem}");
    }
}
