//! The arguments and the help page of `fleet`.

use clap::Subcommand;
use concurrency_governor::Limit;

use super::address::LedgerArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    pub(crate) command: FleetCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Show the gates of a ledger, or one gate with its processes
    #[command(after_help = STATUS_EXAMPLES)]
    Status(FleetStatusArgs),
    /// Set the limit of a gate for all processes
    #[command(after_help = SET_LIMIT_EXAMPLES)]
    SetLimit(SetLimitArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct FleetStatusArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,

    /// Show one gate, with its processes
    #[arg(long, value_name = "NAME")]
    pub(crate) gate: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetLimitArgs {
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,

    /// The gate, by its name in the ledger
    #[arg(long, value_name = "NAME")]
    pub(crate) gate: String,

    /// The limit of all processes together
    #[arg(value_name = "LIMIT")]
    pub(crate) limit: Limit,

    /// The name of the operator that sets the limit [default: the user]
    #[arg(long, value_name = "NAME", value_parser = parse_by)]
    pub(crate) by: Option<String>,
}

fn parse_by(given: &str) -> Result<String, FleetFlagError> {
    let is_valid = (1..=MAX_BY).contains(&given.len()) && !given.contains(char::is_control);
    if is_valid { Ok(given.to_owned()) } else { Err(FleetFlagError::By) }
}

/// The largest length of the name of an operator, in bytes.
const MAX_BY: usize = 200;

/// The value of a flag is wrong. The caller puts the flag and its value in front of the message.
#[derive(Debug, thiserror::Error)]
enum FleetFlagError {
    #[error("not a valid name of an operator (allowed: 1 to {MAX_BY} bytes without control characters)")]
    By,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  concurrency-governor fleet status --ledger redis://ledger.internal/
  concurrency-governor fleet status --ledger-file /run/secrets/ledger --json
  concurrency-governor fleet set-limit --ledger redis://ledger.internal/ \\
    --gate prod/io 150 --by 'incident 4711'";

pub(crate) const NOTES: &str = "\
Ledger:
  --ledger gives the URL of a Redis, a Valkey or a PostgreSQL. --ledger-file
  names a file with the URL. If neither is given, the URL is read from the
  environment variable CONCURRENCY_GOVERNOR_LEDGER. No output contains the user
  or password of a URL.

TLS:
  rediss:// and valkeys://, and postgres:// with ?sslmode=require or
  ?sslmode=verify-full, connect over TLS, if the program was built with the
  features redis-tls and postgres-tls. The certificate and the host name of the
  server are always checked. The parameter sslrootcert=FILE names a PEM file
  with the certificates to trust. Without it, the certificates of the host are
  trusted, or those in the environment variables SSL_CERT_FILE and SSL_CERT_DIR.
  A server may ask for a certificate of its clients: sslcert=FILE names the
  certificate, and sslkey=FILE its private key, both in PEM.

States:
  `ready`: blocks grow as permits become free. `learning`: the ledger was
  restarted, lost its state, or is new. For the displayed time, each process
  keeps its block and no block grows.

Limits:
  The ledger uses a new limit immediately. Each process receives it with its
  next exchange. No permit in use is revoked.";

const STATUS_EXAMPLES: &str = "\
Examples:
  concurrency-governor fleet status --ledger redis://ledger.internal/
  concurrency-governor fleet status --ledger-file /run/secrets/ledger \\
    --gate prod/io --json";

const SET_LIMIT_EXAMPLES: &str = "\
Examples:
  concurrency-governor fleet set-limit --ledger redis://ledger.internal/ \\
    --gate prod/io 150 --by 'incident 4711'";
