//! What these tests share: a place to work in, what a command line came to, and what is left behind.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::Need;

/// A place to work in, and another for everything temporary: nothing may be left there.
pub struct Place {
    pub here: TempDir,
    pub temporary: TempDir,
}

/// How a program ended.
pub struct Ended {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        Self { here: tempfile::tempdir().unwrap(), temporary: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A workload of this name.
    pub fn workload(&self, name: &str, manifest: &str) {
        self.write(&format!("{name}/workload.toml"), manifest);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.args(arguments).current_dir(self.here.path()).env("TMPDIR", self.temporary.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).spawn().unwrap())
    }

    /// One snapshot of what several command lines come to.
    pub fn tell(&self, commands: &[&[&str]]) -> String {
        let mut text = String::new();
        for arguments in commands {
            let ended = self.run(arguments);
            writeln!(text, "$ harness {}\n{}{}-> {}\n", arguments.join(" "), ended.stdout, ended.stderr, ended.status)
                .unwrap();
        }
        text
    }

    /// What is still there of what was temporary: guests, and files.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> =
            fs::read_dir(&self.temporary).unwrap().map(|entry| format!("{:?}", entry.unwrap().path())).collect();
        left.extend(self.guests());
        left
    }

    /// Machines that were told of sockets in our directory for temporary files.
    pub fn guests(&self) -> Vec<String> {
        self.guest_processes().into_iter().map(|(_, line)| line).collect()
    }

    /// The same, with their numbers.
    pub fn guest_processes(&self) -> Vec<(String, String)> {
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
    pub fn results(&self) -> PathBuf {
        let mut runs: Vec<_> =
            fs::read_dir(self.path("results/runs")).unwrap().map(|run| run.unwrap().path()).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.remove(0)
    }

    pub fn report(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.results().join("report.json")).unwrap()).unwrap()
    }
}

impl Ended {
    pub fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { status: shown(output.status), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// As a shell shows it.
pub fn shown(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
}

/// Takes a snapshot without what differs from run to run.
macro_rules! assert_tells {
    ($place:expr, $text:expr) => {
        let escape = |path: &std::path::Path| path.display().to_string().replace('.', r"\.");
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

pub(crate) use assert_tells;

/// Whether this machine has User Mode Linux; says so if not.
pub fn uml() -> bool {
    let found = vm::program(&["linux.uml"]).ok_or("this machine has no User Mode Linux");
    testkit::given(Need::Uml, found).is_some()
}

/// Seconds to sleep in vain: a number that only children of this process name, and among them those of one test.
pub fn long(test: u8) -> String {
    format!("47{test}{}", std::process::id())
}

/// Whether a program sleeps so long.
pub fn sleeping(long: &str) -> bool {
    let line = format!("sleep\0{long}\0").into_bytes();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    processes.filter_map(|path| fs::read(path).ok()).any(|found| found == line)
}

/// Waits until something holds.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads what a child says until a line holds `text`; then goes on reading, so that it is not kept waiting.
pub fn wait_for_line(child: &mut Child, text: &str) {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains(text) {
        assert!(lines.read_line(&mut seen).unwrap() > 0, "ended without saying {text:?}: {seen}");
    }
    std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
}

pub fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap().success());
}

pub const ON_UML: [&str; 5] = ["--vm", "uml", "--fs", "ext4", "--schedules=0"];

/// `harness run` with these arguments after `ON_UML`.
pub fn on_uml<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["run"], &ON_UML[..], arguments].concat()
}
