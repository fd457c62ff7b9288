//! The flags that select a plan, a host and settings. Several commands have them.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use concurrency_governor::plan::{GatePath, InvalidAdaptive, NameError, PathError, QuantityError};
use concurrency_governor::preset::Preset;
use concurrency_governor::{Adaptive, Quantity, Reading, Resource};

use crate::flags::{FlagError, reject_duplicates};

/// The plan and its settings, and what replaces the measurements of this host.
#[derive(Debug, clap::Args)]
pub(crate) struct InputArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,

    /// Use this reading instead of a measurement
    ///
    /// RESOURCE is any resource that a plan can read, such as cpu or fd.
    /// READING is a number such as 2, 1.5, 500m, 64k or 512Mi, or
    /// `unlimited`, or `unknown`. Repeat the flag for other resources.
    #[arg(long = "reading", value_name = "RESOURCE=READING", value_parser = parse_reading_arg)]
    #[arg(verbatim_doc_comment)]
    pub(crate) readings: Vec<ReadingArg>,

    /// Measure a captured host instead of this one
    ///
    /// DIR is a directory that `capture` wrote.
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    pub(crate) root: Option<PathBuf>,
}

/// The plan and its settings.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// Use a built-in plan [default: astrid]
    #[arg(long, value_name = "NAME", conflicts_with = "plan", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(preset_names()).try_map(|name| name.parse::<Preset>()))]
    pub(crate) preset: Option<Preset>,

    /// Read the plan from a TOML or JSON file
    ///
    /// The file declares gates and settings. It is JSON if its name ends in
    /// .json, else TOML. `explain --help` shows an example.
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) plan: Option<PathBuf>,

    /// Set the limit of a gate
    ///
    /// GATE is a name or a path, such as io/messages. This setting takes
    /// precedence over those of files and the environment. Repeat the flag
    /// for other gates.
    #[arg(long = "set", value_name = "GATE=N", value_parser = parse_setting, verbatim_doc_comment)]
    pub(crate) settings: Vec<(GatePath, usize)>,

    /// Let the limit of a gate follow outcomes
    ///
    /// RULE is `latency`, `arc` or `aimd 200ms`. A start and a floor are
    /// optional: `latency, start 16, floor 4`. With `off`, the limit is
    /// derived from the host alone. This replaces the rule of the plan.
    #[arg(long = "adaptive", value_name = "GATE=RULE", value_parser = parse_adaptive_arg, verbatim_doc_comment)]
    pub(crate) adaptives: Vec<AdaptiveArg>,

    /// Set limits from variables with this prefix
    ///
    /// With `APP_LIMIT_`, the environment variable `APP_LIMIT_HTTP_CLIENT`
    /// sets the limit of the gate `http-client`, and `APP_LIMIT_IO__MESSAGES`
    /// that of the gate at the path `io/messages`.
    #[arg(long, value_name = "PREFIX", value_parser = parse_env_prefix, verbatim_doc_comment)]
    pub(crate) env_prefix: Option<String>,
}

impl InputArgs {
    /// Checks what the parser of a single flag cannot know: that no resource and no gate is given twice.
    pub(crate) fn check(&self) -> Result<(), FlagError> {
        reject_duplicates("--reading", self.readings.iter().map(|given| given.resource.to_string()))?;
        self.plan.check()
    }
}

impl PlanArgs {
    /// Checks that no gate is given twice.
    pub(crate) fn check(&self) -> Result<(), FlagError> {
        let gates = self.adaptives.iter().flat_map(|given| &given.gate);
        reject_duplicates("--adaptive", gates.map(|path| path.gate().to_string()))?;
        reject_duplicates("--set", self.settings.iter().map(|(path, _)| path.gate().to_string()))
    }
}

/// How the limit of a gate follows outcomes, from the command line.
#[derive(Clone, Debug)]
pub(crate) struct AdaptiveArg {
    /// `None` for the only gate of `simulate --plant`.
    pub(crate) gate: Option<GatePath>,
    /// `None` for `off`: the limit does not follow outcomes.
    pub(crate) adaptive: Option<Adaptive>,
}

/// A reading from the command line that replaces a measurement.
#[derive(Clone, Debug)]
pub(crate) struct ReadingArg {
    pub(crate) resource: Resource,
    pub(crate) reading: Reading,
    /// The reading as it was written.
    pub(crate) text: String,
}

/// Parses a reading: a quantity, `unlimited` or `unknown`.
pub(crate) fn parse_reading(given: &str) -> Result<Reading, QuantityError> {
    match given {
        "unlimited" => Ok(Reading::Unlimited),
        "unknown" => Ok(Reading::Unknown),
        quantity => quantity.parse::<Quantity>().map(Reading::Finite),
    }
}

fn preset_names() -> impl Iterator<Item = &'static str> {
    Preset::ALL.iter().map(|preset| preset.as_str())
}

fn parse_reading_arg(given: &str) -> Result<ReadingArg, InputFlagError> {
    let (resource, text) = given.split_once('=').ok_or(InputFlagError::ReadingWithoutValue)?;
    let resource = resource.parse()?;
    let reading = parse_reading(text)?;
    Ok(ReadingArg { resource, reading, text: text.to_owned() })
}

fn parse_setting(given: &str) -> Result<(GatePath, usize), InputFlagError> {
    let (gate, limit) = given.split_once('=').ok_or(InputFlagError::SettingWithoutValue)?;
    let gate = gate.parse()?;
    let limit = limit.parse().map_err(|_| InputFlagError::Limit { limit: limit.to_owned() })?;
    Ok((gate, limit))
}

fn parse_adaptive_arg(given: &str) -> Result<AdaptiveArg, InputFlagError> {
    let (gate, rule) = match given.split_once('=') {
        Some((gate, rule)) => (Some(gate.parse()?), rule),
        None => (None, given),
    };
    let adaptive = if rule == "off" { None } else { Some(rule.parse()?) };
    Ok(AdaptiveArg { gate, adaptive })
}

fn parse_env_prefix(given: &str) -> Result<String, InputFlagError> {
    if given.is_empty() { Err(InputFlagError::EmptyPrefix) } else { Ok(given.to_owned()) }
}

/// The value of a flag is wrong. The caller puts the flag and its value in front of the message.
#[derive(Debug, thiserror::Error)]
enum InputFlagError {
    #[error(
        "the value has no `=` (allowed: RESOURCE=READING, such as cpu=2, memory=512Mi, fd=unlimited or cpu=unknown)"
    )]
    ReadingWithoutValue,
    #[error("{0}; `unlimited` and `unknown` are also allowed")]
    Reading(#[from] QuantityError),
    #[error("the value has no `=` (allowed: GATE=N, such as io=64)")]
    SettingWithoutValue,
    #[error("{0}; `off` is also allowed")]
    Adaptive(#[from] InvalidAdaptive),
    #[error("{limit:?} is not a whole number (allowed: 0 to {})", usize::MAX)]
    Limit { limit: String },
    #[error("the prefix is empty (allowed: the first part of the variables' names, such as APP_LIMIT_)")]
    EmptyPrefix,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Path(#[from] PathError),
}
