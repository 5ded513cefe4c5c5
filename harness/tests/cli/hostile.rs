//! Files, directories and tokens that may come from anyone, in thousands: the harness does not panic, does not hang,
//! does not fill the memory, and shows nothing that was damaged as if it were what a run has found.
//!
//! What is *shown without a word*, by command, for a file that was changed without its checksum:
//!
//! - `show`: anything is printed, and it is not what was printed of the good trace.
//! - `diff` with the good run: anything is printed that is not what is printed of the good run and itself.
//! - `judge`: a report is printed that is not that of the good run, and in it each cell is exhaustive, without a note and
//!   without a failure. (Lines of a journal that are gone as a whole are found not to be there: less is covered.)
//! - `reproduce`: a state is shown, or would be if there was a guest, although a file of those that it is built of was
//!   changed; or what the report says of it is used although the report was changed, with no warning.
//! - `run --resume`: it comes to another report than the good run.
//!
//! Whoever changes checksums as well is not found out: only a signature could tell (docs/ci.md). Of these, of tokens and of
//! other workloads, only the rest is asked: no panic, no hang, no gigabyte.

mod bounded;
mod good;
mod mutate;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use self::bounded::Bounded;
use self::good::{Good, Manner, write};
use self::mutate::{Random, lengthen, special};
use crate::support::uml;

/// No more memory, bytes.
const MOST: u64 = 1 << 30;
/// No longer.
const LONGEST: Duration = Duration::from_secs(10);
/// A guest boots, and is given up only after a while.
const LONGEST_WITH_GUEST: Duration = Duration::from_secs(60);

/// What is asked of the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Trace,
    Judge,
    Reproduce,
    Diff,
    Token,
    Workload,
    ReproduceWithGuest,
    ResumeWithGuest,
}

/// How many of each: usually, and in `scripts/test --full`.
const COUNTS: [(Kind, usize, usize); 8] = [
    (Kind::Trace, 24, 3000),
    (Kind::Judge, 24, 2600),
    (Kind::Reproduce, 16, 1600),
    (Kind::Diff, 12, 1000),
    (Kind::Token, 8, 600),
    (Kind::Workload, 12, 1000),
    (Kind::ReproduceWithGuest, 3, 120),
    (Kind::ResumeWithGuest, 2, 80),
];

/// What a case came to.
struct Case {
    /// What was changed, and how.
    what: String,
    ended: Bounded,
    /// Whether something damaged was shown as if it was not.
    is_silent: bool,
}

#[derive(Default)]
struct Count {
    cases: usize,
    panics: usize,
    hangs: usize,
    other_statuses: usize,
    too_large: usize,
    silent: usize,
    /// Runs on guests that were asked to end after a while, and did.
    stopped: usize,
    largest: u64,
    longest: Duration,
}

impl Case {
    fn panicked(&self) -> bool {
        // Rust's own status, SIGABRT (out of memory) and SIGSEGV (no stack).
        matches!(self.ended.status, Some(101 | 134 | 139)) || self.ended.stderr.contains("panicked")
    }

    /// As documented (`report::ExitStatus`); 143 of those that were asked to end.
    fn has_other_status(&self) -> bool {
        let Bounded { status, was_stopped, .. } = &self.ended;
        let is_documented = |status| [0, 1, 2, 3, 4, 5, 70].contains(&status) || (*was_stopped && status == 143);
        !status.is_none_or(is_documented)
    }

    /// Whether it took too long. A run that is gone on with on guests takes as long as its manifest says: it hangs if it does
    /// not end when it is asked to.
    fn hangs(&self) -> bool {
        let is_at_work = self.ended.stderr.contains(": starts (uml)");
        self.ended.status.is_none() || self.ended.was_stopped && !is_at_work
    }

    fn add_to(&self, count: &mut Count) -> bool {
        count.cases += 1;
        let is = [
            (self.panicked(), &mut count.panics),
            (self.hangs(), &mut count.hangs),
            (self.has_other_status(), &mut count.other_statuses),
            (self.ended.largest > MOST, &mut count.too_large),
            (self.is_silent, &mut count.silent),
        ];
        let mut is_bad = false;
        for (holds, counted) in is {
            *counted += usize::from(holds);
            is_bad |= holds;
        }
        count.largest = count.largest.max(self.ended.largest);
        count.stopped += usize::from(self.ended.was_stopped);
        count.longest = count.longest.max(self.ended.took);
        is_bad
    }
}

#[test]
fn hostile_input() {
    if !uml() {
        return;
    }
    let good = Good::new();
    let others = good.contents();
    let mut cases = Vec::new();
    for (kind, usually, fully) in COUNTS {
        cases.extend((0..testkit::rounds(usually, fully)).map(|number| (kind, number as u64)));
    }
    // One alone, to look at it.
    if let Ok(wanted) = std::env::var("HARNESS_TEST_HOSTILE") {
        cases.retain(|(kind, number)| format!("{kind:?} {number}") == wanted);
    }
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(BTreeMap::<Kind, Count>::new());
    let failures = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(|| {
                while let Some(&(kind, number)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let case = case(&good, &others, kind, number);
                    if case.add_to(counts.lock().unwrap().entry(kind).or_default()) {
                        let Bounded { status, stdout, stderr, largest, took, .. } = &case.ended;
                        let (stdout, stderr) = (end_of(stdout), end_of(stderr));
                        failures.fetch_add(1, Ordering::Relaxed);
                        eprintln!(
                            "{kind:?} {number}: {}: silent {}, status {status:?}, {} MiB, {took:?}\n{stdout}\n{stderr}\n",
                            case.what,
                            case.is_silent,
                            largest >> 20
                        );
                    }
                }
            });
        }
    });
    let text = shown(&counts.into_inner().unwrap());
    println!("{text}");
    assert_eq!(failures.into_inner(), 0, "bad cases, told above");
    assert_eq!(good.left(), Vec::<String>::new());
}

/// Judging needs neither the kernel's name nor the data of writes to come to its verdict, and reports both.
#[test]
fn a_run_is_judged_by_whole_files_only() {
    if !uml() {
        return;
    }
    let good = Good::new();
    let judge = |name: &str, change: fn(&mut Vec<u8>)| {
        let place = crate::support::Place::new();
        write(&place.path("run"), &good.files);
        let mut content = good.file(name).to_vec();
        change(&mut content);
        place.write(&format!("run/{name}"), content);
        place.run(&["judge", "run", "--out", "out", "--format=json"])
    };
    let judged = judge("journal.jsonl", |_| ());
    assert_eq!((judged.status, judged.stdout.as_str()), (1, good.printed.as_str()), "{}", judged.stderr);
    for name in ["kernel", "report.json", IMAGE, LOG] {
        let refused = judge(name, |content| content[0] ^= 1);
        assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains(&format!("run/{name}")) || name == "report.json", "{}", refused.stderr);
    }
}

fn end_of(text: &str) -> String {
    text.chars().skip(text.chars().count().saturating_sub(1000)).collect()
}

fn shown(counts: &BTreeMap<Kind, Count>) -> String {
    let mut text = String::new();
    for (kind, count) in counts {
        let Count { cases, panics, hangs, other_statuses, too_large, silent, stopped, largest, longest } = count;
        writeln!(
            text,
            "hostile {kind:?}: {cases}: {panics} panics, {hangs} hangs, {other_statuses} other statuses, {too_large} too \
             large, {silent} shown without a word; largest {} MiB, longest {longest:.1?}, {stopped} stopped at work",
            largest >> 20
        )
        .unwrap();
    }
    text
}

/// A case has a directory of its own, which is all that it can change, and all that is left behind.
fn case(good: &Good, others: &[Vec<u8>], kind: Kind, number: u64) -> Case {
    let mut random = Random(number << 8 | kind as u64);
    let place = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let random = &mut random;
    let here = place.path();
    let manner = *random.one_of(&[Manner::Plain, Manner::Sealed]);
    let (what, arguments) = match kind {
        Kind::Trace => {
            let trace = good.file("workload-0.trace");
            let what = put(good, random, (&here.join("t"), "workload-0.trace", trace), manner, others);
            (what, vec!["show", "t"])
        }
        Kind::Judge => {
            let names: &[&str] = match manner {
                Manner::Plain => &PLAIN,
                Manner::Sealed => &["journal.jsonl", "journal.jsonl", "run.json", "workload-0.trace"],
            };
            let what = hostile_run(good, random, &here.join("run"), names, manner, others);
            (what, vec!["judge", "run", "--out", "out", "--format=json"])
        }
        Kind::Reproduce | Kind::ReproduceWithGuest => {
            let names: &[&str] = match manner {
                Manner::Plain => &["run.json", "run-id", "workload-0.trace", IMAGE, LOG, "report.json", "kernel"],
                Manner::Sealed => &["run.json", "workload-0.trace", IMAGE, LOG, LOG],
            };
            let what = hostile_run(good, random, &here.join("run"), names, manner, others);
            (what, reproduce(kind, &good.token))
        }
        Kind::Diff => {
            write(&here.join("good"), &good.files);
            let what = hostile_run(good, random, &here.join("run"), &["report.json"], Manner::Plain, others);
            let order = [["good", "run"], ["run", "good"]];
            let [before, after] = *random.one_of(&order);
            (what, vec!["diff", before, after])
        }
        Kind::Token => {
            write(&here.join("run"), &good.files);
            let others: Vec<Vec<u8>> = TOKENS.iter().map(|token| token.as_bytes().to_vec()).collect();
            let token = random.one_of(&TOKENS).replace("RUN", &good.id);
            let token = mutate::bytes(random, token.as_bytes(), &others);
            // As much as an argument can be (execve(2): 128 KiB), with no zero in it, and no option.
            let token: String = String::from_utf8_lossy(&token).chars().filter(|&c| c != '\0').take(30_000).collect();
            let token: &'static str = token.trim_start_matches('-').to_owned().leak();
            (format!("token {:?}", token.chars().take(200).collect::<String>()), reproduce(kind, token))
        }
        Kind::Workload => {
            let manifest = random.one_of(&WORKLOADS).as_bytes();
            let bad = mutate::bytes(random, manifest, others);
            fs::create_dir(here.join("w")).unwrap();
            let what = if random.below(8) == 0 {
                special(random, &here.join("w/workload.toml")).to_owned()
            } else {
                fs::write(here.join("w/workload.toml"), bad).unwrap();
                "workload.toml".into()
            };
            (what, vec!["run", "--crash=process", "--out", "out", "w"])
        }
        Kind::ResumeWithGuest => {
            let what = hostile_run(good, random, &here.join("run"), &PLAIN, manner, others);
            (what, vec!["run", "--resume", "run", "--format=json"])
        }
    };
    // A kernel that is none: whether a guest would be asked is known by then.
    fs::write(here.join("none"), "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.args(&arguments).current_dir(here).env("TMPDIR", temporary.path());
    let has_guest = matches!(kind, Kind::ReproduceWithGuest | Kind::ResumeWithGuest);
    let ended = bounded::run(command, if has_guest { LONGEST_WITH_GUEST } else { LONGEST });
    let left = fs::read_dir(temporary.path()).unwrap().count();
    let is_silent = manner == Manner::Plain && !is_told(good, kind, &what, &ended);
    let what = format!("{what} ({manner:?}), {left} left behind");
    assert!(left == 0 || ended.status.is_none(), "{kind:?} {number}: {what}");
    Case { what, ended, is_silent }
}

const IMAGE: &str = "cell-0-schedule-0.image";
const LOG: &str = "cell-0-schedule-0.log";

/// Files of a run that are changed: the journal more often, since much is in it.
const PLAIN: [&str; 9] =
    ["journal.jsonl", "journal.jsonl", "run.json", "run-id", "workload-0.trace", "kernel", "report.json", IMAGE, LOG];

/// The first is a state of the good run, the others need not be.
const TOKENS: [&str; 4] = [
    "RUN.c0.s0.e1",
    "RUN.c0.s0.e1.l0,3-5.t7h2",
    "RUN.c0.s3.e0.r0123456789abcdef.l1.t0t1.u2:0-3,7",
    "RUN.c4294967296.s18446744073709551615.e0.l0-16777216.u0:0-16777215",
];

/// Programs that can do no harm, whatever becomes of their arguments.
const WORKLOADS: [&str; 2] = [
    "command = [\"touch\", \"f\"]\n\n[env]\nA = \"b\"\n",
    "description = \"d\"\ntime-limit = 5\nsetup = [\"true\"]\ncommand = [\"touch\", \"f\", \"g\"]\n\n[[invariant]]\nkind = \
     \"atomic-replace\"\npath = \"f\"\n\n[[invariant]]\nkind = \"durable-after\"\nack = \"exit\"\npath = \"f\"\n",
];

fn reproduce(kind: Kind, token: &str) -> Vec<&str> {
    let machine: &[&str] =
        if kind == Kind::ReproduceWithGuest { &["--vm=uml"] } else { &["--vm=qemu", "--kernel=none"] };
    [&["reproduce", "--results", "run"], machine, &["--", token]].concat()
}

/// The good run, of which one file is hostile; says which, and what it is.
fn hostile_run(
    good: &Good,
    random: &mut Random,
    directory: &Path,
    names: &[&str],
    manner: Manner,
    others: &[Vec<u8>],
) -> String {
    write(directory, &good.files);
    let name = *random.one_of(names);
    put(good, random, (&directory.join(name), name, good.file(name)), manner, others)
}

/// Makes a hostile file of this name of what a good one holds; says what it is.
fn put(
    good: &Good,
    random: &mut Random,
    (path, name, content): (&Path, &str, &[u8]),
    manner: Manner,
    others: &[Vec<u8>],
) -> String {
    match random.below(16) {
        0 if manner == Manner::Plain => format!("{name} is {}", special(random, path)),
        1 if manner == Manner::Plain => {
            fs::write(path, content).unwrap();
            lengthen(random, path);
            format!("{name} is longer")
        }
        _ => {
            fs::write(path, good.hostile(random, name, content, manner, others)).unwrap();
            format!("{name} is changed")
        }
    }
}

/// Whether a damaged file was refused or made no difference, or what is shown says what it lacks: see above.
fn is_told(good: &Good, kind: Kind, what: &str, ended: &Bounded) -> bool {
    let Bounded { status, stdout, stderr, .. } = ended;
    let is_refused = matches!(status, Some(2 | 3 | 70)) && stdout.is_empty() && stderr.contains("error: ");
    // It would be shown, if there was such a kernel.
    let is_taken = stderr.contains("failed to take none for the guest's kernel");
    let warns = stderr.contains("warning: ");
    match kind {
        Kind::Trace | Kind::Diff => is_refused,
        Kind::Judge => is_refused || *stdout == good.printed || tells_what_it_lacks(stdout),
        // The kernel's name is compared with that of the guest.
        Kind::Reproduce if what.starts_with("kernel ") => is_refused,
        Kind::Reproduce if what.starts_with("report.json ") => is_refused && (warns || !is_taken),
        Kind::Reproduce => is_refused && !is_taken,
        Kind::ReproduceWithGuest => {
            is_refused || (warns && *stdout == good.reproduced) || (warns && what.starts_with("report.json "))
        }
        Kind::ResumeWithGuest => is_refused || *stdout == good.printed,
        Kind::Token | Kind::Workload => true,
    }
}

/// Whether a report says of itself that it is not all.
fn tells_what_it_lacks(report: &str) -> bool {
    let Ok(report) = serde_json::from_str::<serde_json::Value>(report) else { return false };
    let lacks = |cell: &serde_json::Value| {
        cell["exhaustive"] == false
            || cell["failure"].is_string()
            || cell["notes"].as_array().is_some_and(|notes| !notes.is_empty())
    };
    report["cells"].as_array().is_some_and(|cells| cells.iter().any(lacks))
}
