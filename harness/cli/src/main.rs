//! The program: reads the command line and hands it to the command.

use std::process::ExitCode;

use harness::cli::{Cli, Command};
use harness::commands;
use report::ExitStatus;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows where to print what.
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("HARNESS_LOG").unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let outcome = match cli.command {
        Command::Run(arguments) => commands::run::run(*arguments),
        Command::Record(arguments) => commands::record::record(arguments),
        Command::Show(arguments) => commands::show::show(&arguments),
        Command::Reproduce(arguments) => commands::reproduce::reproduce(&arguments),
        Command::Judge(arguments) => commands::judge::judge(&arguments),
        Command::Diff(arguments) => commands::diff::diff(&arguments),
        Command::Gc(arguments) => commands::gc::gc(&arguments),
        Command::Serve { task } => {
            return match workload::serve(&task) {
                // A status above 255 is none.
                Ok(status) => u8::try_from(status).unwrap_or(1).into(),
                Err(reason) => {
                    eprintln!("{reason}");
                    ExitCode::FAILURE
                }
            };
        }
        Command::Doctor => commands::doctor::doctor(),
    };
    outcome.unwrap_or_else(|failure| failure.tell()).into()
}
