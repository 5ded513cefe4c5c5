//! A guest that runs: boots, takes commands, answers, and goes.

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use device::{Hub, Sockets};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use protocol::{Command, Hello, Reply, frame};
use storage::Backing;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tracing::debug;

use crate::death::{self, Death, End, Late, Sample, Watch};
use crate::processor::Processor;
use crate::{Launch, Machine};

/// Time limits. They count the guest's processor time, since a host that gives it none says nothing of the guest; by the
/// clock it has many times as long, unless it sleeps and asks for nothing all that time. Each is multiplied by the machine's
/// [`Machine::patience`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the start to the agent's first word.
    pub boot: Duration,
    /// For one command, whatever it is about.
    pub command: Duration,
    /// For each MiB of the largest command so far, too: what a guest was given is what it then writes, reads and
    /// compares.
    pub mebibyte: Duration,
    /// For each step of a replay, too.
    pub step: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (boot, command) = (Duration::from_secs(30), Duration::from_secs(20));
        Self { boot, command, mebibyte: Duration::from_millis(250), step: Duration::from_millis(100) }
    }
}

/// What went wrong with a guest. `Boot`, `Died` and `Defect` mean that it is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// Nothing was started.
    #[error("failed to start a {machine} guest: {reason}")]
    Setup {
        /// The machine's name.
        machine: &'static str,
        /// Why.
        reason: String,
    },
    /// It did not come up.
    #[error("a {machine} guest did not boot: it {reason}{}", shown(console))]
    Boot {
        /// The machine's name.
        machine: &'static str,
        /// Whose doing it was.
        death: Death,
        /// Why.
        reason: String,
        /// The end of its console.
        console: String,
    },
    /// It ran, and then it did not.
    #[error("the guest {reason}{}", shown(console))]
    Died {
        /// Whose doing it was. After [`Death::Hang`] it still runs.
        death: Death,
        /// What happened.
        reason: String,
        /// The end of its console.
        console: String,
    },
    /// What stands behind its disk panicked: it is answered no more.
    #[error("a defect of the harness: {0}")]
    Defect(String),
    /// Its kernel does not take what it is to mount. The guest lives.
    #[error("the guest agent {0}")]
    NotMounted(String),
    /// The agent could not do what it was told. The guest lives.
    #[error("the guest agent {0}")]
    Refused(String),
}

/// A running guest. Dropping it kills it, and everything that it started or put anywhere.
pub struct Guest {
    machine: &'static str,
    hub: Arc<Hub>,
    replies: mpsc::UnboundedReceiver<Result<Vec<u8>, String>>,
    console: Arc<Mutex<Vec<u8>>>,
    process: Process,
    limits: Limits,
    patience: u32,
    /// The longest command so far, MiB.
    largest: u32,
    hello: Hello,
    /// When it was last asked for a processor of its own, which it has not.
    crowded: Option<Instant>,
    // Dropped in this order, after the process: the sockets, then the directory they are in.
    _sockets: Sockets,
    _processor: Option<Processor>,
    _directory: TempDir,
}

impl Guest {
    /// Boots a guest whose data disk has `sectors` sectors of 512 bytes.
    pub async fn boot(
        machine: &dyn Machine,
        initramfs: &Path,
        sectors: u64,
        limits: Limits,
    ) -> Result<Self, GuestError> {
        let name = machine.name();
        let setup = |reason: String| GuestError::Setup { machine: name, reason };
        // A short name: socket paths may have no more than 107 bytes (unix(7)).
        let directory =
            tempfile::Builder::new().prefix("guest-").permissions(Permissions::from_mode(0o700)).tempdir().map_err(
                |error| setup(format!("failed to make a directory below {}: {error}", std::env::temp_dir().display())),
            )?;
        let processor = machine.takes_turns().then(Processor::claim).flatten();
        let entered = processor.as_ref().and_then(Processor::enter);
        let (sender, replies) = mpsc::unbounded_channel();
        let hub = Hub::new(sectors, Box::new(move |reply| drop(sender.send(reply))));
        let sockets = device::serve(&hub, directory.path()).map_err(|error| setup(error.to_string()))?;
        let launch = Launch { directory: directory.path(), data: sockets.data, mailbox: sockets.mailbox, initramfs };
        let console = Arc::new(Mutex::new(Vec::new()));
        let command = machine.command(&launch).map_err(|error| setup(error.to_string()))?;
        let process = Process::start(command, &console).map_err(setup)?;
        drop(entered);
        let hello = Hello { kernel: String::new(), write_cache: String::new() };
        let crowded = (machine.takes_turns() && processor.is_none()).then(Instant::now);
        let mut guest = Self {
            machine: name,
            hub,
            replies,
            console,
            process,
            limits,
            patience: machine.patience(),
            largest: 0,
            hello,
            crowded,
            _sockets: sockets,
            _processor: processor,
            _directory: directory,
        };
        let boot = |error| match error {
            GuestError::Died { death, reason, console } => GuestError::Boot { machine: name, death, reason, console },
            other => other,
        };
        match guest.answer(limits.boot).await.map_err(boot)? {
            Reply::Hello(hello) => guest.hello = hello,
            other => return Err(setup(format!("its agent began with {other:?}"))),
        }
        // Without this the kernel would never flush, and every result would be wrong without a word.
        if guest.hello.write_cache != "write back" {
            return Err(setup(format!("its kernel takes the disk's cache for \"{}\"", guest.hello.write_cache)));
        }
        Ok(guest)
    }

    /// The machine's name.
    pub fn machine(&self) -> &'static str {
        self.machine
    }

    /// The number of the machine's process, which leads the process group of all that belongs to the guest.
    pub fn process(&self) -> u32 {
        self.process.group()
    }

    /// The guest kernel's release.
    pub fn kernel(&self) -> &str {
        &self.hello.kernel
    }

    /// Whether it would be better off if it were booted anew: all processors were others' when it was started, and now
    /// one is free. Guests that share processors take more than twice the time for a mount, and those that come later
    /// often live longer.
    pub fn should_move(&mut self) -> bool {
        match self.crowded {
            Some(asked) if asked.elapsed() >= ASK_AGAIN => {
                self.crowded = Some(Instant::now());
                Processor::claim().is_some()
            }
            _ => false,
        }
    }

    /// Puts a disk behind the guest's data device. Nothing may be mounted.
    pub fn insert(&self, disk: Box<dyn Backing>) {
        self.hub.swap(disk);
    }

    /// Takes the disk out again.
    pub fn eject(&self) -> Box<dyn Backing> {
        self.hub.take()
    }

    /// Has the agent carry out a command.
    pub async fn call(&mut self, command: &Command) -> Result<Reply, GuestError> {
        let bytes = frame::encode(command).map_err(|error| GuestError::Refused(error.to_string()))?;
        self.largest = self.largest.max((bytes.len() >> 20) as u32);
        let steps = match command {
            Command::Execute { steps, .. } => steps.len() as u32,
            _ => 0,
        };
        let Limits { command, mebibyte, step, .. } = self.limits;
        self.hub.command(&bytes);
        match self.answer(command + mebibyte * self.largest + step * steps).await? {
            Reply::NotMounted(reason) => Err(GuestError::NotMounted(reason)),
            Reply::Failed(reason) => Err(GuestError::Refused(reason)),
            reply => Ok(reply),
        }
    }

    /// The next answer, if it comes within `limit` of processor time on hardware.
    async fn answer(&mut self, limit: Duration) -> Result<Reply, GuestError> {
        let limit = limit * self.patience;
        let group = self.process.group();
        let problem;
        let end = tokio::select! {
            biased;
            reply = self.replies.recv() => match reply {
                Some(Ok(bytes)) => match frame::decode(&bytes) {
                    Ok(reply) => return Ok(reply),
                    Err(error) => {
                        problem = error.to_string();
                        End::Garbled(&problem)
                    }
                },
                Some(Err(defect)) => {
                    self.process.kill();
                    return Err(GuestError::Defect(defect));
                }
                None => End::Garbled("its devices are gone"),
            },
            () = self.process.ended() => End::Gone(None),
            late = late(limit, &self.hub, &self.console, group) => End::Late(late),
        };
        let end = match end {
            // Others may have to be looked at before it can be said that this one hangs.
            End::Late(Late::Silence(_)) => end,
            // A dying kernel's last words may still be on their way.
            End::Gone(_) => End::Gone(self.process.kill()),
            End::Late(_) | End::Garbled(_) => {
                self.process.kill();
                end
            }
        };
        let console = self.console();
        let (death, reason) = death::judge(end, &console);
        Err(GuestError::Died { death, reason, console })
    }

    /// Whether its console shows that its kernel found itself broken.
    pub fn shows_fault_of_kernel(&self) -> bool {
        death::shows_fault_of_kernel(&self.console())
    }

    /// The end of what the guest wrote to its console.
    pub fn console(&self) -> String {
        let bytes = self.console.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        end_of(&String::from_utf8_lossy(&bytes))
    }
}

/// Waits until it is too late for an answer.
async fn late(limit: Duration, hub: &Hub, console: &Mutex<Vec<u8>>, group: u32) -> Late {
    let begun = Instant::now();
    let mut watch = Watch::new(limit);
    loop {
        tokio::time::sleep(watch.interval()).await;
        let written = console.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len();
        let (at, usage) = (begun.elapsed(), load::of_group(group));
        if let Some(late) = watch.look(Sample { at, usage, requests: hub.requests(), console: written }) {
            return late;
        }
    }
}

/// A console, for an error, if there is anything in it.
fn shown(console: &str) -> String {
    if console.trim().is_empty() { String::new() } else { format!("; the end of its console:\n{console}") }
}

/// The last lines of a console, and those that say why the guest gave up, which a long trace of the stack follows.
fn end_of(console: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = console.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let (before, last) = lines.split_at(lines.len().saturating_sub(LINES));
    let why = before.iter().filter(|line| death::says_why(line));
    why.chain(last).copied().collect::<Vec<_>>().join("\n")
}

/// How often a guest without a processor of its own looks for one: so rarely that it costs nothing, however many there
/// are.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The machine's process, and the thread that reads its console.
struct Process {
    child: Child,
    leash: Child,
    console: Option<std::thread::JoinHandle<()>>,
    ended: tokio::sync::watch::Receiver<bool>,
}

/// How much of a console is kept, bytes.
const CONSOLE: usize = 64 << 10;

impl Process {
    fn start(mut command: std::process::Command, console: &Arc<Mutex<Vec<u8>>>) -> Result<Self, String> {
        debug!(?command, "starting a guest");
        let shown = command.get_program().to_string_lossy().into_owned();
        let (mut reader, writer) = std::io::pipe().map_err(|error| format!("failed to make a pipe: {error}"))?;
        let errors = writer.try_clone().map_err(|error| format!("failed to copy a descriptor: {error}"))?;
        // As the leader of its group: User Mode Linux asks for a session of its own, which leaders are denied.
        command.stdin(Stdio::null()).stdout(writer).stderr(errors).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("failed to run {shown}: {error}"))?;
        // Holds our copies of the pipe's write end.
        drop(command);
        let leash = match leash(&child) {
            Ok(leash) => leash,
            Err(error) => {
                kill_group(&mut child);
                return Err(format!("failed to run {LEASH}: {error}"));
            }
        };
        let (sender, ended) = tokio::sync::watch::channel(false);
        let leader = Pid::from_raw(child.id().cast_signed());
        // Not when its console closes: if it alone is killed, helpers of User Mode Linux live on, and hold that open. WNOWAIT
        // leaves the number of the group taken until all of it is killed.
        std::thread::spawn(move || {
            loop {
                match waitid(Id::Pid(leader), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                    Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => break,
                    // If this process also traces it, its stops are told here, too.
                    Ok(_) | Err(Errno::EINTR) => std::thread::yield_now(),
                    Err(_) => break,
                }
            }
            let _ = sender.send(true);
        });
        let kept = console.clone();
        let console = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The pipe closes when the last process of the guest has ended.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                kept.extend_from_slice(&buffer[..count]);
                let excess = kept.len().saturating_sub(CONSOLE);
                kept.drain(..excess);
            }
        });
        Ok(Self { child, leash, console: Some(console), ended })
    }

    /// The process group of all that belongs to the machine.
    fn group(&self) -> u32 {
        self.child.id()
    }

    async fn ended(&mut self) {
        // An error means that the sender is gone, which it is only after the end.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }

    /// Kills the machine with all that it started, and collects what it leaves: how its process ended. If that was before,
    /// by itself, this changes nothing of it.
    fn kill(&mut self) -> Option<ExitStatus> {
        // Once: the group's number is its leader's, which is given to someone else once the leader has been waited for.
        let console = self.console.take()?;
        let status = kill_group(&mut self.child);
        let _ = self.leash.wait();
        let _ = console.join();
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills the process group that `leader` leads: User Mode Linux runs guest processes as processes of the host, in its
/// group.
fn kill_group(leader: &mut Child) -> Option<ExitStatus> {
    let _ = killpg(Pid::from_raw(leader.id().cast_signed()), Signal::SIGKILL);
    leader.wait().ok()
}

/// What holds the other end of a leash.
const LEASH: &str = "/bin/sh";

/// Sees to it that the process group that `leader` leads does not outlive this process, however that ends. A
/// parent-death signal (prctl(2)) would not do: it comes when the thread ends that started the machine, and User Mode
/// Linux has children that do not end with it. So a shell joins the group, which does nothing but wait until our end
/// of its input is closed, which the kernel sees to, and then kills the whole group.
fn leash(leader: &Child) -> std::io::Result<Child> {
    std::process::Command::new(LEASH)
        .args(["-c", "read -r _; kill -KILL 0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(leader.id().cast_signed())
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_console_is_not_shown() {
        let died = |console: &str| {
            let (death, reason) = (Death::Host, "is gone".to_owned());
            GuestError::Died { death, reason, console: console.into() }.to_string()
        };
        assert_eq!(died(" \r\n"), "the guest is gone");
        assert_eq!(died("a"), "the guest is gone; the end of its console:\na");
    }

    #[test]
    fn the_reason_of_a_panic_is_kept_however_long_the_trace() {
        let trace: String = (0..100).map(|line| format!(" [<{line}>] function\r\n\n")).collect();
        let end = end_of(&format!("boot\nKernel panic - not syncing: no\n{trace}"));
        assert!(end.starts_with("Kernel panic - not syncing: no\n [<60>] function\n"), "{end}");
        assert_eq!(end.lines().count(), 41);
        assert_eq!(end_of("boot\nKernel panic - not syncing: no"), "boot\nKernel panic - not syncing: no");
    }
}
