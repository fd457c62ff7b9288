//! The command line as a whole: the commands, their help pages and the flag that all of them share.

use std::ffi::OsString;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Command, CommandFactory as _, Parser, Subcommand};

#[cfg(target_os = "linux")]
use crate::capture::{self, CaptureArgs};
use crate::check::{self, CheckArgs};
use crate::completions::{self, CompletionsArgs};
#[cfg(target_os = "linux")]
use crate::diff::{self, DiffArgs};
use crate::explain::{self, ExplainArgs};
#[cfg(any(feature = "redis", feature = "postgres"))]
use crate::fleet::{self, FleetArgs};
use crate::man::{self, ManArgs};
use crate::output::redact_url;
use crate::simulate::{self, SimulateArgs};
use crate::usage::EarlyExit;
use crate::watch::{self, WatchArgs};

/// Shows how much work may be in flight on this host, and why
#[derive(Debug, Parser)]
#[command(name = "concurrency-governor", bin_name = "concurrency-governor", version)]
#[command(arg_required_else_help = false, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: CliCommand,

    /// Colour: auto, always, never [default: auto]
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    #[arg(value_parser = PossibleValuesParser::new(COLOR_CHOICES).map(parse_color), hide_possible_values = true)]
    #[arg(display_order = DISPLAY_LAST)]
    pub(crate) color: anstream::ColorChoice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Print the limit of each gate and how it was derived
    #[command(after_help = explain::EXAMPLES, after_long_help = long_notes(explain::NOTES, explain::EXAMPLES))]
    Explain(ExplainArgs),
    /// Check limits and readings; exit with 1 if one is not as required
    #[command(after_help = check::EXAMPLES, after_long_help = long_notes(check::NOTES, check::EXAMPLES))]
    Check(CheckArgs),
    /// Copy the files that the probes read, for `explain --root`
    #[cfg(target_os = "linux")]
    #[command(after_help = capture::EXAMPLES, after_long_help = long_notes(capture::NOTES, capture::EXAMPLES))]
    Capture(CaptureArgs),
    /// Compare the readings and limits of two hosts
    #[cfg(target_os = "linux")]
    #[command(after_help = diff::EXAMPLES, after_long_help = long_notes(diff::NOTES, diff::EXAMPLES))]
    Diff(DiffArgs),
    /// Show readings and limits, and follow their changes
    #[command(after_help = watch::EXAMPLES, after_long_help = long_notes(watch::NOTES, watch::EXAMPLES))]
    Watch(WatchArgs),
    /// Simulate a load on the gates, and report waits and rejections
    #[command(after_help = simulate::EXAMPLES, after_long_help = long_notes(simulate::NOTES, simulate::EXAMPLES))]
    Simulate(Box<SimulateArgs>),
    /// Show and set the limits that many processes share
    #[cfg(any(feature = "redis", feature = "postgres"))]
    #[command(after_help = fleet::EXAMPLES, after_long_help = long_notes(fleet::NOTES, fleet::EXAMPLES))]
    #[command(disable_help_subcommand = true, arg_required_else_help = false)]
    Fleet(FleetArgs),
    /// Print a completion script for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print a manual page
    #[command(after_help = man::EXAMPLES)]
    Man(ManArgs),
}

impl Cli {
    /// Parses the arguments. The first one is the name of the program.
    ///
    /// # Errors
    ///
    /// [`EarlyExit`] with the page that was requested, or with one line that describes the mistake. The line contains no URL of `args`.
    pub(crate) fn parse_args(args: &[OsString]) -> Result<Self, EarlyExit> {
        let error = match Self::parse_and_check(args) {
            Err(error @ EarlyExit::UsageError(_)) => error,
            parsed => return parsed,
        };
        // The error quotes arguments, whole or in parts. So it is made again from arguments without the rest of each URL.
        let redacted: Vec<OsString> = args
            .iter()
            .map(|argument| {
                redact_url(&argument.to_string_lossy()).map_or_else(|| argument.clone(), Into::into)
            })
            .collect();
        if redacted == args {
            return Err(error);
        }
        match Self::parse_and_check(&redacted) {
            Err(error) => Err(error),
            Ok(_) => Err(EarlyExit::UsageError("an argument that contains a URL is wrong".to_owned())),
        }
    }

    fn parse_and_check(args: &[OsString]) -> Result<Self, EarlyExit> {
        let cli =
            Self::try_parse_from(args).map_err(|error| EarlyExit::from_clap(&error, definition(), args))?;
        let checked = match &cli.command {
            CliCommand::Explain(args) => args.input.check(),
            CliCommand::Check(args) => args.input.check(),
            CliCommand::Watch(args) => args.input.check(),
            CliCommand::Simulate(args) => args.check(),
            #[cfg(target_os = "linux")]
            CliCommand::Capture(_) => Ok(()),
            #[cfg(target_os = "linux")]
            CliCommand::Diff(args) => args.plan.check(),
            #[cfg(any(feature = "redis", feature = "postgres"))]
            CliCommand::Fleet(_) => Ok(()),
            CliCommand::Completions(_) | CliCommand::Man(_) => Ok(()),
        };
        checked.map_err(|error| EarlyExit::UsageError(error.to_string()))?;
        Ok(cli)
    }
}

/// Returns the parser's definition of the whole command line.
pub(crate) fn definition() -> Command {
    Cli::command()
}

/// Returns the end of a long help page: the notes, then the examples of the short page.
fn long_notes(notes: &str, examples: &str) -> String {
    format!("{notes}\n\n{examples}")
}

#[expect(clippy::needless_pass_by_value, reason = "`TypedValueParser::map` passes the value by value")]
fn parse_color(choice: String) -> anstream::ColorChoice {
    match &*choice {
        "always" => anstream::ColorChoice::Always,
        "never" => anstream::ColorChoice::Never,
        _ => anstream::ColorChoice::Auto,
    }
}

const COLOR_CHOICES: [&str; 3] = ["auto", "always", "never"];

/// The position in a help page: below the flags of the command, above `--help`.
const DISPLAY_LAST: usize = 900;

const EXAMPLES: &str = "\
Examples:
  concurrency-governor explain
  concurrency-governor explain --plan plan.toml --json
  concurrency-governor explain --reading cpu=1.5 --reading fd=unlimited
  concurrency-governor watch --every 250ms
  concurrency-governor simulate --rate 900/s --html report.html

`concurrency-governor COMMAND --help` describes a command in full.";
