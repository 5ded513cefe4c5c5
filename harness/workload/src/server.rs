//! A server and its client, run together: what `[server]` in `workload.toml` asks for.
//!
//! A process of its own ([`serve`]) starts the server, waits until it is ready, runs the client, and stops the server. It is what
//! is recorded, so that server and client are recorded processes of one program.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::Invocation;

/// What [`serve`] prints once the server is ready, if it is to say so.
pub const READY: &str = "server ready";

/// How often is looked whether the server is ready.
const GLANCE: Duration = Duration::from_millis(20);

/// How much of what a server prints is told if it ends too early, bytes.
const TOLD: usize = 2048;

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Server {
    /// Argument list: what is started before the command.
    pub command: Vec<String>,
    /// When the command may begin.
    pub ready: Ready,
    /// The signal that ends it, by its name.
    #[serde(default = "term")]
    pub stop: String,
}

fn term() -> String {
    "SIGTERM".into()
}

/// How a server shows that it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// It has printed this.
    Text(String),
    /// This TCP port of 127.0.0.1 can be connected to.
    Port(u16),
    /// This file is there; a relative path begins at the run directory.
    File(PathBuf),
}

/// What [`serve`] is to do, as one argument says it.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    server: Program,
    client: Program,
    ready: Ready,
    stop: i32,
    says_ready: bool,
    /// How long the server may take until it is ready.
    patience: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
struct Program {
    path: PathBuf,
    words: Vec<String>,
}

impl Program {
    fn of(invocation: &Invocation) -> Self {
        Self { path: invocation.program.clone(), words: invocation.argv.clone() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let [name, arguments @ ..] = self.words.as_slice() {
            command.arg0(name).args(arguments);
        }
        command.stdin(Stdio::null());
        command
    }
}

impl Server {
    /// The signal that ends it; `None` for a name that is no signal's.
    pub(crate) fn signal(&self) -> Option<Signal> {
        self.stop.parse().ok()
    }

    /// The argument for [`serve`] that has it run this server and that client, within this time both. `says_ready`: whether it
    /// is to print [`READY`].
    pub(crate) fn task(
        &self,
        server: &Invocation,
        client: &Invocation,
        time_limit: Duration,
        says_ready: bool,
    ) -> String {
        let stop = self.signal().unwrap_or(Signal::SIGTERM) as i32;
        let (server, client) = (Program::of(server), Program::of(client));
        // Soon enough that it can be told why, before both are killed.
        let patience = time_limit.mul_f32(0.8);
        let task = Task { server, client, ready: self.ready.clone(), stop, says_ready, patience };
        serde_json::to_string(&task).unwrap_or_default()
    }
}

/// Does what the argument says; gives the exit status of the client, as a shell would show it.
///
/// # Errors
/// The argument is none of [`Server`]'s, a program cannot be started, or the server ends before it is ready: in words.
pub fn serve(argument: &str) -> Result<i32, String> {
    let task: Task =
        serde_json::from_str(argument).map_err(|error| format!("this is no server and client: {error}"))?;
    let failed = |program: &Program, error| format!("cannot start {}: {error}", program.path.display());
    let (reader, writer) = std::io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
    let mut server = {
        let mut command = task.server.command();
        let errors = writer.try_clone().map_err(|error| failed(&task.server, error))?;
        command.stdout(writer).stderr(errors).spawn().map_err(|error| failed(&task.server, error))?
    };
    let ready = wait_until_ready(&mut server, &task.ready, reader, task.patience);
    let status = ready.and_then(|()| {
        if task.says_ready {
            let mut out = std::io::stdout();
            writeln!(out, "{READY}").and_then(|()| out.flush()).map_err(|error| format!("cannot print: {error}"))?;
        }
        task.client.command().status().map_err(|error| failed(&task.client, error))
    });
    // It may have ended by itself.
    if let Ok(signal) = Signal::try_from(task.stop) {
        let _ = kill(Pid::from_raw(server.id().cast_signed()), signal);
    }
    let _ = server.wait();
    let status = status?;
    Ok(status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1))
}

/// Waits, and reads what the server prints, which nobody else does, from now on to its end.
fn wait_until_ready(
    server: &mut Child,
    ready: &Ready,
    mut output: impl Read + Send + 'static,
    patience: Duration,
) -> Result<(), String> {
    let begun = Instant::now();
    let (sender, printed) = mpsc::channel::<Vec<u8>>();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = output.read(&mut buffer) {
            // Once it is ready, nobody listens any more.
            let _ = sender.send(buffer[..length].to_vec());
        }
    });
    let mut text = Vec::new();
    let mut is_over = false;
    loop {
        match printed.recv_timeout(GLANCE) {
            Ok(more) => text.extend(more),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => is_over = true,
        }
        if is_ready(ready, &text) {
            return Ok(());
        }
        if let Ok(Some(status)) = server.try_wait() {
            text.extend(printed.iter().flatten());
            return Err(format!("the server ended before it was ready ({status}); it printed: {}", last_of(&text)));
        }
        if begun.elapsed() > patience {
            let (waited, printed) = (patience.as_secs_f32(), last_of(&text));
            return Err(format!("the server was not ready ({ready}) after {waited:.0} s; it printed: {printed}"));
        }
        if is_over {
            std::thread::sleep(GLANCE);
        }
    }
}

/// The last of what a server printed, for an error.
fn last_of(printed: &[u8]) -> String {
    String::from_utf8_lossy(&printed[printed.len().saturating_sub(TOLD)..]).trim_end().to_owned()
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text {text:?}"),
            Self::Port(port) => write!(f, "port {port}"),
            Self::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

fn is_ready(ready: &Ready, printed: &[u8]) -> bool {
    match ready {
        Ready::Text(text) => printed.windows(text.len().max(1)).any(|window| window == text.as_bytes()),
        Ready::Port(port) => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        }
        Ready::File(path) => Path::new(path).exists(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Step;

    fn program(script: &str) -> Invocation {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let (step, program) = (Step::Command, "/bin/sh".into());
        Invocation { step, program, argv, env: BTreeMap::new(), directory: "/".into(), at: Vec::new() }
    }

    fn run(ready: Ready, server: &str, client: &str) -> Result<i32, String> {
        run_within(Duration::from_secs(60), ready, server, client)
    }

    fn run_within(time_limit: Duration, ready: Ready, server: &str, client: &str) -> Result<i32, String> {
        let it = Server { command: vec!["server".into()], ready, stop: "SIGTERM".into() };
        serve(&it.task(&program(server), &program(client), time_limit, false))
    }

    #[test]
    fn the_client_runs_while_the_server_does() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name).display().to_string();
        let server = format!(
            "trap 'echo stopped > {}; exit 3' TERM; sleep 0.1; touch {}; echo it is up; while :; do sleep 0.02; done",
            path("stopped"),
            path("up")
        );
        let client = format!("test -e {} && test ! -e {} && exit 7", path("up"), path("stopped"));
        assert_eq!(run(Ready::Text("is up".into()), &server, &client), Ok(7));
        assert!(place.path().join("stopped").exists());
        std::fs::remove_file(path("up")).unwrap();
        std::fs::remove_file(path("stopped")).unwrap();
        assert_eq!(run(Ready::File(path("up").into()), &server, &client), Ok(7));
    }

    #[test]
    fn a_server_that_ends_too_early_is_told() {
        let told = run(Ready::Text("up".into()), "echo no license >&2; exit 2", "exit 0").unwrap_err();
        assert!(told.ends_with("(exit status: 2); it printed: no license"), "{told}");
        assert!(serve("{}").is_err());
    }

    /// It was killed with all the rest when its time was up, and nobody learnt what it had waited for.
    #[test]
    fn a_server_that_never_is_ready_is_told() {
        let ready = Ready::Text("Ready".into());
        let told = run_within(Duration::from_secs(1), ready, "echo ready; exec sleep 60", "exit 0").unwrap_err();
        assert_eq!(told, "the server was not ready (text \"Ready\") after 1 s; it printed: ready");
    }
}
