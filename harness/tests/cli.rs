//! The command line as its users meet it, with the real binary: messages, exit statuses, and what is left behind.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus};
use tempfile::TempDir;
use testkit::Need;

/// A place to work in, and another for everything temporary: nothing may be left there.
struct Place {
    here: TempDir,
    temporary: TempDir,
}

/// How a program ended.
struct Ended {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        Self { here: tempfile::tempdir().unwrap(), temporary: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A workload of this name.
    fn workload(&self, name: &str, manifest: &str) {
        self.write(&format!("{name}/workload.toml"), manifest);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.args(arguments).current_dir(self.here.path()).env("TMPDIR", self.temporary.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).spawn().unwrap())
    }

    /// One snapshot of what several command lines come to.
    fn tell(&self, commands: &[&[&str]]) -> String {
        let mut text = String::new();
        for arguments in commands {
            let ended = self.run(arguments);
            writeln!(text, "$ harness {}\n{}{}-> {}\n", arguments.join(" "), ended.stdout, ended.stderr, ended.status)
                .unwrap();
        }
        text
    }

    /// What is still there of what was temporary: guests, and files.
    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> =
            fs::read_dir(&self.temporary).unwrap().map(|entry| format!("{:?}", entry.unwrap().path())).collect();
        left.extend(self.guests());
        left
    }

    /// Machines that were told of sockets in our directory for temporary files.
    fn guests(&self) -> Vec<String> {
        self.guest_processes().into_iter().map(|(_, line)| line).collect()
    }

    /// The same, with their numbers.
    fn guest_processes(&self) -> Vec<(String, String)> {
        let ours = self.temporary.path().as_os_str().as_bytes();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some((entry.file_name().into_string().ok()?, line))
        });
        let named = lines.filter(|(_, line)| line.windows(ours.len()).any(|window| window == ours));
        named.map(|(pid, line)| (pid, String::from_utf8_lossy(&line).replace('\0', " "))).collect()
    }

    /// The one directory below results/runs.
    fn results(&self) -> PathBuf {
        let mut runs: Vec<_> =
            fs::read_dir(self.path("results/runs")).unwrap().map(|run| run.unwrap().path()).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.remove(0)
    }

    fn report(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.results().join("report.json")).unwrap()).unwrap()
    }
}

impl Ended {
    fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { status: shown(output.status), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// As a shell shows it.
fn shown(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
}

/// Takes a snapshot without what differs from run to run.
macro_rules! assert_tells {
    ($place:expr, $text:expr) => {
        let escape = |path: &Path| path.display().to_string().replace('.', r"\.");
        let filters = [
            (format!("{}/crash-harness-[^/]*/[^/]*", escape($place.temporary.path())), "[FRESH]"),
            (escape($place.temporary.path()), "[TMP]"),
            (escape($place.here.path()), "[HERE]"),
            (r"\d{10}-([0-9a-f]{8}|\[HASH\])".into(), "[RUN]"),
            (format!(r"47\d{}", std::process::id()), "[LONG]"),
            // As long as a user's number is written.
            (r"promises \d+ bytes, \d+ are".into(), "promises [MANY] bytes, [OTHER] are"),
            // What a tool of the distribution says.
            (r"(mkfs.ext4 failed: ).*(No space left on device).*".into(), "${1}… ${2} …"),
            (r"/\.trace-\w+".into(), "/[TRACE]"),
        ];
        let filters = filters.iter().map(|(from, to)| (from.as_str(), *to));
        insta::with_settings!({ filters => filters, omit_expression => true }, {
            insta::assert_snapshot!($text);
        });
    };
}

/// Whether this machine has User Mode Linux; says so if not.
fn uml() -> bool {
    let found = vm::program(&["linux.uml"]).ok_or("this machine has no User Mode Linux");
    testkit::given(Need::Uml, found).is_some()
}

/// Seconds to sleep in vain: a number that only children of this process name, and among them those of one test.
fn long(test: u8) -> String {
    format!("47{test}{}", std::process::id())
}

/// Whether a program sleeps so long.
fn sleeping(long: &str) -> bool {
    let line = format!("sleep\0{long}\0").into_bytes();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    processes.filter_map(|path| fs::read(path).ok()).any(|found| found == line)
}

/// Waits until something holds.
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads what a child says until a line holds `text`; then goes on reading, so that it is not kept waiting.
fn wait_for_line(child: &mut Child, text: &str) {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains(text) {
        assert!(lines.read_line(&mut seen).unwrap() > 0, "ended without saying {text:?}: {seen}");
    }
    std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap().success());
}

const ON_UML: [&str; 5] = ["--vm", "uml", "--fs", "ext4", "--schedules=0"];

/// `harness run` with these arguments after `ON_UML`.
fn on_uml<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["run"], &ON_UML[..], arguments].concat()
}

#[test]
fn help() {
    let place = Place::new();
    assert_tells!(place, place.tell(&[&["--help"], &["run", "-h"], &["record", "-h"], &["reproduce", "-h"]]));
}

#[test]
fn wrong_usage() {
    let place = Place::new();
    place.write("plain", "");
    place.workload("set/one", "command = ['true']");
    place.workload("other/one", "command = ['true']");
    place.write("boot/kernel", "not a run's");
    assert_tells!(
        place,
        place.tell(&[
            &[],
            &["run"],
            &["run", "set/onne"],
            &["run", "set"],
            &["run", "plain"],
            &["run", "set/one", "other/one"],
            &["run", "set/one", "--", "true"],
            &["run", "--from", "set", "set/one"],
            &["run", "--from", "nowhere", "--", "true"],
            &["run", "--fs", "zfs", "set/one"],
            &["run", "--budget", "50", "set/one"],
            &["run", "--budget", "0s", "set/one"],
            &["run", "--budget", "0mounts", "set/one"],
            &["run", "--budget", "-5m", "set/one"],
            &["run", "--schedules", "-1", "set/one"],
            &["run", "--seed", "-1", "set/one"],
            &["run", "--jobs", "-1", "set/one"],
            &["run", "--time-limit", "-1", "--", "true"],
            &["run", "--name", "", "--", "true"],
            &["run", "--name", "two", "set/one"],
            &["run", "sh", "save me.sh"],
            &["run", "sh", "-c", "echo new > f"],
            &["run", "--jobs", "0", "set/one"],
            &["run", "--vm", "uml", "--kernel", "plain", "set/one"],
            &["run", "--kernel", "nowhere", "set/one"],
            &["reproduce", "--vm", "uml", "--kernel", "plain", "00000000.c0.s0.e0"],
            &["reproduce", "--kernel", "nowhere", "00000000.c0.s0.e0"],
            &["run", "--out", "plain", "set/one"],
            &["run", "--out", "plain/below", "set/one"],
            &["run", "--out", "boot", "set/one"],
            &["run", "--out", "set", "set/one"],
            &["run", "--", ""],
            &["record", "-o", "trace"],
            &["record", "-o", "nowhere/trace", "--", "true"],
            &["record", "-o", "set", "--", "true"],
            &["diff", "plain", "plain"],
            &["diff", "set", "nowhere"],
        ])
    );
    assert!(!place.path("results").exists());
}

#[test]
fn malformed_workloads() {
    let place = Place::new();
    place.workload("unclosed", "description = 'x'\ncommand = ['true'");
    place.workload("misspelt", "comand = ['true']");
    place.workload("nothing", "");
    place.workload("kind", "command = ['true']\n[[invariant]]\nkind = 'atomic'\npath = 'f'\n");
    place.workload("key", "command = ['true']\n[[invariant]]\nkind = 'atomic-replace'\npaht = 'f'\n");
    place.workload("underscore", "command = ['true']\ntime_limit = 3\n");
    place.workload("unlike", "command = ['true']\nfrobnicate = 3\n");
    place.workload("early", "command = ['true']\nbuild = ['cc', '-o', '{run}/save', 'save.c']\n");
    place.workload("check", "command = ['true']\ncheck = ['no-such-checker']\n");
    assert_tells!(
        place,
        place.tell(&[
            &["run", "unclosed"],
            &["run", "misspelt"],
            &["run", "nothing"],
            &["run", "kind"],
            &["run", "key"],
            &["run", "underscore"],
            &["run", "unlike"],
            &["run", "early"],
            &["run", "check"],
        ])
    );
}

#[test]
fn commands_that_do_not_do() {
    let place = Place::new();
    let long = long(1);
    place.workload(
        "hangs",
        &format!("command = ['sh', '-c', 'echo waiting; sleep {long} & sleep {long}']\ntime-limit = 1\n"),
    );
    place.workload("build", "build = ['sh', '-c', 'echo no compiler; exit 3']\ncommand = ['true']\n");
    place.workload("setup", "setup = ['sh', '-c', 'echo no disk; exit 3']\ncommand = ['true']\n");
    place.write("script", "#!/bin/sh\n");
    assert_tells!(
        place,
        place.tell(&[
            &["run", "--", "sh", "-c", "echo begun; printf 'bad \\033[31mnews\\n' >&2; exit 7"],
            &["run", "--", "false"],
            &["run", "--", "sh", "-c", "kill -KILL $$"],
            &["run", "--", "sh", "-c", "exit 137"],
            &["run", "--", "no-such-program"],
            &["run", "--", "./script"],
            &["run", "--", "true"],
            &["run", "--time-limit", "1", "--", "sleep", &long],
            &["run", "--", "truncate", "-s", "2G", "large"],
            &["run", "--budget=1mount", "--", "sh", "-c", "head -c 90000000 /dev/zero > large"],
            &["run", "hangs"],
            &["run", "build"],
            &["run", "setup"],
        ])
    );
    wait("the killed command's children to be gone", || !sleeping(&long));
    assert_eq!(place.left(), Vec::<String>::new());
}

/// What is known after recording is said, and needs no guest; the command did change its file, and nobody says that it
/// did not.
#[test]
fn what_cannot_be_judged_is_not_explored() {
    let place = Place::new();
    let manifest = "setup = ['sh', '-c', 'echo old > data']\n\
                    command = ['sh', '-c', 't=$(mktemp {run}.XXXXXX) && echo new > $t && mv $t data']\n";
    place.workload("renamed", manifest);
    for crash in ["power", "both"] {
        let ended = place.run(&["run", "--crash", crash, "renamed"]);
        let said = "data came from outside the recorded directory";
        assert_eq!(ended.status, 70, "{}", ended.stderr);
        assert!(ended.stderr.contains("warning: renamed cannot be judged"), "{}", ended.stderr);
        assert!(ended.stderr.contains(said) && ended.stdout.contains(said), "{}{}", ended.stderr, ended.stdout);
        assert!(!(ended.stderr + &ended.stdout).contains("changed no file"));
        let report = place.report();
        for cell in report["cells"].as_array().unwrap() {
            let found = (&cell["verdict"], &cell["vm"], &cell["crash_states"]["mounts"]);
            assert_eq!(found, (&"invalid".into(), &"".into(), &0.into()), "{cell}");
        }
        assert_eq!(report["cells"].as_array().unwrap().len(), 3);
        fs::remove_dir_all(place.path("results")).unwrap();
    }
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Other workloads go on; and whoever asks for it sees what there is.
#[test]
fn what_cannot_be_judged_keeps_nothing_else_from_it() {
    if !uml() {
        return;
    }
    let place = Place::new();
    // Nothing is written through the mapping, but nobody can know.
    let script = "import mmap, os; fd = os.open('f', os.O_RDWR | os.O_CREAT); os.write(fd, b'new'); mmap.mmap(fd, 3)";
    place.workload("mapped", &format!("command = ['python3', '-c', \"{script}\"]\n"));
    place.workload("plain", "command = ['sh', '-c', 'echo x > f']\n");
    let ended = place.run(&on_uml(&["--budget=1mount", "mapped", "plain"]));
    assert_eq!(ended.status, 70, "{}", ended.stderr);
    let mounts = |place: &Place| {
        let report = place.report();
        let cells = report["cells"].as_array().unwrap().clone();
        cells.iter().map(|cell| cell["crash_states"]["mounts"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(mounts(&place), [0, 1]);
    fs::remove_dir_all(place.path("results")).unwrap();
    let ended = place.run(&on_uml(&["--budget=1mount", "--explore-invalid", "mapped"]));
    assert_eq!((ended.status, mounts(&place)), (70, vec![1]), "{}", ended.stderr);
}

/// Two bare commands of one interpreter can be told apart; two runs do not share a directory, and that is the user's to mend.
#[test]
fn a_name_of_ones_own_and_a_busy_directory() {
    let place = Place::new();
    let run = |arguments: &[&str]| {
        let command = ["--", "sh", "-c", "echo x > f.new; mv f.new f"];
        place.run(&[&["run", "--crash=process", "--out", "here"], arguments, &command].concat())
    };
    let ended = run(&["--name", "my save"]);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("| my save |"), "{}", ended.stdout);
    let lock = fs::File::open(place.path("here/lock")).unwrap();
    lock.lock().unwrap();
    let ended = run(&[]);
    assert_eq!(ended.status, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("error: another run is at work in here:"), "{}", ended.stderr);
}

/// What has no effect is said, and nothing is said of what has.
#[test]
fn options_of_machines_where_none_crashes() {
    let place = Place::new();
    let run = |crash| {
        let options = ["run", "--fs", "ext4", "--budget", "5mounts", "--exhaustive", "--out", "results", crash];
        place.run(&[&options[..], &["--", "sh", "-c", "echo x > f.new; mv f.new f"]].concat())
    };
    let ended = run("--crash=process");
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let warnings: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("warning:")).collect();
    assert_eq!(warnings, ["warning: --crash process needs no machine that crashes, so without effect: --fs, --budget"]);
}

/// Modes that a program gives to its directories do not keep them.
#[test]
fn a_read_only_directory_is_not_left_behind() {
    let place = Place::new();
    for directory in [place.here.path(), place.temporary.path()] {
        fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    let harness = place.path("harness");
    fs::copy(env!("CARGO_BIN_EXE_harness"), &harness).unwrap();
    // Modes keep nobody out who is root.
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = Command::new("setpriv");
    command.args(nobody).arg(&harness).args(["run", "--crash=process", "--out", "out", "--", "sh", "-c"]);
    command.arg("mkdir d d/e; echo x > d/e/f; chmod 500 d/e d").current_dir(place.here.path());
    command.env("TMPDIR", place.temporary.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Without a home, what is kept between runs would be below TMPDIR.
    command.env("XDG_CACHE_HOME", place.path("cache"));
    if !nix::unistd::geteuid().is_root() {
        command = place.command(&["run", "--crash=process", "--", "sh", "-c", "mkdir d; echo x > d/f; chmod 500 d"]);
    }
    let ended = Ended::of(command.spawn().unwrap());
    assert!(ended.status <= 1, "{}", ended.stderr);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Scripts find their checkout and its caches, whatever the shell that calls them has been told.
#[test]
fn scripts_in_a_strange_environment() {
    let place = Place::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let bash = |directory: &Path, arguments: &[&str]| {
        let mut command = Command::new("bash");
        command.args(arguments).current_dir(directory).env("CDPATH", place.path("elsewhere"));
        command.env("HARNESS_KERNELS", "kernels").env("XDG_CACHE_HOME", "cache");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = Ended::of(command.spawn().unwrap());
        assert_eq!(ended.status, 0, "{}", ended.stderr);
        ended.stdout
    };
    for directory in ["elsewhere/scripts", "elsewhere/.ci"] {
        fs::create_dir_all(place.path(directory)).unwrap();
    }
    let here = fs::canonicalize(place.here.path()).unwrap();
    let told = r#"source scripts/lib.sh; cd "$0"; choose_directories; echo "$ROOT $HARNESS_KERNELS $XDG_CACHE_HOME""#;
    let (root_text, here_text) = (root.display(), here.display());
    let expected = format!("{root_text} {here_text}/kernels {here_text}/cache\n");
    assert_eq!(bash(&root, &["-c", told, &here_text.to_string()]), expected);
    place.write("checkout/.ci/run", fs::read(root.join(".ci/run")).unwrap());
    place.write("checkout/scripts/lib.sh", "set_up() { pwd; exit; }");
    let checkout = here.join("checkout");
    assert_eq!(bash(&checkout, &[".ci/run"]), format!("{}\n", checkout.display()));
}

#[test]
fn recorded_and_shown() {
    let place = Place::new();
    let script = "echo x > 'f g'; echo saved";
    place.write("notes", "kept");
    let record: &[&str] = &["record", "-o", "trace", "--", "sh", "-c", script];
    let first = place.tell(&[record, &["show", "trace"]]);
    fs::remove_file(place.path("f g")).unwrap();
    // The older trace is no part of what the second run starts from.
    assert_eq!(place.tell(&[record, &["show", "trace"]]), first);
    let trace = program::Trace::from_bytes(&fs::read(place.path("trace")).unwrap()).unwrap();
    let names = |tree: &program::Tree| tree.0.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        (names(&trace.before), names(&trace.after)),
        (vec![".".into(), "notes".into()], vec![".".into(), "f g".into(), "notes".into()])
    );
    let failing = place.tell(&[
        &["record", "-o", "kept", "--", "false"],
        &["show", "kept"],
        &["record", "-o", "kept", "--", "sh", "-c", "kill -KILL $$"],
        &["show", "kept"],
        &["record", "-o", "none", "--", "/nowhere/program"],
        &["record", "-o", "none", "--", "./notes"],
        &["record", "-o", "none", "--time-limit", "1", "--", "sleep", &long(2)],
    ]);
    assert!(!place.path("none").exists());
    assert_tells!(place, first + &failing);
}

/// Names, and whatever stands in a trace, give the terminal no orders, and are no lines of their own.
#[test]
fn names_that_a_terminal_would_obey() {
    let place = Place::new();
    let outside = place.temporary.path().join("\x1b[2J\nexit 0").display().to_string();
    let recorded = place.run(&["record", "-o", "trace", "--", "sh", "-c", "echo x > \"$0\"", &outside]);
    let failed = place.run(&["record", "-o", "none", "--", "/nowhere/\x1b[2J"]);
    let mut trace = program::Trace::from_bytes(&fs::read(place.path("trace")).unwrap()).unwrap();
    trace.limits.push(program::Limit {
        call: "mmap".into(),
        detail: "mapping of \x1b]0;x\x07\nexit 0".into(),
        count: 1,
    });
    place.write("trace", trace.to_bytes());
    let shown = place.run(&["show", "trace"]);
    assert_tells!(place, [recorded.stderr, failed.stderr, shown.stdout].concat());
}

#[test]
fn files_that_are_no_traces() {
    let place = Place::new();
    assert_eq!(place.run(&["record", "-o", "trace", "--", "true"]).status, 0);
    let good = fs::read(place.path("trace")).unwrap();
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    place.write("empty", "");
    place.write("foreign", "#!/bin/sh\necho no trace\n");
    place.write("cut", &good[..good.len() - 1]);
    place.write("header", &good[..15]);
    place.write("longer", [&good[..], b"x"].concat());
    place.write("other-version", changed(8));
    place.write("flipped", changed(good.len() - 1));
    let names = ["empty", "foreign", "cut", "header", "longer", "other-version", "flipped", ".", "nowhere"];
    let commands = names.map(|name| ["show", name]);
    let commands: Vec<&[&str]> = commands.iter().map(|command| &command[..]).collect();
    assert_tells!(place, place.tell(&commands));
}

/// Results cannot be written, whichever disk is full; an older trace stays.
#[test]
fn full_disks() {
    let place = Place::new();
    if !uml() {
        return;
    }
    // Mounts of a namespace go with it, and in one of their own ordinary users may mount.
    let own = ["-r", "-m", "sh", "-c", r#"mount -t tmpfs -o size=64k none "$0" && exec "$@""#];
    let on_full_disk = |full: &Path, command: &Command| {
        let mut inside = Command::new("unshare");
        inside.args(own).arg(full).arg(command.get_program()).args(command.get_args());
        inside.current_dir(command.get_current_dir().unwrap()).envs(command.get_envs().map(|(k, v)| (k, v.unwrap())));
        inside.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ended::of(inside.spawn().unwrap())
    };
    let full = place.path("full");
    fs::create_dir(&full).unwrap();
    if on_full_disk(&full, Command::new("true").current_dir("/")).status != 0 {
        return testkit::skip(Need::Namespaces, &"this machine lets nobody mount a disk that could be full");
    }
    let mut text = String::new();
    let mut tell = |what: &str, ended: Ended| {
        let last = ended.stderr.lines().filter(|line| !line.contains("states")).collect::<Vec<_>>().join("\n");
        writeln!(text, "{what}: {}\n{last}\n", ended.status).unwrap();
        ended.stdout
    };
    // The image that a token needs does not fit, the report does.
    let violating = on_uml(&["--out", "full/results", "--", "sh", "-c", "echo x > f"]);
    let printed = tell("results", on_full_disk(&full, &place.command(&violating)));
    assert!(printed.contains("f is empty"), "{printed}");
    let mut command = place.command(&on_uml(&["--", "sh", "-c", "echo x > f"]));
    tell("temporary files", on_full_disk(&full, command.env("TMPDIR", &full)));
    let twice = r#"cd full; "$0" record -o t -- true; "$0" record -o t -- sh -c "head -c 40000 /dev/zero > f";
        echo $?; ls; exec "$0" show t"#;
    let mut command = Command::new("sh");
    command.args(["-c", twice, env!("CARGO_BIN_EXE_harness")]).current_dir(place.here.path());
    let shown = tell("a trace", on_full_disk(&full, &command));
    assert_eq!(shown, "3\nf\nt\nexit 0\n");
    assert_tells!(place, text);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// A mount option that one of the kernels does not know is told before anything is explored.
#[test]
fn unknown_mount_options() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let filesystems = ["--fs", "ext4", "--fs", "xfs:bogus=1"];
    let arguments = [&["run", "--vm=uml", "--jobs=1"], &filesystems[..], &["--", "sh", "-c", "echo x > f"]].concat();
    let ended = place.run(&arguments);
    assert_tells!(place, format!("{}{}-> {}", ended.stdout, ended.stderr, ended.status));
    let report = place.report();
    let cells = report["cells"].as_array().unwrap().iter();
    assert_eq!(cells.map(|cell| cell["verdict"].as_str().unwrap()).collect::<Vec<_>>(), ["incomplete", "invalid"]);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// A bare command in a copy of a directory with all kinds of names and files; the budget runs out; `--format json`; tokens.
#[test]
fn bare_command_and_its_tokens() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let bytes = |name: &[u8]| place.here.path().join("old state").join(std::ffi::OsStr::from_bytes(name));
    place.write("old state/a/b/c/d/e/f/g/h/deep", "deep");
    for name in [&b"not \xff utf-8"[..], b"new\nline", b"-dash", b"'quote\"", b"\x1b[31m"] {
        fs::write(bytes(name), "old").unwrap();
    }
    fs::write(bytes(b"empty"), "").unwrap();
    fs::hard_link(bytes(b"-dash"), bytes(b"hard")).unwrap();
    std::os::unix::fs::symlink("-dash", bytes(b"soft")).unwrap();
    std::os::unix::fs::symlink("nowhere", bytes(b"dangling")).unwrap();
    assert!(Command::new("mkfifo").arg(bytes(b"fifo")).status().unwrap().success());
    (0..1000).for_each(|index| fs::write(bytes(format!("many{index}").as_bytes()), "old").unwrap());
    // Saved rightly, so that only what is not durable shows.
    let script = r#"for name in "$(printf 'not \377 utf-8')" "$(printf 'new\nline')"
        do printf new > new; sync new; mv new "$name"; done
        mv hard a; rm many7; echo x > "$0""#;
    let outside = place.path("outside").display().to_string();
    let budget = ["--budget", "10mounts", "--format", "json", "--exhaustive", "--from", "old state"];
    let ended = place.run(&on_uml(&[&budget[..], &["--", "sh", "-c", script, &outside]].concat()));
    assert_eq!(ended.status, 5, "{}", ended.stderr);
    assert_eq!(ended.stdout, fs::read_to_string(place.results().join("report.json")).unwrap());
    let cell = &place.report()["cells"][0];
    assert_eq!((&cell["verdict"], &cell["crash_states"]["mounts"]), (&"incomplete".into(), &10.into()));
    let note = format!("{outside} was written outside the workload's directory: not tested");
    assert!(cell["notes"].as_array().unwrap().contains(&note.into()), "{cell}");

    let token = cell["not_durable"][0]["token"].as_str().unwrap().to_owned();
    let (run, _) = token.split_once('.').unwrap();
    let wrong = ["", "x", "c0.s0.e0", "00000000.c0.s0.e0", "../../tmp.c0.s0.e0"].map(str::to_owned);
    let wrong = wrong.into_iter().chain(
        ["", ".c0.s0", ".c9.s0.e0", ".c0.s99.e0", ".c0.s1.e0", ".c0.s0.e99", ".c0.s0.e0.l999", ".c0.s0.e0.l3-1"]
            .map(|rest| format!("{run}{rest}")),
    );
    let mut text = String::new();
    for token in wrong {
        let ended = place.run(&["reproduce", "--", &token]);
        writeln!(text, "{}{}-> {}", ended.stdout, ended.stderr, ended.status).unwrap();
    }
    let ended = place.run(&["reproduce", "--results", "nowhere", &token]);
    writeln!(text, "{}-> {}", ended.stderr, ended.status).unwrap();
    assert_tells!(place, text.replace(run, "[HASH]"));
    let ended = place.run(&["reproduce", "--vm=uml", "--image", "disk", &token]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, "the disk is in disk\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("not durable: "), "{}", ended.stdout);
    let again = place.run(&["reproduce", "--vm=uml", "--image", "disk", &token]);
    assert_eq!((again.status, again.stdout.as_str()), (2, ""), "{}", again.stderr);
    assert!(again.stderr.ends_with("(--force overwrites it)\n"), "{}", again.stderr);
    // Names give the terminal no orders, and are no lines of their own.
    assert!(!ended.stdout.contains('\x1b'), "{}", ended.stdout);
    assert!(ended.stdout.contains("\n  new ⏎ line: "), "{}", ended.stdout);
    // A kernel that is none is given to the machine, and not passed over.
    place.write("none/boot/vmlinuz-0", "");
    fs::create_dir_all(place.path("none/lib/modules/0")).unwrap();
    let ended = place.run(&["reproduce", "--vm=qemu", "--kernel", "none/boot/vmlinuz-0", &token]);
    assert_eq!((ended.status, ended.stdout.as_str()), (3, ""), "{}", ended.stderr);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Files of 20 MiB, old and new, in a workload whose directory has a space in its name.
#[test]
fn large_files() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let script = "head -c 20971520 /dev/zero | tr '\\\\0' '\\\\$1' > large";
    let [old, new] = ["141", "142"].map(|byte| format!("['sh', '-c', \"{}\"]", script.replace("$1", byte)));
    place.workload("in here/large file", &format!("setup = {old}\ncommand = {new}\n"));
    let ended = place.run(&on_uml(&["--budget=2mounts", "--format=json", "in here/large file"]));
    // It is written in place, and the first commit shows it.
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    let cell = &place.report()["cells"][0];
    assert_eq!((&cell["workload"], &cell["crash_states"]["mounts"]), (&"large file".into(), &2.into()), "{cell}");
    assert_eq!(place.left(), Vec::<String>::new());
}

/// The reader of the output goes away: no error, and no panic. Two runs in one directory get a directory each.
#[test]
fn closed_output_and_two_at_once() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let arguments = on_uml(&["--budget=1mount", "--", "sh", "-c", "echo x > f"]);
    let deaf = |arguments: &[&str]| {
        let mut child = place.command(arguments).spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        child
    };
    let (mut one, mut other) = (deaf(&arguments), deaf(&arguments));
    assert_eq!((shown(one.wait().unwrap()), shown(other.wait().unwrap())), (0, 0));
    let runs = fs::read_dir(place.path("results/runs")).unwrap().map(|run| run.unwrap().path());
    let runs: Vec<_> = runs.map(|run| run.join("report.json")).collect();
    assert_eq!(runs.len(), 2);
    assert_eq!(fs::read(&runs[0]).unwrap(), fs::read(&runs[1]).unwrap());
    assert!(place.path("results/latest/report.json").exists());
    let trace = place.path("results/latest/workload-0.trace").display().to_string();
    assert_eq!(shown(deaf(&["show", &trace]).wait().unwrap()), 0);
    assert_eq!(shown(deaf(&["run", "nowhere"]).wait().unwrap()), 2);
    assert_eq!(shown(deaf(&["record", "-o", "trace", "--", "sh", "-c", "echo x"]).wait().unwrap()), 0);
    let full = place.command(&["show", &trace]).stdout(fs::File::create("/dev/full").unwrap()).spawn().unwrap();
    let ended = Ended::of(full);
    assert_eq!((ended.status, ended.stderr.contains("No space left")), (3, true), "{}", ended.stderr);
}

/// A signal while nothing has been found yet.
#[test]
fn interrupted_early() {
    let place = Place::new();
    let wait = &format!("touch \"$0\"; sleep {0} & sleep {0}", long(3));
    let marker = place.path("marker").display().to_string();
    place.workload("build", &format!("command = ['true']\nbuild = ['sh', '-c', '''{wait}''', '{marker}']\n"));
    place.workload("setup", &format!("command = ['true']\nsetup = ['sh', '-c', '''{wait}''', '{marker}']\n"));
    place.workload("command", &format!("command = ['sh', '-c', '''{wait}''', '{marker}']\n"));
    let record = ["record", "-o", "trace", "--", "sh", "-c", wait, &marker];
    let commands: [&[&str]; 4] = [&["run", "build"], &["run", "setup"], &["run", "command"], &record];
    for (arguments, (name, status)) in
        commands.into_iter().zip([("INT", 130), ("TERM", 143), ("HUP", 129), ("INT", 130)])
    {
        let child = place.command(arguments).spawn().unwrap();
        self::wait("the program", || Path::new(&marker).exists());
        signal(&child, name);
        let ended = Ended::of(child);
        assert_eq!((ended.status, ended.stdout.as_str()), (status, ""), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("error: interrupted"), "{}", ended.stderr);
        assert_eq!(place.left(), Vec::<String>::new());
        fs::remove_file(&marker).unwrap();
    }
    self::wait("the programs to be gone", || !sleeping(&long(3)));
    assert!(!place.path("trace").exists() && !place.path("results").exists());
}

/// A signal while the program's crash points are checked one by one.
#[test]
fn interrupted_between_process_crashes() {
    let place = Place::new();
    let marker = place.path("marker").display().to_string();
    // It holds on what was there before the command and on what it left, or it would not be used.
    let check = format!(
        "if [ ! -e \"$0.1\" ]; then touch \"$0.1\"; elif [ ! -e \"$0.2\" ]; then touch \"$0.2\"; \
         else touch \"$0\"; sleep {}; fi",
        long(4)
    );
    place.workload(
        "w",
        &format!("command = ['sh', '-c', 'echo x > f']\ncheck = ['sh', '-c', '''{check}''', '{marker}']\n"),
    );
    let child = place.command(&["run", "--crash=process", "w"]).spawn().unwrap();
    wait("the check", || Path::new(&marker).exists());
    signal(&child, "INT");
    let ended = Ended::of(child);
    assert_eq!(ended.status, 130, "{}", ended.stderr);
    assert!(ended.stderr.contains("error: interrupted"), "{}", ended.stderr);
    wait("the check to be gone", || !sleeping(&long(4)));
    assert_eq!(place.left(), Vec::<String>::new());
}

/// A run that takes long: ten files, so that there are many schedules.
fn long_run(place: &Place) -> Child {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do echo x > f$i; done";
    let arguments = ["run", "--vm=uml", "--fs=ext4", "--fs=xfs", "--budget=none", "--jobs=2", "--", "sh", "-c", script];
    place.command(&arguments).spawn().unwrap()
}

fn run_name(place: &Place) -> String {
    place.results().file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn interrupted_at_work() {
    if !uml() {
        return;
    }
    let place = Place::new();
    // While guests boot.
    let mut child = long_run(&place);
    wait_for_line(&mut child, "starts (uml)");
    signal(&child, "TERM");
    assert_eq!(shown(child.wait().unwrap()), 143);
    assert_eq!(place.left(), Vec::<String>::new());
    fs::remove_dir_all(place.path("results")).unwrap();

    // While they explore: what was found is kept and printed.
    let child = long_run(&place);
    // What it says is read at the end.
    let found = |run: fs::DirEntry| fs::metadata(run.path().join("journal.jsonl")).is_ok_and(|file| file.len() > 0);
    let runs = || fs::read_dir(place.path("results/runs")).into_iter().flatten().flatten();
    wait("something to be found", || runs().any(found));
    signal(&child, "INT");
    let ended = Ended::of(child);
    assert_eq!(ended.status, 130);
    assert!(ended.stdout.contains("note: the run was cut short: interrupted"), "{}", ended.stdout);
    let go_on = format!("to go on with it: harness run --resume results/runs/{}", run_name(&place));
    assert!(ended.stderr.ends_with(&(go_on + "\n")), "{}", ended.stderr);
    assert_eq!(place.left(), Vec::<String>::new());
    let report = place.report();
    let cells = report["cells"].as_array().unwrap();
    assert!(cells.iter().any(|cell| cell["crash_states"]["mounts"].as_u64() > Some(0)), "{report}");
    assert!(cells.iter().all(|cell| cell["exhaustive"] == false && cell["verdict"] != "pass"), "{report}");
    assert!(place.path("results/latest/report.json").exists());
    fs::remove_dir_all(place.path("results")).unwrap();

    // Twice: at once, and as clean.
    let mut child = long_run(&place);
    wait_for_line(&mut child, "starts (uml)");
    signal(&child, "INT");
    signal(&child, "INT");
    assert_eq!(shown(child.wait().unwrap()), 130);
    wait("guests to be gone", || place.guests().is_empty());
    assert_eq!(place.left(), Vec::<String>::new());
}

/// Even if the harness has no chance to clean up, its guests go.
#[test]
fn killed() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let mut child = long_run(&place);
    wait_for_line(&mut child, " schedules, ");
    assert_ne!(place.guests(), Vec::<String>::new());
    signal(&child, "KILL");
    assert_eq!(shown(child.wait().unwrap()), 128 + 9);
    wait("guests to be gone", || place.guests().is_empty());
}

/// The command that is printed works as it is printed, and says so if it shows what another kernel makes of a state.
#[test]
fn replayed_from_results_elsewhere() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let results = ["--budget=20mounts", "--out", "my results"];
    let ended = place.run(&on_uml(&[&results[..], &["--", "sh", "-c", "echo x > f"]].concat()));
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    let line = ended.stdout.lines().find_map(|line| line.trim_start().strip_prefix("token ")).unwrap();
    let arguments = line.trim().strip_prefix("harness ").unwrap();
    let replay = || {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" {arguments}"), env!("CARGO_BIN_EXE_harness")]);
        command.current_dir(place.here.path()).env("TMPDIR", place.temporary.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ended::of(command.spawn().unwrap())
    };
    let same = replay();
    assert_eq!((same.status, same.stderr.as_str()), (1, ""), "{line}");
    let release = fs::read_to_string(place.path("my results/kernel")).unwrap();
    place.write("my results/kernel", "5.10.0");
    let other = replay();
    let warning = format!("warning: this guest has Linux {release}, and those of the run had Linux 5.10.0: ");
    assert!(other.stderr.starts_with(&warning), "{}", other.stderr);
    assert_eq!((other.status, other.stdout), (1, same.stdout));
    let diff = place.run(&["diff", "my results/report.json", "my results"]);
    assert_eq!((diff.status, diff.stdout.contains("unchanged  ")), (0, true), "{}", diff.stdout);
}

/// More schedules than could ever be replayed: some are chosen, it is said how many there are, and nothing is claimed.
#[test]
fn countless_schedules() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let script = "for f in 1 2 3 4 5 6 7 8 9; do echo > $f; done";
    let arguments = ["--schedules=4000000000", "--budget=5mounts", "--format=json", "--", "sh", "-c", script];
    let ended = place.run(&[&["run", "--vm", "uml", "--fs", "ext4"], &arguments[..]].concat());
    let cell = &place.report()["cells"][0];
    assert!(ended.status <= 1, "{}", ended.stderr);
    assert_eq!(cell["crash_states"]["mounts"], 5, "{cell}");
    assert!(cell["schedules"]["total"].as_u64().unwrap() > 1_000_000 && cell["exhaustive"] == false, "{cell}");
    assert!(cell["notes"].to_string().contains("20,000 of them were chosen"), "{cell}");
}

/// Killed or interrupted again and again, at moments that fall anywhere, and gone on with each time: the report is the one of a run
/// that nobody disturbed.
#[test]
fn a_killed_run_goes_on() {
    if !uml() {
        return;
    }
    let place = Place::new();
    place.workload("saver", "setup = ['sh', '-c', 'echo old > f']\ncommand = ['sh', '-c', 'echo new > f']\n");
    let begin = |out| ["run", "--vm=uml", "--fs=ext4", "--fs=xfs", "--tear=one", "--out", out, "saver"];
    let undisturbed = place.run(&begin("undisturbed"));
    assert_eq!(undisturbed.status, 1, "{}", undisturbed.stderr);
    let mut kills = 0;
    for (delay, name) in
        [50, 400, 700, 900, 1000, 1100, 1200, 1300, 1400, 1500].into_iter().zip(["KILL", "INT"].iter().cycle())
    {
        let begun = place.path("killed/run.json").exists();
        let arguments = if begun { vec!["run", "--resume", "killed"] } else { begin("killed").to_vec() };
        let mut child = place.command(&arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        if child.try_wait().unwrap().is_none() {
            signal(&child, name);
        }
        kills += u32::from(!child.wait().unwrap().success());
    }
    assert!(kills > 0);
    let ended = place.run(&["run", "--resume", "killed"]);
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    let report = |name: &str| fs::read_to_string(place.path(name).join("report.json")).unwrap();
    assert_eq!(report("killed"), report("undisturbed"));
    // What it had found, it did not look for again: a run that is over has nothing left to do but to confirm.
    let visits = |name: &str| {
        let journal = fs::read_to_string(place.path(name).join("journal.jsonl")).unwrap();
        journal.lines().filter(|line| line.contains("\"line\":\"visit\"")).count()
    };
    assert_eq!(visits("killed"), visits("undisturbed"));
    wait("guests to end", || place.guests().is_empty());
}

/// What runs in a guest of User Mode Linux are processes of the host. If they outlived the guest, the host would carry
/// out the calls that they are at: the agent's, with the agent's idea of where it is.
#[test]
fn nothing_of_a_guest_outlives_it() {
    if !uml() {
        return;
    }
    // What loses its parent becomes ours.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let place = Place::new();
    let script = "echo new > f; for i in 1 2 3 4 5 6 7 8; do echo x > f$i; done";
    let manifest = format!("setup = ['sh', '-c', 'echo old > f']\ncommand = ['sh', '-c', '{script}']\n");
    place.workload("saver", &manifest);
    let mut child =
        place.command(&["run", "--vm=uml", "--fs=ext4", "--budget=300mounts", "-j1", "saver"]).spawn().unwrap();
    wait_for_line(&mut child, " schedules, ");
    let field = |pid: &str, name: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let processes = place.guest_processes();
    let (kernel, traced): (Vec<_>, Vec<_>) =
        processes.iter().map(|(pid, _)| pid).partition(|pid| field(pid, "TracerPid:").as_deref() == Some("0"));
    assert!(!traced.is_empty(), "{processes:?}");
    // And if it could not be ended, it would not be where the user is, nor have a power but that over the modes of files
    // (CAP_DAC_OVERRIDE, 1).
    for (pid, _) in &processes {
        let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert!(directory.file_name().unwrap().to_str().unwrap().starts_with("guest-"), "{directory:?}");
        let capabilities = u64::from_str_radix(&field(pid, "CapEff:").unwrap(), 16).unwrap();
        assert_eq!(capabilities & !(1 << 1), 0, "{capabilities:x}");
    }
    let signal = |name: &str, pid: &str| {
        let arguments = ["-c", &format!("kill -{name} {pid}")];
        assert!(Command::new("sh").args(arguments).status().unwrap().success());
    };
    // So that it does not tidy up.
    signal("STOP", &child.id().to_string());
    kernel.iter().for_each(|pid| signal("KILL", pid));
    wait("the kernel to end", || {
        kernel.iter().all(|pid| field(pid, "State:").is_none_or(|state| state.starts_with('Z')))
    });
    // How each of them ended is told to us, now that its parent has: killed, and not of its own accord.
    let mut ends = Vec::new();
    wait("what ran in the guest to end", || {
        for pid in &traced {
            let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
            match nix::sys::wait::waitpid(pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::StillAlive) | Err(_) => {}
                Ok(end) => ends.push(end),
            }
        }
        ends.len() == traced.len()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = |end: &WaitStatus| matches!(end, WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGKILL, _));
    assert!(ends.iter().all(killed), "{ends:?}");
}

/// A journal of one kernel's states is of no use on another, and a refusal leaves the run as it is.
#[test]
fn a_run_goes_on_with_its_own_kernel_only() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let begun = place.run(&on_uml(&["--budget=20mounts", "--out", "begun", "--", "sh", "-c", "echo x > f"]));
    assert!(begun.status <= 1, "{}", begun.stderr);
    let report = || fs::read_to_string(place.path("begun/report.json")).unwrap();
    let first = report();
    let release = fs::read_to_string(place.path("begun/kernel")).unwrap();
    let cells: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(cells["cells"][0]["kernel"], release.as_str());
    let resume = ["run", "--resume", "begun"];
    let mut text = String::new();
    fs::write(place.path("begun/kernel"), "5.10.0").unwrap();
    text += &place.tell(&[&resume]);
    fs::remove_file(place.path("begun/kernel")).unwrap();
    text += &place.tell(&[&resume]);
    assert_tells!(place, text.replace(&release, "[RELEASE]"));
    assert_eq!(report(), first);
    fs::write(place.path("begun/kernel"), &release).unwrap();
    let ended = place.run(&resume);
    assert_eq!((ended.status, report()), (begun.status, first), "{}", ended.stderr);
    // Where nothing has been found, nothing can be of another kernel.
    fs::remove_file(place.path("begun/kernel")).unwrap();
    place.write("begun/journal.jsonl", "");
    let ended = place.run(&resume);
    assert_eq!(ended.status, begun.status, "{}", ended.stderr);
    assert_eq!(fs::read_to_string(place.path("begun/kernel")).unwrap(), release);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// What one check has found is not reported together with what another finds, nor what other tools would have found.
#[test]
fn a_run_goes_on_with_its_own_checks_and_tools_only() {
    if !uml() {
        return;
    }
    let place = Place::new();
    place.write(
        "w/workload.toml",
        "command = [\"sh\", \"-c\", \"echo x > f\"]\ncheck = [\"sh\", \"{workload}/check\"]\n",
    );
    place.write("w/check", "exit 0");
    let begun = place.run(&on_uml(&["--fs=ext4", "--budget=2mounts", "--out", "begun", "w"]));
    assert!(begun.status <= 1, "{}", begun.stderr);
    let refuses = |what: &str| {
        let refused = place.run(&["run", "--resume", "begun", "--workload", "w"]);
        assert_eq!(refused.status, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains(&format!("was begun with another {what} (")), "{}", refused.stderr);
    };
    place.write("w/check", "exit 0 # mended");
    refuses("check of w");
    place.write("w/check", "exit 0");
    let kept = fs::read_to_string(place.path("begun/run.json")).unwrap();
    for tool in ["build of the harness", "mkfs.ext4"] {
        let mut other: serde_json::Value = serde_json::from_str(&kept).unwrap();
        assert!(other["tools"][tool].is_string(), "{kept}");
        other["tools"][tool] = "another".into();
        engine::sum::seal(&mut other);
        place.write("begun/run.json", other.to_string());
        refuses(tool);
    }
    place.write("begun/run.json", kept);
    let ended = place.run(&["run", "--resume", "begun", "--workload", "w"]);
    assert_eq!(ended.status, begun.status, "{}", ended.stderr);
}

/// A host that is short of memory kills what is large. A guest that goes so is replaced, whatever it was doing, and what
/// it did is done again.
#[test]
fn a_killed_guest_is_replaced() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let script = "echo new > f; for i in 1 2 3 4 5 6 7 8; do echo x > f$i; done";
    let manifest = format!("setup = ['sh', '-c', 'echo old > f']\ncommand = ['sh', '-c', '{script}']\n");
    place.workload("saver", &manifest);
    // With a budget of mounts, all schedules are executed before anything is explored, and there are some hundreds: it
    // is an execution that is hit.
    let begin = |out| ["run", "--vm=uml", "--fs=ext4", "--budget=300mounts", "-j1", "--out", out, "saver"];
    let undisturbed = place.run(&begin("undisturbed"));
    assert_eq!(undisturbed.status, 1, "{}", undisturbed.stderr);
    let mut child = place.command(&begin("disturbed")).spawn().unwrap();
    wait_for_line(&mut child, " schedules, ");
    let guests = place.guest_processes();
    assert!(!guests.is_empty());
    for (pid, _) in guests {
        let _ = Command::new("sh").args(["-c", &format!("kill -KILL {pid}")]).stderr(Stdio::null()).status().unwrap();
    }
    let disturbed = Ended::of(child);
    assert_eq!(disturbed.status, 1, "{}", disturbed.stdout);
    let report = |name: &str| fs::read_to_string(place.path(name).join("report.json")).unwrap();
    assert_eq!(report("disturbed"), report("undisturbed"));
}

/// The results of a run that was cut short, as somebody else may have made them: with a check that leaves a trace of
/// itself in `place`, and one kept execution of what `sh` does.
fn results_from_elsewhere(place: &Place) {
    use engine::store::{Kept, KeptCell, KeptWorkload, Store, VERSION};
    assert_eq!(place.run(&["record", "-o", "trace", "--", "sh", "-c", "echo x > f"]).status, 0);
    let bytes = fs::read(place.path("trace")).unwrap();
    let canary = place.path("executed").display().to_string();
    let check = serde_json::json!({
        "directory": place.here.path(), "command": ["sh", "-c", "touch \"$CANARY\""], "env": { "CANARY": canary },
        "files": ""
    });
    let (store, _lock) = Store::create(&place.path("foreign")).unwrap();
    store.keep_trace(0, &program::Trace::from_bytes(&bytes).unwrap()).unwrap();
    let kept = Kept {
        version: VERSION,
        machine: "uml".into(),
        spec: Default::default(),
        cells: vec![KeptCell {
            workload: 0,
            fs: "ext4".into(),
            mount_options: String::new(),
            mkfs_options: String::new(),
        }],
        workloads: vec![KeptWorkload::new("w", &[], Some(serde_json::from_value(check).unwrap()))],
        tools: Default::default(),
    };
    store.keep("0a1b2c3d", &kept).unwrap();
    store.keep_execution(0, 0, (&storage::Image::zeroed(1 << 20), &storage::BlockLog::default()), &[]).unwrap();
}

/// A results directory is data.
#[test]
fn no_command_of_a_results_directory_is_run_unasked() {
    let place = Place::new();
    results_from_elsewhere(&place);
    let names = || {
        let mut names: Vec<_> = fs::read_dir(place.path("foreign")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    fs::remove_file(place.path("foreign/lock")).unwrap();
    let before = names();
    let refused = place.run(&["run", "--resume", "foreign"]);
    assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{}", refused.stderr);
    let shown = format!("\n  CANARY={} sh -c 'touch \"$CANARY\"'\n", place.path("executed").display());
    assert!(refused.stderr.contains(&shown) && refused.stderr.contains("--run-check"), "{}", refused.stderr);
    assert_eq!(names(), before, "refused before anything was written");
    // A workload of that name with another check is not the same.
    place.workload("workloads/w", "command = ['true']\ncheck = ['true']");
    assert_eq!(place.run(&["run", "--resume", "foreign"]).status, 2);
    for token in ["0a1b2c3d.c0.s0.e9", "0a1b2c3d.c0.s99.e0", "0a1b2c3d.c0.s0.e0.l7"] {
        for more in [&[][..], &["--run-check"]] {
            let ended = place.run(&[&["reproduce", "--results", "foreign", token], more].concat());
            assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
        }
    }
    assert!(!place.path("executed").exists());
}

#[test]
fn results_are_not_read_through_links_and_fifos() {
    let place = Place::new();
    place.write("victim", "mine");
    for kind in ["../victim", "/dev/zero", "fifo"] {
        let _ = fs::remove_dir_all(place.path("foreign"));
        results_from_elsewhere(&place);
        let swap = |name: &str| {
            let path = place.path("foreign").join(name);
            let _ = fs::remove_file(&path);
            match kind {
                "fifo" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                target => std::os::unix::fs::symlink(target, path).unwrap(),
            }
        };
        let refuses = |arguments: &[&str]| {
            let ended = place.run(arguments);
            assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{kind} {arguments:?}: {}", ended.stderr);
        };
        let replay = ["reproduce", "--results", "foreign", "0a1b2c3d.c0.s0.e0"];
        swap("report.json");
        refuses(&["diff", "foreign", "foreign"]);
        for name in ["cell-0-schedule-0.image", "cell-0-schedule-0.log", "workload-0.trace", "run.json", "run-id"] {
            swap(name);
            refuses(&replay);
        }
        refuses(&["run", "--resume", "foreign", "--run-check"]);
        refuses(&["show", "foreign/workload-0.trace"]);
    }
    assert_eq!(fs::read_to_string(place.path("victim")).unwrap(), "mine");
    assert!(!place.path("executed").exists());
}

#[test]
fn scratch_directories_are_private_and_do_not_stay() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let long = long(6);
    let mut child =
        place.command(&["run", "--crash=process", "--", "sh", "-c", &format!("sleep {long}; true")]).spawn().unwrap();
    wait("the command to run", || sleeping(&long));
    let scratch = fs::read_dir(&place.temporary).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::metadata(&scratch).unwrap().permissions().mode() & 0o777, 0o700);
    let run = || place.run(&["run", "--crash=process", "--", "sh", "-c", "echo x > f"]);
    run();
    assert!(scratch.exists(), "it is in use");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(scratch.exists());
    wait("the command to be gone", || !sleeping(&long));
    run();
    assert_eq!(place.left(), Vec::<String>::new());
}

/// One signal is enough, whatever is waited for: here, somebody who does not read the report.
#[test]
fn one_signal_ends_what_would_wait_for_ever() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let place = Place::new();
    let (_reader, writer) = nix::unistd::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(&writer, &[0; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let mut command = place.command(&["run", "--crash=process", "--", "sh", "-c", "echo x > f"]);
    let mut child = command.stdout(writer).spawn().unwrap();
    wait_for_line(&mut child, "results are in");
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, "TERM");
    assert_eq!(shown(child.wait().unwrap()), 143);
    assert_eq!(place.left(), Vec::<String>::new());
}

/// What the check of a workload says is not said where it was not run; what somebody took out of the journal is missed.
#[test]
fn checks_are_run_for_those_who_have_them() {
    if !uml() {
        return;
    }
    let place = Place::new();
    let check = "test ! -s $HARNESS_ACKS || test -s f || { echo nothing left; exit 1; }";
    place.workload("w", &format!("command = ['sh', '-c', 'echo x > f; echo done']\ncheck = ['sh', '-c', '{check}']"));
    let begun = place.run(&on_uml(&["--budget=20mounts", "--format=json", "--out", "begun", "w"]));
    assert_eq!(begun.status, 1, "{}", begun.stderr);
    let report: serde_json::Value = serde_json::from_str(&begun.stdout).unwrap();
    let token = report["cells"][0]["violations"][0]["token"].as_str().unwrap().to_owned();
    let replay = |more: &[&str]| place.run(&[&["reproduce", "--vm=uml", "--results", "begun", &token], more].concat());
    let unchecked = replay(&[]);
    assert_eq!(unchecked.status, 70, "{}", unchecked.stdout);
    for line in [
        "check not run, since it stands in the results: sh -c ",
        "the report says of this state: the check fails: exit 1: nothing left",
    ] {
        assert!(unchecked.stdout.lines().any(|found| found.starts_with(line)), "{}", unchecked.stdout);
    }
    assert!(!unchecked.stdout.contains("holds"), "{}", unchecked.stdout);
    for more in [&["--workload", "w"][..], &["--run-check"]] {
        let checked = replay(more);
        assert_eq!(checked.status, 1, "{}", checked.stdout);
        assert_eq!(checked.stderr.starts_with("running the check of w: sh -c "), more == ["--run-check"]);
    }
    // With right checksums: only looking at the states again tells.
    let id = fs::read_to_string(place.path("begun/run-id")).unwrap();
    let journal = fs::read_to_string(place.path("begun/journal.jsonl")).unwrap();
    place.write("begun/journal.jsonl", journal.replace("\"size\"", "\"sise\""));
    let refused = place.run(&["run", "--resume", "begun", "--workload", "w"]);
    assert_eq!(refused.status, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("journal.jsonl is damaged"), "{}", refused.stderr);
    place.write("begun/journal.jsonl", whitewashed(&journal, id.trim()));
    let refused = place.run(&["run", "--resume", "begun", "--workload", "w"]);
    assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("the journal of this run does not hold what is found now"), "{}", refused.stderr);
    place.write("begun/journal.jsonl", journal);
    let resumed = place.run(&["run", "--resume", "begun", "--workload", "w"]);
    assert_eq!(resumed.status, 1, "{}", resumed.stderr);
}

/// The journal of the run `id`, with eight of its visits, all in which `f` was empty: they are said to have seen what a
/// state looks like in which it was not.
fn whitewashed(journal: &str, id: &str) -> String {
    let lines = || journal.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let seen = |size: u64| {
        let is = |line: &serde_json::Value| line["line"] == "observation" && line["entries"]["f"]["size"] == size;
        lines().filter(is).map(|line| line["id"].clone()).collect::<Vec<_>>()
    };
    let (empty, whole) = (seen(0), seen(2));
    let seal = |mut line: serde_json::Value| {
        if line["line"] == "visit" {
            line["observation"] = whole[0].clone();
        }
        line.as_object_mut().unwrap().remove("checksum");
        engine::journal::seal(id, &line.to_string())
    };
    let (visits, others): (Vec<_>, Vec<_>) = lines().partition(|line| line["line"] == "visit");
    let empty = visits.into_iter().filter(|visit| empty.contains(&visit["observation"])).take(8);
    others.into_iter().chain(empty).map(seal).collect()
}
