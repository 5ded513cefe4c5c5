//! What a guest of each kind may do to the host, run by root and by an ordinary user: read from the host's /proc, and tried by
//! a process that is confined as guests are.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use filesystems::EXT4;
use testkit::Need;
use vm::{Accelerator, Confined, Guest, Landlock, Limits, Machine, NAMESPACES, Paths, Qemu, Uml};

/// The user and group that root runs this as.
const USER: u32 = 1000;

/// Where that user's process finds what it needs, since it may not look where root's is.
const PLACE: &str = "HARNESS_TEST_CONFINEMENT";

/// What the kernel says of all processes of a guest, which are the machine's and for User Mode Linux the guest's own, too.
struct Row {
    machine: &'static str,
    user: u32,
    processes: Vec<(Confined, Vec<String>)>,
}

impl Row {
    fn of(guest: &Guest) -> Self {
        let mut processes = Vec::new();
        for process in fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path()) {
            let Some(number) = process.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else {
                continue;
            };
            if group_of(number) != Some(guest.process()) || is_leash(&process) {
                continue;
            }
            // A process of the guest may end meanwhile.
            let Ok(confined) = Confined::of(number) else { continue };
            let Ok(environment) = fs::read(process.join("environ")) else { continue };
            let variables = String::from_utf8_lossy(&environment);
            let variables = variables.split('\0').filter(|variable| !variable.is_empty()).map(str::to_owned);
            processes.push((confined, variables.collect()));
        }
        Self { machine: guest.machine(), user: nix::unistd::geteuid().as_raw(), processes }
    }

    fn print(&self) {
        for (confined, environment) in &self.processes {
            let Confined { user, capabilities, bounding, no_new_privs, seccomp, namespaces, root } = confined;
            println!(
                "| {:<13} | {:>4} | {user:>5} | {capabilities:x} | {bounding:>12x} | {no_new_privs:<5} | {seccomp} | {root:<5} | {:<21} | {} |",
                self.machine,
                self.user,
                namespaces.iter().copied().collect::<Vec<_>>().join(" "),
                environment.join(" ")
            );
        }
    }

    fn check(&self, can: &vm::Probe) {
        assert!(!self.processes.is_empty());
        for (confined, environment) in &self.processes {
            assert_eq!((confined.capabilities, confined.no_new_privs), (0, true));
            assert_eq!(confined.namespaces, can.confined.namespaces);
            if can.obstacle.is_none() {
                assert_eq!(confined.namespaces.len(), NAMESPACES.len());
                assert_eq!(confined.bounding, 0);
                assert!(confined.root);
            }
            // Root may have been left without the privilege to become somebody, or be all there is in its user namespace.
            let may_set_user = Confined::of(std::process::id()).expect("this process").capabilities & 1 << 7 != 0;
            let map = fs::read_to_string("/proc/self/uid_map").expect("a map");
            let set_user = may_set_user && map.split_whitespace().nth(2).is_some_and(|count| count != "1");
            assert!(!set_user || confined.user != 0, "root's guests are somebody else's processes");
            let known = |variable: &String| {
                ["TMPDIR=.", "LD_PRELOAD=/proc/self/fd/"].iter().any(|known| variable.starts_with(known))
            };
            assert!(environment.iter().all(known), "{environment:?}");
            let filtered = self.machine != "uml" && can.sandbox == Some(true);
            assert_eq!(confined.seccomp, if filtered { 2 } else { 0 });
        }
    }
}

/// The process group of a process, as proc(5) tells it.
fn group_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which may hold anything: state, parent, group.
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

/// What ends a guest with the harness is of its group, and no part of it.
fn is_leash(process: &Path) -> bool {
    fs::read(process.join("cmdline")).is_ok_and(|line| line.starts_with(b"/bin/sh\0"))
}

/// Boots a guest of each kind and looks at it.
async fn guests_of_this_user() {
    let paths = Paths::from_environment();
    let can = vm::probe().expect("a confined process");
    let mut machines: Vec<Box<dyn Machine>> = Vec::new();
    if let Some(uml) = testkit::given(Need::Uml, Uml::find(&paths.cache)) {
        machines.push(Box::new(uml));
    }
    if let Some(qemu) = testkit::given(Need::Qemu, Qemu::find(&paths.kernels, None, Accelerator::Emulated)) {
        machines.push(Box::new(qemu));
    }
    println!("landlock {:?}, namespaces {:?}, sandbox {:?}", can.landlock, can.obstacle, can.sandbox);
    println!(
        "| machine       | by   | user  | capabilities | bounding set | no_new_privs | seccomp | own root | namespaces | environment |"
    );
    for machine in machines {
        let initramfs = machine.initramfs(&paths.cache, &[&EXT4]).expect("an initramfs");
        let guest = Guest::boot(machine.as_ref(), &initramfs, 2048, Limits::default()).await.expect("a guest");
        let row = Row::of(&guest);
        row.print();
        row.check(&can);
    }
    escaped(&can);
}

/// What a process can do that is confined as a guest's are, and has got out of its machine's hands.
fn escaped(host: &vm::Probe) {
    let (own, home) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let secret = home.path().join("secret");
    fs::write(&secret, "secret\n").expect("a file");
    // Whoever it is: what it may not is not for want of permission to the file.
    for (path, mode) in [(home.path(), 0o777), (&secret, 0o666)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode");
    }
    // Opens what it should not be able to write, and writes nothing.
    let script = r#"
        try() { name=$1; shift; if (eval "$@") >/dev/null 2>&1; then echo "$name: yes"; else echo "$name: no"; fi; }
        try "write its directory" 'echo x > file'
        try "read a library" ': < /etc/ld.so.cache'
        try "write a library's directory" ': >> /usr/lib/crash-harness'
        try "read the user's files" ': < "$secret"'
        try "write the user's files" ': >> "$secret"'
        try "make a file beside them" ': >> "$secret.new"'
        try "write /etc/passwd" 'test -s /etc/passwd && : >> /etc/passwd'
        try "set the kernel up" ': >> /proc/sys/kernel/core_pattern'
        try "read an environment" ': < /proc/$harness/environ'
        try "signal the harness" 'kill -0 $harness'
        try "see where the user's files are" 'test -e "$secret"'
        try "go through the harness's root" ': < /proc/$harness/root/etc/passwd'
        try "mount" 'mount -t tmpfs none /'
        try "become somebody" 'setpriv --reuid=0 true'
    "#;
    let mut command = vm::confined(own.path(), Path::new("/bin/sh")).expect("a command");
    command.args(["-c", script]).env("secret", &secret).env("harness", std::process::id().to_string());
    let output = command.output().expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("a process so confined can:\n{text}");
    let can: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    assert_eq!(can.len(), 14, "{output:?}");
    for (what, answer) in can {
        // Whatever the host lacks.
        let always =
            ["write /etc/passwd", "set the kernel up", "mount", "become somebody", "write a library's directory"];
        let expected = match what {
            "write its directory" | "read a library" => "yes",
            "see where the user's files are" if host.confined.root => "no",
            "see where the user's files are" => continue,
            "signal the harness" if !matches!(host.landlock, Landlock::Enforced(6..)) => continue,
            _ if matches!(host.landlock, Landlock::Enforced(_)) || always.contains(&what) => "no",
            _ => continue,
        };
        assert_eq!(answer, expected, "{what}");
    }
}

#[tokio::test]
async fn of_root_or_whoever_runs_this() {
    guests_of_this_user().await;
}

/// Started by the test below, as somebody else.
#[tokio::test]
async fn of_the_user_that_root_runs_this_as() {
    if std::env::var_os(PLACE).is_some() {
        guests_of_this_user().await;
    }
}

#[test]
fn of_an_ordinary_user() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!(
            "skipped: only root can run guests as another user; the test beside this runs them as this one"
        );
    }
    let place = tempfile::tempdir().expect("a directory");
    let owned = |path: &Path| {
        chown(path, Some(USER), Some(USER)).and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
    };
    owned(place.path()).expect("root may do this");
    let [tests, cache, kernels] = ["tests", "cache", "kernels"].map(|name| place.path().join(name));
    fs::copy(std::env::current_exe().expect("this program"), &tests).expect("a copy");
    fs::create_dir(&cache).expect("a directory");
    owned(&tests).and_then(|()| owned(&cache)).expect("root may do this");
    let mut variables = vec![("XDG_CACHE_HOME", cache), (PLACE, place.path().into())];
    let found = Paths::from_environment().kernels;
    if found.is_dir() {
        let copied = Command::new("cp").arg("-r").args([&found, &kernels]).status().expect("cp");
        assert!(copied.success());
        variables.push(("HARNESS_KERNELS", kernels));
    }
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]).arg(&tests);
    command.args(["--exact", "of_the_user_that_root_runs_this_as", "--nocapture", "--test-threads=1"]);
    command.envs(variables).current_dir("/");
    let output = command.output().expect("setpriv");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
