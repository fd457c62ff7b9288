//! The flags of `simulate --hosts`.

use std::time::Duration;

use concurrency_governor::Limit;

use super::fault::FleetFault;
use crate::flags::FlagError;
use crate::simulate::load::ServiceTime;

#[derive(Debug, clap::Args)]
pub(crate) struct FleetFlags {
    /// Simulate a fleet of N hosts with one limit
    ///
    /// Each host leases permits from one ledger. See `Fleets` below.
    #[arg(
        long,
        value_name = "N",
        value_parser = parse_hosts,
        conflicts_with_all = ["readings", "preset", "plan", "settings", "adaptives", "env_prefix", "rate", "mix"],
        conflicts_with_all = ["tenants", "services", "changes", "real_time", "replay", "burst", "shed", "plant"],
        conflicts_with_all = ["svg", "html"],
        verbatim_doc_comment
    )]
    #[cfg_attr(target_os = "linux", arg(conflicts_with = "root"))]
    pub(crate) hosts: Option<u32>,

    /// With --hosts: fleet's limit [default: 2 N]
    #[arg(long, value_name = "PERMITS", value_parser = parse_limit)]
    pub(crate) limit: Option<Limit>,

    /// With --hosts: requests per host [default: 4]
    ///
    /// At any time, this number of requests of a host are in flight or wait.
    #[arg(long, value_name = "N", value_parser = parse_demand, verbatim_doc_comment)]
    pub(crate) demand: Option<u32>,

    /// With --hosts: hold time [default: exp(1s)]
    ///
    /// How long a request holds its permit. See `Service times`
    /// below. A time above --max-hold breaks a condition of the limit.
    #[arg(long, value_name = "TIME", verbatim_doc_comment)]
    pub(crate) hold: Option<ServiceTime>,

    /// With --hosts: life of a lease [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) ttl: Option<Duration>,

    /// With --hosts: longest hold [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) max_hold: Option<Duration>,

    /// With --hosts: a fault
    ///
    /// For example redis-restart@20s. See `Fleets` below. Repeat the flag for
    /// more faults.
    #[arg(long = "fault", value_name = "FAULT@TIME", verbatim_doc_comment)]
    pub(crate) faults: Vec<FleetFault>,

    /// With --hosts: print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl FleetFlags {
    /// Checks that no flag is given without `--hosts`.
    pub(crate) fn check(&self) -> Result<(), FlagError> {
        let given = [
            ("--limit", self.limit.is_some()),
            ("--demand", self.demand.is_some()),
            ("--hold", self.hold.is_some()),
            ("--ttl", self.ttl.is_some()),
            ("--max-hold", self.max_hold.is_some()),
            ("--fault", !self.faults.is_empty()),
            ("--json", self.json),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given && self.hosts.is_none()) {
            Some((flag, _)) => Err(FlagError::Alone { flag, needs: "--hosts N" }),
            None => Ok(()),
        }
    }
}

fn parse_hosts(given: &str) -> Result<u32, FleetFlagsError> {
    let hosts = given.parse().ok();
    hosts.filter(|hosts| (1..=MAX_HOSTS).contains(hosts)).ok_or(FleetFlagsError::Hosts)
}

fn parse_limit(given: &str) -> Result<Limit, FleetFlagsError> {
    let limit: Option<u32> = given.parse().ok();
    limit.and_then(|limit| Limit::try_from(limit).ok()).ok_or(FleetFlagsError::Limit)
}

fn parse_demand(given: &str) -> Result<u32, FleetFlagsError> {
    let demand = given.parse().ok();
    demand.filter(|demand| (1..=MAX_DEMAND).contains(demand)).ok_or(FleetFlagsError::Demand)
}

/// The range is that of the lease, which is checked with both times together.
fn parse_time(given: &str) -> Result<Duration, FleetFlagsError> {
    humantime::parse_duration(given).map_err(|_| FleetFlagsError::Time)
}

/// The value of a flag is wrong. The caller puts the flag and its value in front of the message.
#[derive(Debug, thiserror::Error)]
enum FleetFlagsError {
    #[error("not a number of hosts (allowed: 1 to {MAX_HOSTS})")]
    Hosts,
    #[error("not a limit (allowed: 1 to {})", Limit::MAX)]
    Limit,
    #[error("not a number of requests (allowed: 1 to {MAX_DEMAND})")]
    Demand,
    #[error("not a duration (allowed: such as 500ms or 10s)")]
    Time,
}

const MAX_HOSTS: u32 = 1_000_000;
const MAX_DEMAND: u32 = 1_000_000;
