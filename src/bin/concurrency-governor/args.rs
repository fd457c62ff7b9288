//! The command line: what may be given, and what it means.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Parser, Subcommand};
use concurrency_governor::plan::{NameError, QuantityError};
use concurrency_governor::preset::Preset;
use concurrency_governor::{GateName, Quantity, Reading, Resource};

use crate::simulate::{Change, LoadError, Rate, Service};
use crate::usage::{self, Stop};

/// How much work may be in flight on this host, and why
#[derive(Debug, Parser)]
#[command(name = "concurrency-governor", bin_name = "concurrency-governor", version)]
#[command(arg_required_else_help = false, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Colour: auto, always, never [default: auto]
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    #[arg(value_parser = PossibleValuesParser::new(COLORS).map(color), hide_possible_values = true)]
    #[arg(display_order = LAST)]
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
        let checked = match &args.command {
            Command::Explain(explain) => explain.given.check(),
            #[cfg(target_os = "linux")]
            Command::Capture(_) => Ok(()),
            Command::Watch(watch) => watch.given.check(),
            Command::Simulate(simulate) => simulate.check(),
            Command::Completions(_) | Command::Man(_) => Ok(()),
        };
        checked.map_err(|error| Stop::Refused(error.to_string()))?;
        Ok(args)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print this host's readings and each gate's limit, with reasons
    #[command(after_help = EXAMPLES, after_long_help = notes(EXPLAIN_NOTES, EXAMPLES))]
    Explain(ExplainArgs),
    /// Copy what is measured into a directory, for `explain --root`
    #[cfg(target_os = "linux")]
    #[command(after_help = EXAMPLES, after_long_help = notes(CAPTURE_NOTES, EXAMPLES))]
    Capture(CaptureArgs),
    /// Show readings and limits again and again, with what changed
    #[command(after_help = WATCH_EXAMPLES, after_long_help = notes(WATCH_NOTES, WATCH_EXAMPLES))]
    Watch(WatchArgs),
    /// Drive the gates with a load, and show how it goes
    #[command(after_help = SIMULATE_EXAMPLES, after_long_help = notes(SIMULATE_NOTES, SIMULATE_EXAMPLES))]
    Simulate(SimulateArgs),
    /// Print a script that completes arguments in a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Print a page of the manual
    #[command(after_help = MAN_EXAMPLES)]
    Man(ManArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Which command's page [default: the program's]
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
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
    #[command(flatten)]
    pub(crate) given: GivenArgs,

    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

/// A plan, and what is given in place of the host's readings and the operator's settings.
#[derive(Debug, clap::Args)]
pub(crate) struct GivenArgs {
    /// A plan that comes along [default: astrid]
    #[arg(long, value_name = "NAME", conflicts_with = "plan", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(presets()).try_map(|name| name.parse::<Preset>()))]
    pub(crate) preset: Option<Preset>,

    /// Gates and settings of a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,

    /// Take this reading for the host's
    #[arg(long = "reading", value_name = "RESOURCE=READING", value_parser = given_reading)]
    pub(crate) readings: Vec<GivenReading>,

    /// Set a gate's limit, above all else
    #[arg(long = "set", value_name = "GATE=N", value_parser = given_setting)]
    pub(crate) settings: Vec<(GateName, usize)>,

    /// Set gates by variables that start so
    #[arg(long, value_name = "PREFIX", value_parser = given_prefix)]
    pub(crate) env_prefix: Option<String>,

    /// Read a captured host instead of this one
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
}

impl GivenArgs {
    /// What each flag cannot know of the others: that nothing is given twice.
    fn check(&self) -> Result<(), ArgumentError> {
        let resources = self.readings.iter().map(|given| given.resource.to_string());
        let gates = self.settings.iter().map(|(gate, _)| gate.to_string());
        once("--reading", resources).and_then(|()| once("--set", gates))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) given: GivenArgs,

    /// From one look to the next
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = given_period)]
    pub(crate) every: Duration,

    /// How long to watch [default: until ended]
    #[arg(long = "for", value_name = "TIME", value_parser = given_length)]
    pub(crate) length: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    pub(crate) given: GivenArgs,

    /// How many requests come
    #[arg(long, value_name = "N/s", default_value = "100/s")]
    pub(crate) rate: Rate,

    /// A gate's share of them [default: 1 each]
    #[arg(long, value_name = "GATE=SHARE", value_parser = given_share)]
    pub(crate) mix: Vec<(GateName, u32)>,

    /// How long each takes [default: exp(10ms)]
    #[arg(long = "service", value_name = "GATE=TIME", value_parser = given_service)]
    pub(crate) services: Vec<(GateName, Service)>,

    /// Set a gate, or a reading, while it runs
    #[arg(long = "change", value_name = "NAME=VALUE@TIME")]
    pub(crate) changes: Vec<Change>,

    /// How long it runs
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = given_length)]
    pub(crate) length: Duration,

    /// The same gives the same run
    #[arg(long, value_name = "N", default_value = "1", value_parser = given_seed)]
    pub(crate) seed: u64,

    /// Let the time pass that is simulated
    #[arg(long)]
    pub(crate) real_time: bool,

    /// Write the pictures to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Write the pictures and the figures to a page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl SimulateArgs {
    fn check(&self) -> Result<(), ArgumentError> {
        self.given.check()?;
        once("--mix", self.mix.iter().map(|(gate, _)| gate.to_string()))?;
        once("--service", self.services.iter().map(|(gate, _)| gate.to_string()))
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

fn presets() -> impl Iterator<Item = &'static str> {
    Preset::ALL.iter().map(|preset| preset.as_str())
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
    let reading = reading(text)?;
    Ok(GivenReading { resource, reading, text: text.to_owned() })
}

/// A reading as the command line has it.
pub(crate) fn reading(given: &str) -> Result<Reading, QuantityError> {
    match given {
        "unlimited" => Ok(Reading::Unlimited),
        "unknown" => Ok(Reading::Unknown),
        quantity => quantity.parse::<Quantity>().map(Reading::Finite),
    }
}

fn given_setting(given: &str) -> Result<(GateName, usize), ArgumentError> {
    let (gate, value) = given.split_once('=').ok_or(ArgumentError::NoSetting)?;
    let gate = gate.parse()?;
    let value = value.parse().map_err(|_| ArgumentError::Setting { value: value.to_owned() })?;
    Ok((gate, value))
}

fn given_prefix(given: &str) -> Result<String, ArgumentError> {
    if given.is_empty() { Err(ArgumentError::Prefix) } else { Ok(given.to_owned()) }
}

fn given_share(given: &str) -> Result<(GateName, u32), ArgumentError> {
    let (gate, share) = given.split_once('=').ok_or(ArgumentError::NoShare)?;
    let gate = gate.parse()?;
    let share = share.parse().map_err(|_| ArgumentError::Share { share: share.to_owned() })?;
    Ok((gate, share))
}

fn given_service(given: &str) -> Result<(GateName, Service), ArgumentError> {
    let (gate, service) = given.split_once('=').ok_or(ArgumentError::NoService)?;
    Ok((gate.parse()?, service.parse()?))
}

fn given_length(given: &str) -> Result<Duration, ArgumentError> {
    let length = humantime::parse_duration(given).ok();
    length
        .filter(|length| (Duration::from_millis(1)..=LONGEST_RUN).contains(length))
        .ok_or(ArgumentError::Length)
}

fn given_period(given: &str) -> Result<Duration, ArgumentError> {
    let period = humantime::parse_duration(given).ok();
    period.filter(|period| (SHORTEST_PERIOD..=LONGEST_RUN).contains(period)).ok_or(ArgumentError::Period)
}

fn given_seed(given: &str) -> Result<u64, ArgumentError> {
    given.parse().map_err(|_| ArgumentError::Seed)
}

#[expect(clippy::needless_pass_by_value, reason = "the parser gives its text away")]
fn color(given: String) -> anstream::ColorChoice {
    match &*given {
        "always" => anstream::ColorChoice::Always,
        "never" => anstream::ColorChoice::Never,
        _ => anstream::ColorChoice::Auto,
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
    #[error("it is empty (allowed: the start of variables' names such as APP_LIMIT_)")]
    Prefix,
    #[error("it has no `=` (allowed: GATE=SHARE such as io=9)")]
    NoShare,
    #[error("{share:?} is not a whole number (allowed: 0 to {})", u32::MAX)]
    Share { share: String },
    #[error("it has no `=` (allowed: GATE=TIME such as io=20ms or io=exp(20ms))")]
    NoService,
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("it is no period (allowed: 100ms to 24h, such as 1s or 5m)")]
    Period,
    #[error("it is no length (allowed: 1ms to 24h, such as 30s or 5m)")]
    Length,
    #[error("it is not a whole number (allowed: 0 to {})", u64::MAX)]
    Seed,
    #[error("{flag} gives `{name}` twice (allowed: once)")]
    Twice { flag: &'static str, name: String },
}

/// What a long page ends with: notes, then the examples of the short one.
fn notes(notes: &str, examples: &str) -> String {
    format!("{notes}\n\n{examples}")
}

/// A look costs a tenth of a millisecond, and nobody reads faster.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// A day; what is longer is a mistake.
const LONGEST_RUN: Duration = Duration::from_secs(24 * 3600);

const COLORS: [&str; 3] = ["auto", "always", "never"];

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
  process from proc/self/limits. How many descriptors are open is unknown.";

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
  With --env-prefix APP_LIMIT_ the variable APP_LIMIT_HTTP_CLIENT sets the gate
  http-client; one that starts so and is no gate's is refused. Below these, for
  the preset astrid:
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
  measure_waits = false        # optional: true (default) or false
  [overrides]
  uploads = 32";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  concurrency-governor simulate --html report.html
  concurrency-governor simulate --rate 900/s --mix io=9 --mix blocking=1 \\
    --service 'io=exp(50ms)' --service 'blocking=uniform(5ms, 50ms)'
  concurrency-governor simulate --change io=8@20s --change cpu=1@40s --svg r.svg
  concurrency-governor simulate --plan plan.toml --reading cpu=8 --for 10m";

const SIMULATE_NOTES: &str = "\
What is simulated:
  Requests come by themselves, at --rate on average, and each goes to one gate:
  --mix io=9 --mix blocking=1 gives nine in ten to io. It waits for a permit as
  it would in a program, is at work for as long as --service says, and is gone.
  The gates are real ones, under a governor with the plan's formulas, bounds on
  lines and waits included; only the work is not there, and the time unless
  --real-time is given. The same seed gives the same run.

Time at work:
  20ms                    always as long
  exp(20ms)               mostly short, sometimes long; on average so long
  uniform(5ms, 50ms)      anything in between
  lognormal(20ms, 0.8)    about so long, sometimes very long

Changes:
  --change io=8@20s sets a gate after 20 s, above all other settings.
  --change cpu=1@40s gives the host another reading, and every limit is derived
  anew from it.

What is shown:
  busy is the share of the limit that was at work on average; left is what was
  at work or waited at the end; peak is the most at work, and line the most that
  waited; waits are those of all that were admitted, at once or later.";

const WATCH_EXAMPLES: &str = "\
Examples:
  concurrency-governor watch
  concurrency-governor watch --plan plan.toml --every 250ms
  concurrency-governor watch --for 1h >> limits.log";

const WATCH_NOTES: &str = "\
What is shown:
  On a terminal, a screen: each reading with its past and with what of it is in
  use or left, each gate with its limit and with what decides it, and what
  changed, the newest first. What is new is highlighted. The past is as high as
  it is between its least and its most; of fd it is that of what this program
  has in use, of memory and tasks that of what is left. q, Esc or Ctrl-C quits;
  Ctrl-Z stops it until the shell goes on with it.

  Elsewhere, lines: everything once, and then each change as it is seen. Times
  are UTC. A plan file that is edited counts from the next look on.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  concurrency-governor completions zsh > ~/.zfunc/_concurrency-governor
  concurrency-governor completions fish \\
    > ~/.config/fish/completions/concurrency-governor.fish
  source <(concurrency-governor completions bash)    # in ~/.bashrc";

const MAN_EXAMPLES: &str = "\
Examples:
  concurrency-governor man > concurrency-governor.1
  concurrency-governor man explain > concurrency-governor-explain.1
  concurrency-governor man simulate | man -l -";
