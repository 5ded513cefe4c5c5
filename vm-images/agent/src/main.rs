//! Process 1 of the guest: replays traces, mounts crash states, observes them, reports.
//!
//! It never runs the workload itself. It does what the mailbox tells it, one command at a time.

mod ahead;
mod boot;
mod commit;
mod execute;
mod mailbox;
mod observe;
mod ordered;
mod populate;
mod rest;
mod settings;
mod watch;

use std::process::ExitCode;

use guest_agent::{aligned, calls};
use protocol::{Command, Reply};

/// Where the file system under test is mounted.
const MOUNT: &str = "/mnt";
/// The workload's directory in it.
const WORK: &str = "/mnt/w";

fn main() -> ExitCode {
    // On a line of its own: the kernel panics when this process ends, and must not be blamed.
    std::panic::set_hook(Box::new(|panic| eprintln!("\n{}: {panic}", protocol::AGENT_PANICKED)));
    let machine = match boot::boot() {
        Ok(machine) => machine,
        Err(reason) => {
            // No mailbox, so the console is all there is; the harness shows its end.
            eprintln!("guest agent: {reason}");
            boot::power_off();
            return ExitCode::FAILURE;
        }
    };
    let boot::Machine { mut mailbox, disk, hello } = machine;
    let mut read_plan = std::sync::Arc::default();
    let mut trace = execute::Recorded::default();
    let mut reply = Reply::Hello(hello);
    loop {
        let command = match mailbox.reply(&reply).and_then(|()| mailbox.command()) {
            Ok(command) => command,
            Err(reason) => {
                eprintln!("guest agent: {reason}");
                break;
            }
        };
        let outcome = match command {
            Command::Populate { filesystem, tree, holes } => populate::populate(&disk, &filesystem, &tree, &holes),
            Command::Trace { calls, live } => {
                trace = execute::Recorded { calls, live };
                Ok(Reply::Done)
            }
            Command::Execute { filesystem, steps, conditions } => {
                execute::execute(&disk, &filesystem, (&steps, conditions), &trace, &mut mailbox)
            }
            Command::ReadPlan(new) => {
                read_plan = new;
                Ok(Reply::Done)
            }
            Command::Observe { filesystem, mark } => {
                observe::observe(&disk, &filesystem, &read_plan, mark, &mut mailbox).map(Reply::Observed)
            }
        };
        reply = outcome.unwrap_or_else(Reply::Failed);
    }
    boot::power_off();
    ExitCode::SUCCESS
}
