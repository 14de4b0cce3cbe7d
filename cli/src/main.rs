//! `aseptic`: the headless command. One verb, one workflow function, one exit code.
//!
//! It holds no logic of its own: it reads arguments, calls the workflow and tells what happened.
//! Start with [`args`], then `commands/`, one file a verb.

mod args;
mod commands;
mod console;
mod context;
mod event;
mod terminal;

use std::process::ExitCode;

use aseptic_workflow::{Code, DeviceState, Problem};
use clap::Parser as _;

use crate::args::Cli;
use crate::console::Console;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ASEPTIC_LOG").unwrap_or_else(|_| "error".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    aseptic_transports::ble::silence_library_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let mut console = Console::new(cli.json);
    #[cfg(unix)]
    if let Some(address) = context::radio_of(&cli) {
        use std::os::unix::process::CommandExt as _;
        let again = std::env::current_exe().map(|exe| {
            let mut again = std::process::Command::new(exe);
            again.args(std::env::args_os().skip(1)).env(context::RADIO_VARIABLE, address).exec()
        });
        let error = again.unwrap_or_else(|e| e);
        let problem = Problem::new(Code::Internal, error, "the simulated ward's radio cannot be reached");
        return ExitCode::from(console.problem(&problem));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let problem = Problem::new(Code::Internal, error, "the system gives no threads");
            return ExitCode::from(console.problem(&problem));
        }
    };
    let exit = match runtime.block_on(commands::run(cli, &mut console)) {
        Ok(done) => console.ended(&done),
        Err(problem) => console.problem(&problem),
    };
    runtime.shutdown_background();
    ExitCode::from(exit)
}

// Help and version go to standard output and are no failure; with --json even a usage error ends in one `ended`.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // The contract of `aseptic tuf` knows 0 and 1 only.
    let code = if std::env::args().nth(1).is_some_and(|a| a == "tuf") { Code::Internal } else { Code::Usage };
    if std::env::args().any(|a| a == "--json") {
        let message = error.to_string().lines().next().unwrap_or_default().to_owned();
        let problem = Problem::new(code, message, "see aseptic --help").with_state(DeviceState::NotInvolved);
        return ExitCode::from(Console::new(true).problem(&problem));
    }
    let _ = error.print();
    ExitCode::from(code.exit())
}
