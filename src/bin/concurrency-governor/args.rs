//! The command line: what may be given, and what it means.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use concurrency_governor::plan::{NameError, QuantityError};
use concurrency_governor::{GateName, Quantity, Reading, Resource};

use crate::preset::Preset;
use crate::usage::{self, Stop};

/// How much work may be in flight on this host, and why
#[derive(Debug, Parser)]
#[command(name = "concurrency-governor", bin_name = "concurrency-governor", version)]
#[command(arg_required_else_help = false, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Colour: auto, always, never [default: auto]
    #[arg(long, global = true, value_name = "WHEN", value_parser = color, default_value = "auto")]
    #[arg(hide_default_value = true, display_order = LAST)]
    pub(crate) color: anstream::ColorChoice,
}

impl Args {
    /// Understands the arguments, the program's own name first.
    ///
    /// # Errors
    ///
    /// [`Stop`] with a page that was asked for, or with what is wrong, on one line.
    pub(crate) fn read(given: impl IntoIterator<Item = OsString>) -> Result<Self, Stop> {
        let given: Vec<OsString> = given.into_iter().collect();
        let args = Self::try_parse_from(&given).map_err(|error| usage::stop::<Self>(&error, &given))?;
        match &args.command {
            Command::Explain(explain) => explain.check().map_err(|error| Stop::Refused(error.to_string()))?,
            #[cfg(target_os = "linux")]
            Command::Capture(_) => {}
        }
        Ok(args)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print this host's readings and each gate's limit, with the reasons
    #[command(after_help = EXAMPLES, after_long_help = EXPLAIN_NOTES)]
    Explain(ExplainArgs),
    /// Copy what is measured into a directory, for `explain --root`
    #[cfg(target_os = "linux")]
    #[command(after_help = EXAMPLES, after_long_help = CAPTURE_NOTES)]
    Capture(CaptureArgs),
}

#[cfg(target_os = "linux")]
#[derive(Debug, clap::Args)]
pub(crate) struct CaptureArgs {
    /// An empty directory, or one that is not there yet
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// A plan that comes along [default: astrid]
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "plan")]
    #[arg(hide_possible_values = true)]
    pub(crate) preset: Option<Preset>,

    /// The gates and settings of a TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,

    /// Take this reading for the host's
    #[arg(long = "reading", value_name = "RESOURCE=READING", value_parser = given_reading)]
    pub(crate) readings: Vec<GivenReading>,

    /// Set a gate's limit, above all else
    #[arg(long = "set", value_name = "GATE=N", value_parser = given_setting)]
    pub(crate) settings: Vec<(GateName, usize)>,

    /// Read a captured host instead of this one
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,

    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

impl ExplainArgs {
    /// What each flag cannot know of the others: that nothing is given twice.
    fn check(&self) -> Result<(), ArgumentError> {
        let resources = self.readings.iter().map(|given| given.resource.to_string());
        let gates = self.settings.iter().map(|(gate, _)| gate.to_string());
        once("--reading", resources).and_then(|()| once("--set", gates))
    }
}

/// A reading that the command line gives in place of the host's.
#[derive(Clone, Debug)]
pub(crate) struct GivenReading {
    pub(crate) resource: Resource,
    pub(crate) reading: Reading,
    /// The reading as it was written.
    pub(crate) text: String,
}

fn once(flag: &'static str, names: impl Iterator<Item = String>) -> Result<(), ArgumentError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if let Some(name) = seen.replace(name) {
            return Err(ArgumentError::Twice { flag, name });
        }
    }
    Ok(())
}

fn given_reading(given: &str) -> Result<GivenReading, ArgumentError> {
    let (resource, text) = given.split_once('=').ok_or(ArgumentError::NoReading)?;
    let resource = resource.parse()?;
    let reading = match text {
        "unlimited" => Reading::Unlimited,
        "unknown" => Reading::Unknown,
        quantity => Reading::Finite(quantity.parse::<Quantity>()?),
    };
    Ok(GivenReading { resource, reading, text: text.to_owned() })
}

fn given_setting(given: &str) -> Result<(GateName, usize), ArgumentError> {
    let (gate, value) = given.split_once('=').ok_or(ArgumentError::NoSetting)?;
    let gate = gate.parse()?;
    let value = value.parse().map_err(|_| ArgumentError::Setting { value: value.to_owned() })?;
    Ok((gate, value))
}

fn color(given: &str) -> Result<anstream::ColorChoice, ArgumentError> {
    match given {
        "auto" => Ok(anstream::ColorChoice::Auto),
        "always" => Ok(anstream::ColorChoice::Always),
        "never" => Ok(anstream::ColorChoice::Never),
        _ => Err(ArgumentError::Color),
    }
}

/// What is wrong with the value of a flag; which flag and what value stands before it.
#[derive(Debug, thiserror::Error)]
enum ArgumentError {
    #[error(
        "it has no `=` (allowed: RESOURCE=READING such as cpu=2, memory=512Mi, fd=unlimited, cpu=unknown)"
    )]
    NoReading,
    #[error("it has no `=` (allowed: GATE=N such as io=64)")]
    NoSetting,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{0}, or `unlimited`, or `unknown`")]
    Reading(#[from] QuantityError),
    #[error("{value:?} is not a whole number (allowed: 0 to {})", usize::MAX)]
    Setting { value: String },
    #[error("it is no such choice (allowed: auto, always, never)")]
    Color,
    #[error("{flag} gives `{name}` twice (allowed: once)")]
    Twice { flag: &'static str, name: String },
}

/// Below the command's own flags, above `--help`.
const LAST: usize = 900;

const EXAMPLES: &str = "\
Examples:
  concurrency-governor explain
  concurrency-governor explain --plan plan.toml --json
  concurrency-governor explain --reading cpu=1.5 --reading fd=unlimited
  concurrency-governor capture host
  concurrency-governor explain --root host
  concurrency-governor explain --set io=64";

#[cfg(target_os = "linux")]
const CAPTURE_NOTES: &str = "\
What is written:
  The files of /proc and /sys that the readings come from, each at its own path
  below DIR, and nothing else: the status and the limits of this process, its
  mounts, the names and the limits of its control groups, what the host has of
  memory and processors. Look through them before you send them to anybody.

  `explain --root DIR` measures there what it measures here. It asks no system
  call then: the processors come from proc/self/status, and the limits of the
  process from proc/self/limits. How many descriptors are open is unknown.

Examples:
  concurrency-governor capture host
  concurrency-governor explain --root host
  concurrency-governor explain --set io=64";

const EXPLAIN_NOTES: &str = "\
Readings:
  cpu (cores), fd (file descriptors), memory (bytes) and tasks (processes and
  threads) are measured on this host, or on one that `capture` copied into the
  directory of --root; pressure.cpu, pressure.memory and pressure.io (shares of
  time, 0 to 1) where the plan names them. --reading gives one of these, or of
  any other resource that the plan names, in place of a measurement: a number
  such as 2, 1.5, 500m, 64k, 512Mi, or `unlimited`, or `unknown`.

Settings:
  The first of these that sets a gate decides, and the others are shown as
  shadowed: --set, [overrides] of the plan file, the environment, the formula.
  The environment is read for the preset astrid alone:
    ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY   gate blocking
    ASTRID_CAPSULE_HOST_IO_CONCURRENCY         gate io
    ASTRID_CAPSULE_INSTANCE_POOL_SIZE          gate pool

Plan file:
  preset = \"astrid\"            # optional: its gates come first
  [gates.uploads]
  formula = \"cpu * 8 | floor 16 | at most fd * 1/4\"
  queue = 1000                 # optional: so many may wait
  max_wait = \"250ms\"           # optional: nobody waits longer
  policy = \"clamp\"             # optional: of settings above what is derived:
                               # trust (default), clamp or reject
  [overrides]
  uploads = 32

Examples:
  concurrency-governor explain
  concurrency-governor explain --plan plan.toml --json
  concurrency-governor explain --reading cpu=1.5 --reading fd=unlimited
  concurrency-governor capture host
  concurrency-governor explain --root host
  concurrency-governor explain --set io=64";
