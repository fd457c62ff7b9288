//! `concurrency-governor`: says what this host grants, and why.
//!
//! `explain` prints the readings with their sources, and each gate with its limit and what decided it. `capture` copies
//! what the readings come from, so that `explain` can read it elsewhere. Whatever is wrong with what it was given comes as one line on standard error, with exit code 2 and nothing on standard output.

mod args;
#[cfg(target_os = "linux")]
mod capture;
mod columns;
mod explain;
mod host;
mod json;
mod pages;
mod plain;
mod plan_file;
mod simulate;
mod table;
mod usage;
mod watch;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use args::{Args, Command, ExplainArgs};

fn main() -> ExitCode {
    let output = match Args::read(std::env::args_os()) {
        Ok(args) => {
            args.color.write_global();
            match args.command {
                Command::Explain(args) => explain(&args),
                #[cfg(target_os = "linux")]
                Command::Capture(args) => capture::capture(&args).map_err(|error| error.to_string()),
                Command::Watch(args) => {
                    watch::watch(&args).map(|()| String::new()).map_err(|error| error.to_string())
                }
                Command::Simulate(args) => simulate::simulate(&args).map_err(|error| error.to_string()),
                Command::Completions(args) => Ok(pages::completions(&args)),
                Command::Man(args) => pages::man(&args).map_err(|error| error.to_string()),
            }
        }
        Err(usage::Stop::Page(page)) => Ok(page),
        Err(usage::Stop::Refused(error)) => Err(error),
    };
    match output {
        Ok(text) => print(&text),
        Err(error) => {
            complain(&error);
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn explain(args: &ExplainArgs) -> Result<String, String> {
    let report = explain::Report::of(&args.given).map_err(|error| error.to_string())?;
    Ok(if args.json { json::render(&report) } else { table::render(&report) })
}

/// Writes to standard output, in colour where that is wanted and seen.
fn print(text: &str) -> ExitCode {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Who closes the pipe, as `head` does, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &str) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let line = format!("{style}error:{style:#} {}\n", plain::line(error));
    // Where standard error is closed too, the exit code has to do.
    let _: io::Result<()> = anstream::stderr().lock().write_all(line.as_bytes());
}

/// What was given cannot be understood, or not be granted.
const BAD_INPUT: u8 = 2;
