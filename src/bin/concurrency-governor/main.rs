//! `concurrency-governor`: shows how much work may be in flight on this host, and why.
//!
//! - `explain` prints the readings with their sources, and each gate with its limit and how it was derived.
//! - `check` compares limits and readings with requirements. Its exit code is the result.
//! - `capture` copies the files that the probes read, so that `explain --root` can read them on another machine.
//! - `diff` compares two hosts.
//! - `watch` refreshes readings and limits, and shows each change.
//! - `simulate` runs requests through the gates of a plan and reports waits and rejections.
//! - `fleet` shows and changes the limits that many processes share, in their ledger.
//! - `completions` and `man` print what a package installs beside the program.
//!
//! Wrong input produces one line on standard error, or one line for each problem of a plan, nothing on standard output, and
//! exit code 2.

#[cfg(target_os = "linux")]
mod capture;
mod check;
mod cli;
mod completions;
#[cfg(target_os = "linux")]
mod diff;
mod explain;
mod flags;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod fleet;
mod man;
mod output;
mod report;
mod shares;
mod simulate;
mod usage;
mod watch;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use cli::{Cli, CliCommand};
use output::{CommandOutput, ErrorLines};
use usage::EarlyExit;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let output = match Cli::parse_args(&args) {
        Ok(cli) => {
            cli.color.write_global();
            run(cli.command).map_err(|error| error.redact_urls(&args))
        }
        Err(EarlyExit::Page(page)) => Ok(CommandOutput::success(page)),
        Err(EarlyExit::UsageError(error)) => Err(ErrorLines::one(error)),
    };
    match output {
        Ok(output) => write_stdout(&output),
        Err(error) => {
            write_error(&error);
            ExitCode::from(EXIT_ERROR)
        }
    }
}

/// Runs a command and returns its output. `watch` writes its output itself.
fn run(command: CliCommand) -> Result<CommandOutput, ErrorLines> {
    let text = match command {
        CliCommand::Check(args) => return check::run(&args).map_err(|error| error.lines()),
        #[cfg(target_os = "linux")]
        CliCommand::Diff(args) => return diff::run(&args).map_err(|error| error.lines()),
        CliCommand::Explain(args) => explain::run(&args).map_err(|error| error.lines()),
        #[cfg(target_os = "linux")]
        CliCommand::Capture(args) => capture::run(&args).map_err(ErrorLines::one),
        CliCommand::Watch(args) => watch::run(&args).map(|()| String::new()).map_err(|error| error.lines()),
        CliCommand::Simulate(args) => simulate::run(&args).map_err(|error| error.lines()),
        #[cfg(any(feature = "redis", feature = "postgres"))]
        CliCommand::Fleet(args) => fleet::run(&args).map_err(ErrorLines::one),
        CliCommand::Completions(args) => Ok(completions::run(&args, &mut cli::definition())),
        CliCommand::Man(args) => man::run(&args, cli::definition()).map_err(ErrorLines::one),
    };
    text.map(CommandOutput::success)
}

/// Writes to standard output. Removes the colours if they are not wanted there.
fn write_stdout(output: &CommandOutput) -> ExitCode {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(output.text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => output.exit_code(),
        // The reader closed the pipe, as `head` does. It does not want more output, which is not an error.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => output.exit_code(),
        Err(error) => {
            write_error(&ErrorLines::one(format_args!("cannot write to standard output: {error}")));
            ExitCode::from(EXIT_ERROR)
        }
    }
}

/// Writes an error to standard error.
fn write_error(error: &ErrorLines) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let text: String = error.lines().map(|line| line + "\n").collect();
    // If standard error is closed too, the exit code is the only report left.
    let _: io::Result<()> = write!(anstream::stderr().lock(), "{style}error:{style:#} {text}");
}

/// The exit code for input that is invalid or that a policy rejects, and for output that cannot be written. 1 is a negative result.
const EXIT_ERROR: u8 = 2;
