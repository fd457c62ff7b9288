//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use concurrency_governor::GateName;
use concurrency_governor::preset::astrid::{BLOCKING, IO, POOL};

/// Runs requests of many principals in WASM capsules, with concurrency limits derived from this host
#[derive(Debug, clap::Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Number of principals
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub principals: usize,

    /// Number of requests of each principal, all at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub requests: usize,

    /// Number of calls to the server for each request, all at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub fetches: u16,

    /// Response time of the server
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = humantime::parse_duration)]
    pub latency: Duration,

    /// Makes the capsule trap in every Nth request
    #[arg(long, value_name = "N")]
    pub poison: Option<std::num::NonZeroUsize>,

    /// Shares the gates of host calls equally among the principals, and not in order of arrival
    #[arg(long)]
    pub fair: bool,

    /// Changes the limit of a gate during the run, such as io=8@2s
    #[arg(long, value_name = "GATE=N@TIME")]
    pub lower: Vec<LimitChange>,

    #[command(flatten)]
    pub settings: SettingArgs, // last, because its help heading applies to all following flags
}

impl Args {
    pub fn sharing(&self) -> Sharing {
        if self.fair { Sharing::Equal } else { Sharing::InOrder }
    }
}

/// How principals share the gates of host calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// First come, first served, whatever the principal.
    InOrder,
    /// The next permit goes to the principal with the fewest in use.
    Equal,
}

/// The subcommands. Without one, the program runs the engine.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Runs the server that capsules call: on loopback, until standard input ends
    #[command(hide = true)]
    Serve {
        #[arg(value_parser = humantime::parse_duration)]
        latency: Duration,
    },
}

/// The engine's three settings as flags, and the path of the configuration file.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits, derived from this host by default")]
pub struct SettingArgs {
    /// Limit of host calls that pin a thread
    #[arg(long, value_name = "N")]
    pub host_blocking_concurrency: Option<usize>,

    /// Limit of host calls that wait for I/O
    #[arg(long, value_name = "N")]
    pub host_io_concurrency: Option<usize>,

    /// Limit of WASM instances
    #[arg(long, value_name = "N")]
    pub instance_pool_size: Option<usize>,

    /// TOML file whose section `[capsule]` sets the same three limits
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A new limit for a gate, applied after a delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitChange {
    pub gate: GateName,
    pub limit: usize,
    pub after: Duration,
}

impl FromStr for LimitChange {
    type Err = ParseLimitChangeError;

    fn from_str(given: &str) -> Result<Self, ParseLimitChangeError> {
        let (gate, rest) = given.split_once('=').ok_or(ParseLimitChangeError::Form)?;
        let (limit, after) = rest.split_once('@').ok_or(ParseLimitChangeError::Form)?;
        let known = [BLOCKING.name(), IO.name(), POOL.name()];
        let gate = known.into_iter().find(|known| known.as_str() == gate);
        Ok(Self {
            gate: gate.ok_or(ParseLimitChangeError::Gate)?,
            limit: limit.parse().map_err(|_| ParseLimitChangeError::Limit(limit.to_owned()))?,
            after: humantime::parse_duration(after)
                .map_err(|_| ParseLimitChangeError::After(after.to_owned()))?,
        })
    }
}

/// A text that is not a limit change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseLimitChangeError {
    #[error("not of the form GATE=N@TIME (example: io=8@2s)")]
    Form,
    #[error("unknown gate (allowed: blocking, io, pool)")]
    Gate,
    #[error("{0:?} is not a whole number (allowed: 0 to {max})", max = usize::MAX)]
    Limit(String),
    #[error("{0:?} is not a duration (examples: 500ms, 2s)")]
    After(String),
}

const EXAMPLES: &str = "\
Settings:
  The first source that sets a limit decides: flag, section [capsule] of the
  file, environment. Otherwise the limit is derived from this host. An invalid
  value in the file or in the environment is reported on standard error and
  ignored; all other values apply.
    [capsule]                        environment
    host_blocking_concurrency = 4    ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY
    host_io_concurrency = 64         ASTRID_CAPSULE_HOST_IO_CONCURRENCY
    instance_pool_size = 16          ASTRID_CAPSULE_INSTANCE_POOL_SIZE

Examples:
  capsule-engine
  capsule-engine --principals 50 --requests 200 --poison 10
  capsule-engine --host-io-concurrency 32 --lower io=8@2s
  capsule-engine --principals 11 --fair
  (ulimit -n 256; capsule-engine --instance-pool-size 64)";
