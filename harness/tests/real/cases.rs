//! Small programs that once got a wrong answer, each with the right one.

use report::{CellReport, Durable, Report, Verdict};
use workload::Workload;

use crate::support::{options, run, uml};

/// A program, and what must be said of it on each file system.
struct Case {
    name: &'static str,
    /// Its `workload.toml`.
    manifest: &'static str,
    /// A script beside it, `save.py`.
    script: &'static str,
    /// What is right; the answer is held against it in words.
    right: fn(&Report) -> Result<(), String>,
}

const BY_SCRIPT: &str =
    "setup = ['python3', '{workload}/save.py', 'old']\ncommand = ['python3', '{workload}/save.py', 'new']\n";

const CASES: &[Case] = &[
    // The source is removed only after the result is durable: at every moment one of the two is whole.
    Case {
        name: "safe_compress",
        manifest: "setup = ['python3', '{workload}/save.py']\ncommand = ['gzip', '--synchronous', 'data']\n",
        script: "import os; f = open('data', 'w'); f.write('content ' * 900); f.flush(); os.fsync(f.fileno())\n",
        right: |report| no_violation(report),
    },
    // SQLite with its rollback journal recovers; the directory is not synced after the journal is removed.
    Case {
        name: "sqlite_bare",
        manifest: "setup = ['sqlite3', 'a.db', \"create table t(a); insert into t values('old')\"]\n\
                   command = ['sqlite3', 'a.db', \"update t set a = 'new'\"]\n",
        script: "",
        right: |report| no_violation(report),
    },
    // One block, overwritten and grown.
    Case {
        name: "grown_in_place",
        manifest: BY_SCRIPT,
        script: "import os, sys\n\
                 fd = os.open('data', os.O_RDWR | os.O_CREAT, 0o644)\n\
                 os.pwrite(fd, b'old!' * 800 if sys.argv[1] == 'old' else b'new!' * 950, 0)\n\
                 os.fsync(fd)\n",
        right: |report| {
            all(report, |cell| {
                let found: Vec<String> =
                    cell.violations.iter().map(|it| reporters::sentences::observed(&it.observed)).collect();
                let known = |it: &report::ViolationReport| it.kind != checker::Kind::Garbage;
                // btrfs writes elsewhere.
                let is_wrong = cell.verdict() == Verdict::Violation || cell.id.fs == "btrfs";
                match is_wrong && cell.violations.iter().all(known) {
                    true => Ok(()),
                    false => Err(format!("{}: {found:?}", cell.verdict())),
                }
            })
        },
    },
    // Two complete updates of one sector, each synced and promised: both versions are complete.
    Case {
        name: "two_versions_in_place",
        manifest: "setup = ['python3', '{workload}/save.py', 'zero']\ncommand = ['python3', '{workload}/save.py', 'one', 'two']\n\
                   [[invariant]]\nkind = 'atomic-replace'\npath = 'data'\n\
                   [[invariant]]\nkind = 'durable-after'\nack = 'one'\npath = 'data'\n",
        script: "import os, sys\n\
                 for word in sys.argv[1:]:\n    \
                 fd = os.open('data', os.O_RDWR | os.O_CREAT, 0o644)\n    \
                 os.pwrite(fd, word.ljust(8).encode() * 8, 0); os.fsync(fd); os.close(fd)\n    \
                 d = os.open('.', os.O_RDONLY); os.fsync(d); os.close(d)\n    \
                 print(word, flush=True)\n",
        right: |report| verdicts(report, Verdict::Pass),
    },
    // A new file under its final name, filled, then synced with its directory: empty before the promise.
    Case {
        name: "made_in_place_then_synced",
        manifest: "setup = ['sh', '-c', 'echo x > other']\ncommand = ['python3', '{workload}/save.py']\n",
        script: "import os; f = open('data', 'w'); f.write('new' * 500); f.flush(); os.fsync(f.fileno())\n\
                 d = os.open('.', os.O_RDONLY); os.fsync(d); print('saved')\n",
        right: |report| {
            all(report, |cell| match cell.violations.iter().find(|it| it.kind == checker::Kind::Empty) {
                Some(violation) if matches!(violation.hint, Some(checker::Hint::MadeUnderFinalName { .. })) => Ok(()),
                found => Err(format!("{}: {:?}", cell.verdict(), found.map(|it| &it.hint))),
            })
        },
    },
    // Two independent faults, which the check tells apart.
    Case {
        name: "two_check_failures",
        manifest: "setup = ['sh', '-c', 'echo old1 > one; echo old2 > two']\n\
                   command = ['sh', '-c', 'echo new1 > one; echo new2 > two']\n\
                   check = ['sh', '-c', '[ -s one ] || { echo one is empty; exit 11; }; [ -s two ] || { echo two is empty; exit 22; }']\n",
        script: "",
        right: |report| {
            all(report, |cell| match cell.violations.len() {
                2 => Ok(()),
                number => Err(format!("{number} failures")),
            })
        },
    },
    // The cause comes first, and then a long trace.
    Case {
        name: "long_check_output",
        manifest: "setup = ['sh', '-c', 'echo old > one']\ncommand = ['sh', '-c', 'echo new > one']\n\
                   check = ['sh', '-c', '[ -s one ] || { echo CAUSE: one is empty; seq -f frame%g 20; exit 1; }']\n",
        script: "",
        right: |report| {
            all(report, |cell| {
                let lines: Vec<String> =
                    cell.violations.iter().flat_map(|it| &it.output).flat_map(checker::Output::lines).collect();
                let has = |line: &str| lines.iter().any(|it| it == line);
                match has("CAUSE: one is empty") && has("frame20") && !has("frame10") {
                    true => Ok(()),
                    false => Err(format!("{lines:?}")),
                }
            })
        },
    },
    // Prints 500 lines before it touches a file, then saves rightly: no more to explore than without.
    Case {
        name: "chatty",
        manifest: "setup = ['python3', '{workload}/save.py', 'old']\ncommand = ['python3', '{workload}/save.py', 'new', '500']\n",
        script: "import os, sys\n\
                 for i in range(int(sys.argv[2]) if len(sys.argv) > 2 else 0): print('step', i, flush=True)\n\
                 with open('data.new', 'w') as f:\n    \
                 f.write(sys.argv[1] * 1000); f.flush(); os.fsync(f.fileno())\n\
                 os.rename('data.new', 'data'); d = os.open('.', os.O_RDONLY); os.fsync(d)\n\
                 print('saved', flush=True)\n",
        right: |report| {
            verdicts(report, Verdict::Pass)?;
            all(report, |cell| match cell.schedules.total {
                0..500 => Ok(()),
                many => Err(format!("{many} schedules")),
            })
        },
    },
    // Prints much while it saves wrongly: the report stays readable.
    Case {
        name: "many_promises",
        manifest: "setup = ['sh', '-c', 'echo old > data']\n\
                   command = ['sh', '-c', 'for i in $(seq 2000); do echo line $i; done; echo new > data; echo done']\n",
        script: "",
        right: |report| {
            verdicts(report, Verdict::Violation)?;
            match reporters::final_text(report, false, None).lines().count() {
                0..200 => Ok(()),
                lines => Err(format!("{lines} lines")),
            }
        },
    },
    // What processes of the same command tell each other promises nothing.
    Case {
        name: "client_and_server",
        manifest: "setup = ['sh', '-c', 'echo 0 > value']\ncommand = ['python3', '{workload}/save.py']\n\
                   check = ['sh', '-c', 'v=$(cat value); case $v in 0|7) ;; *) exit 1;; esac; if grep -q \"set 7\" \"$HARNESS_ACKS\" && [ $v != 7 ]; then exit 2; fi']\n",
        script: "import os, socket, threading\n\
                 server = socket.create_server(('127.0.0.1', 0))\n\
                 def serve():\n    \
                 c, _ = server.accept(); word = c.recv(100).decode().split()[1]\n    \
                 with open('value.new', 'w') as f: f.write(word + '\\n'); f.flush(); os.fsync(f.fileno())\n    \
                 os.rename('value.new', 'value'); d = os.open('.', os.O_RDONLY); os.fsync(d)\n    \
                 c.sendall(b'ok'); c.close()\n\
                 t = threading.Thread(target=serve); t.start()\n\
                 c = socket.create_connection(server.getsockname()); c.sendall(b'set 7'); c.recv(10); t.join()\n\
                 print('stored 7')\n",
        right: |report| verdicts(report, Verdict::Pass),
    },
    // In place beside another file: neither a pass nor a false alarm, and the other one is judged.
    Case {
        name: "beside_an_index",
        manifest: BY_SCRIPT,
        script: "import os, sys\n\
                 fd = os.open('data', os.O_RDWR | os.O_CREAT, 0o644)\n\
                 os.pwrite(fd, sys.argv[1].encode() * 1000, 0); os.fsync(fd)\n\
                 with open('index.new', 'w') as f: f.write(sys.argv[1]); f.flush(); os.fsync(f.fileno())\n\
                 os.rename('index.new', 'index'); d = os.open('.', os.O_RDONLY); os.fsync(d)\n",
        right: |report| {
            verdicts(report, Verdict::Unjudged)?;
            match report::exit_status(report, false) {
                report::ExitStatus::Undecided => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    },
    // A database that its reader cannot open, whatever happens: encrypted, say. Nobody can tell.
    Case {
        name: "unreadable_database",
        manifest: BY_SCRIPT,
        script: "import os, sys\n\
                 with open('a.db', 'wb') as f:\n    \
                 f.write(b'SQLite format 3\\0' + sys.argv[1].encode() * 2000); f.flush(); os.fsync(f.fileno())\n",
        right: |report| verdicts(report, Verdict::Unjudged),
    },
    // What is ignored is no data.
    Case {
        name: "beside_what_is_ignored",
        manifest: "setup = ['python3', '{workload}/save.py', 'old']\ncommand = ['python3', '{workload}/save.py', 'new']\n\
                   ignore = ['*.pid']\n",
        script: "import os, sys\n\
                 open('run.pid', 'w').write(sys.argv[1] * 1000)\n\
                 with open('data.new', 'w') as f: f.write(sys.argv[1] * 1000); f.flush(); os.fsync(f.fileno())\n\
                 os.rename('data.new', 'data'); d = os.open('.', os.O_RDONLY); os.fsync(d)\n",
        right: |report| {
            verdicts(report, Verdict::Pass)?;
            all(report, |cell| match cell.durable_after_exit {
                Durable::Yes => Ok(()),
                other => Err(format!("durable: {other}")),
            })
        },
    },
    // A package manager: unpacks, syncs all, and puts the marker into place.
    Case {
        name: "unpacked_and_synced",
        manifest: UNPACKS,
        script: UNPACK,
        right: |report| verdicts(report, Verdict::Pass),
    },
    // The same without a sync of what was unpacked.
    Case {
        name: "unpacked_only",
        manifest: UNPACKS_ONLY,
        script: UNPACK,
        right: |report| {
            verdicts(report, Verdict::Violation)?;
            all(report, |cell| match cell.violations.iter().all(|it| it.invariant == "tree current: store") {
                true => Ok(()),
                false => Err(format!("{:?}", cell.violations)),
            })
        },
    },
];

const UNPACKS: &str = "command = ['python3', '{workload}/save.py', 'sync']\n\
                       [[invariant]]\nkind = 'tree'\nmarker = 'current'\npaths = ['store/']\n";
const UNPACKS_ONLY: &str = "command = ['python3', '{workload}/save.py']\n\
                            [[invariant]]\nkind = 'tree'\nmarker = 'current'\npaths = ['store/']\n";
const UNPACK: &str = "import os, sys\n\
    def sync(path):\n    \
    if len(sys.argv) > 1: fd = os.open(path, os.O_RDONLY); os.fsync(fd); os.close(fd)\n\
    os.makedirs('store/2')\n\
    for name in ('bin', 'doc'):\n    \
    with open('store/2/' + name, 'w') as f: f.write(name * 1000)\n    \
    sync('store/2/' + name)\n\
    os.symlink('bin', 'store/2/link')\n\
    for path in ('store/2', 'store', '.'): sync(path)\n\
    with open('current.new', 'w') as f: f.write('2'); f.flush(); os.fsync(f.fileno())\n\
    os.rename('current.new', 'current')\n\
    sync('.')\n";

fn all(report: &Report, right: impl Fn(&CellReport) -> Result<(), String>) -> Result<(), String> {
    let wrong = |cell: &CellReport| right(cell).err().map(|wrong| format!("{}: {wrong}", cell.id));
    let wrong: Vec<String> = report.cells.iter().filter_map(wrong).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

fn verdicts(report: &Report, verdict: Verdict) -> Result<(), String> {
    all(report, |cell| match cell.verdict() == verdict {
        true => Ok(()),
        false => Err(format!("{}: {:?} {:?} {:?}", cell.verdict(), cell.violations, cell.unjudged, cell.failure)),
    })
}

/// A pass on each file system.
fn no_violation(report: &Report) -> Result<(), String> {
    verdicts(report, Verdict::Pass)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_case_gets_its_answer() {
    if uml().is_none() {
        return;
    }
    // One of them alone, for who looks into it.
    let only = std::env::var("HARNESS_CASE").ok();
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| only.as_deref().is_none_or(|only| only == case.name)) {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join(case.name);
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join("workload.toml"), case.manifest).unwrap();
        std::fs::write(place.join("save.py"), case.script).unwrap();
        let workload = Workload::load(&place).unwrap();
        let options = options(&["ext4", "xfs", "btrfs"]);
        let report = run(&[workload], &options, &directory.path().join("run")).await.report;
        match (case.right)(&report) {
            Ok(()) => println!("{}: right", case.name),
            Err(why) => wrong.push(format!("{}: {why}", case.name)),
        }
    }
    assert_eq!(wrong, [""; 0]);
}
