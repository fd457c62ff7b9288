//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use concurrency_governor::GateName;
use concurrency_governor::preset::astrid::{BLOCKING, IO, POOL};

/// Runs requests of many principals in WASM capsules, under the limits that this host grants
#[derive(Debug, clap::Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How many principals there are
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub principals: usize,

    /// How many requests each of them makes, all at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub requests: usize,

    /// How often a capsule asks the server for each request, all at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub fetches: u16,

    /// How long the server takes to answer
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = humantime::parse_duration)]
    pub latency: Duration,

    /// Makes the capsule trap in every Nth request
    #[arg(long, value_name = "N")]
    pub poison: Option<std::num::NonZeroUsize>,

    /// Lowers or raises a gate while it runs, such as io=8@2s
    #[arg(long, value_name = "GATE=N@TIME")]
    pub lower: Vec<Change>,

    #[command(flatten)]
    pub settings: SettingArgs, // last, since its heading would stand above whatever came after
}

/// What else the program can be.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The server that capsules ask: on loopback, until standard input ends
    #[command(hide = true)]
    Serve {
        #[arg(value_parser = humantime::parse_duration)]
        latency: Duration,
    },
}

/// The engine's three settings as flags, and where the file with the others is.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Limits, each derived from this host unless it is set")]
pub struct SettingArgs {
    /// Host calls that pin a thread
    #[arg(long, value_name = "N")]
    pub host_blocking_concurrency: Option<usize>,

    /// Host calls that wait for I/O
    #[arg(long, value_name = "N")]
    pub host_io_concurrency: Option<usize>,

    /// WASM instances
    #[arg(long, value_name = "N")]
    pub instance_pool_size: Option<usize>,

    /// A TOML file whose `[capsule]` sets the same three
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A limit that a gate gets after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub gate: GateName,
    pub limit: usize,
    pub after: Duration,
}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(given: &str) -> Result<Self, ChangeError> {
        let (gate, rest) = given.split_once('=').ok_or(ChangeError::Form)?;
        let (limit, after) = rest.split_once('@').ok_or(ChangeError::Form)?;
        let known = [BLOCKING.name(), IO.name(), POOL.name()];
        let gate = known.into_iter().find(|known| known.as_str() == gate);
        Ok(Self {
            gate: gate.ok_or(ChangeError::Gate)?,
            limit: limit.parse().map_err(|_| ChangeError::Limit(limit.to_owned()))?,
            after: humantime::parse_duration(after).map_err(|_| ChangeError::After(after.to_owned()))?,
        })
    }
}

/// Why a text is no change of a limit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("it has not the form GATE=N@TIME (allowed: such as io=8@2s)")]
    Form,
    #[error("there is no such gate (allowed: blocking, io, pool)")]
    Gate,
    #[error("{0:?} is not a whole number (allowed: 0 to {max})", max = usize::MAX)]
    Limit(String),
    #[error("{0:?} is no duration (allowed: such as 500ms or 2s)")]
    After(String),
}

const EXAMPLES: &str = "\
Settings:
  The first of these that sets a limit decides: a flag, [capsule] of the file,
  the environment, this host. A bad value in the file or in the environment is
  named on standard error and left out; all others hold.
    [capsule]                        environment
    host_blocking_concurrency = 4    ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY
    host_io_concurrency = 64         ASTRID_CAPSULE_HOST_IO_CONCURRENCY
    instance_pool_size = 16          ASTRID_CAPSULE_INSTANCE_POOL_SIZE

Examples:
  capsule-engine
  capsule-engine --principals 50 --requests 200 --poison 10
  capsule-engine --host-io-concurrency 32 --lower io=8@2s
  (ulimit -n 256; capsule-engine --instance-pool-size 64)";
