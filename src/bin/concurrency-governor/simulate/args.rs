//! The arguments and the help page of `simulate`.

use std::path::PathBuf;
use std::time::Duration;

use concurrency_governor::Shed;
use concurrency_governor::plan::{GatePath, PathError};
use concurrency_governor::testing::plant::Plant;

use super::change::PlannedChange;
use super::fleet::FleetFlags;
use super::load::{LoadError, ServiceTime, Tenant};
use super::overload::{ClientBehaviour, DeadlinePropagation, RetryHints};
use super::rate::{ArrivalRate, MAX_DURATION, RateBurst};
use crate::flags::{FlagError, parse_run_length, reject_duplicates};
use crate::report::InputArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,

    /// Try a rule for adaptive limits on a server
    ///
    /// SPEC describes the server and its clients, such as `workers 10,
    /// service exp 10ms, rate 2000/s`, or names a standard one, such as
    /// `overload`. See `Plants` below. --adaptive gives the rule; the default
    /// is `latency`.
    #[arg(
        long,
        value_name = "SPEC",
        conflicts_with_all = ["readings", "preset", "plan", "settings", "env_prefix", "mix", "tenants"],
        conflicts_with_all = ["services", "changes", "real_time", "replay", "burst", "shed", "rate"],
        verbatim_doc_comment
    )]
    #[cfg_attr(target_os = "linux", arg(conflicts_with = "root"))]
    pub(crate) plant: Option<Plant>,

    /// Write the decisions of the rule to a file
    #[arg(long, value_name = "FILE", requires = "plant")]
    pub(crate) history: Option<PathBuf>,

    /// Replay recorded decisions
    ///
    /// FILE was written by --history, or contains the printed `History` of a
    /// program. The command fails if a decision differs.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["readings", "preset", "plan", "settings", "adaptives", "env_prefix", "rate", "mix"],
        conflicts_with_all = ["tenants", "services", "changes", "real_time", "burst", "shed", "length", "seed"],
        conflicts_with_all = ["svg", "html"],
        verbatim_doc_comment
    )]
    #[cfg_attr(target_os = "linux", arg(conflicts_with = "root"))]
    pub(crate) replay: Option<PathBuf>,

    /// Mean arrival rate
    ///
    /// Requests per second (200/s), per minute (30/min) or per hour (10/h).
    #[arg(long, value_name = "N/s", default_value = "100/s", verbatim_doc_comment)]
    pub(crate) rate: ArrivalRate,

    /// Arrival rate for a part of the time
    ///
    /// With --rate 8/s --burst 40/s@10s..20s, 40 requests arrive per second
    /// from 10 s to 20 s, and 8 before and after.
    #[arg(long, value_name = "N/s@FROM..TO", conflicts_with = "tenants", verbatim_doc_comment)]
    pub(crate) burst: Option<RateBurst>,

    /// Share of a gate [default: 1 for each]
    ///
    /// With --mix io=9 --mix blocking=1, nine of ten requests go to io, one
    /// goes to blocking, and none goes to another gate.
    #[arg(long, value_name = "GATE=SHARE", value_parser = parse_share, verbatim_doc_comment)]
    pub(crate) mix: Vec<(GatePath, u32)>,

    /// Tenants with an arrival rate each
    ///
    /// With --tenants a=900/s,b=10/s, tenant a makes 900 requests per
    /// second, and tenant b makes 10. Each tenant is a key of the gate, so
    /// the gate must have keys. If several gates have keys, choose one with
    /// --mix. Repeat the flag for more tenants. It replaces --rate.
    #[arg(
        long,
        value_name = "NAME=N/s",
        value_delimiter = ',',
        conflicts_with = "rate",
        verbatim_doc_comment
    )]
    pub(crate) tenants: Vec<Tenant>,

    /// Time a permit is held [default: exp(10ms)]
    ///
    /// See `Service times` below for the distributions. Repeat the flag for
    /// other gates.
    #[arg(long = "service", value_name = "GATE=TIME", value_parser = parse_service, verbatim_doc_comment)]
    pub(crate) services: Vec<(GatePath, ServiceTime)>,

    /// Change a limit or a reading during the run
    ///
    /// See `Changes` below. Repeat the flag for more changes.
    #[arg(long = "change", value_name = "NAME=VALUE@TIME", verbatim_doc_comment)]
    pub(crate) changes: Vec<PlannedChange>,

    /// Compare shedding with other queue orders
    ///
    /// Sends the same clients to the gate three times: with the oldest
    /// request first, with the newest first, and with shedding after TARGET.
    /// See `Overload` below.
    #[arg(
        long,
        value_name = "TARGET",
        value_parser = parse_target,
        conflicts_with_all = ["tenants", "changes", "real_time"],
        verbatim_doc_comment
    )]
    pub(crate) shed: Option<Shed>,

    /// With --shed: client's timeout [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    pub(crate) timeout: Option<Duration>,

    /// With --shed: client's attempts [default: 3]
    #[arg(long, value_name = "N", value_parser = parse_attempts)]
    pub(crate) attempts: Option<u32>,

    /// With --shed: the server knows the timeout
    ///
    /// The timeout is the deadline of each request. Without this flag, a
    /// request whose client has given up stays in the queue and is served.
    #[arg(long, verbatim_doc_comment)]
    pub(crate) propagate_deadline: bool,

    /// With --shed: clients ignore the retry time
    ///
    /// A rejected client then retries when its attempt would have timed out,
    /// and not after the time that the error gives.
    #[arg(long, verbatim_doc_comment)]
    pub(crate) ignore_retry_after: bool,

    #[command(flatten)]
    pub(crate) fleet: FleetFlags,

    /// Simulated length of the run
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = parse_run_length)]
    pub(crate) length: Duration,

    /// Seed of the random numbers
    ///
    /// In simulated time, the same seed with the same arguments gives the
    /// same run.
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_seed, verbatim_doc_comment)]
    pub(crate) seed: u64,

    /// Run in real time, not in simulated time
    #[arg(long)]
    pub(crate) real_time: bool,

    /// Write charts to an SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Write the report and charts to an HTML file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl SimulateArgs {
    /// Returns the behaviour of the clients of a comparison.
    pub(crate) fn client(&self) -> ClientBehaviour {
        ClientBehaviour {
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            attempts: self.attempts.unwrap_or(DEFAULT_ATTEMPTS),
            deadlines: if self.propagate_deadline {
                DeadlinePropagation::Known
            } else {
                DeadlinePropagation::Unknown
            },
            hints: if self.ignore_retry_after { RetryHints::Ignored } else { RetryHints::Followed },
        }
    }

    /// Checks what the parser of a single flag cannot know: that no name is given twice, and that no flag is given without the flag that
    /// it needs.
    pub(crate) fn check(&self) -> Result<(), FlagError> {
        self.input.check()?;
        self.fleet.check()?;
        if self.shed.is_none() {
            let given = [
                ("--timeout", self.timeout.is_some()),
                ("--attempts", self.attempts.is_some()),
                ("--propagate-deadline", self.propagate_deadline),
                ("--ignore-retry-after", self.ignore_retry_after),
            ];
            if let Some((flag, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
                return Err(FlagError::Alone { flag, needs: "--shed TARGET" });
            }
        }
        reject_duplicates("--tenants", self.tenants.iter().map(|tenant| tenant.name.clone()))?;
        reject_duplicates("--mix", self.mix.iter().map(|(path, _)| path.gate().to_string()))?;
        reject_duplicates("--service", self.services.iter().map(|(path, _)| path.gate().to_string()))
    }
}

fn parse_share(given: &str) -> Result<(GatePath, u32), SimulateFlagError> {
    let (gate, share) = given.split_once('=').ok_or(SimulateFlagError::MixWithoutShare)?;
    let gate = gate.parse()?;
    let share = share.parse().map_err(|_| SimulateFlagError::Share { share: share.to_owned() })?;
    Ok((gate, share))
}

fn parse_service(given: &str) -> Result<(GatePath, ServiceTime), SimulateFlagError> {
    let (gate, service) = given.split_once('=').ok_or(SimulateFlagError::ServiceWithoutTime)?;
    Ok((gate.parse()?, service.parse()?))
}

fn parse_target(given: &str) -> Result<Shed, SimulateFlagError> {
    Shed::try_after(parse_client_time(given)?).map_err(|_| SimulateFlagError::ClientTime)
}

fn parse_timeout(given: &str) -> Result<Duration, SimulateFlagError> {
    parse_client_time(given)
}

/// Parses a time of a comparison, which has a resolution of a millisecond.
fn parse_client_time(given: &str) -> Result<Duration, SimulateFlagError> {
    let time = humantime::parse_duration(given).ok();
    time.filter(|time| (MIN_CLIENT_TIME..=MAX_DURATION).contains(time)).ok_or(SimulateFlagError::ClientTime)
}

fn parse_attempts(given: &str) -> Result<u32, SimulateFlagError> {
    let attempts = given.parse().ok();
    attempts.filter(|attempts| (1..=MAX_ATTEMPTS).contains(attempts)).ok_or(SimulateFlagError::Attempts)
}

fn parse_seed(given: &str) -> Result<u64, SimulateFlagError> {
    given.parse().map_err(|_| SimulateFlagError::Seed)
}

/// The value of a flag is wrong. The caller puts the flag and its value in front of the message.
#[derive(Debug, thiserror::Error)]
enum SimulateFlagError {
    #[error("the value has no `=` (allowed: GATE=SHARE, such as io=9)")]
    MixWithoutShare,
    #[error("{share:?} is not a whole number (allowed: 0 to {})", u32::MAX)]
    Share { share: String },
    #[error("the value has no `=` (allowed: GATE=TIME, such as io=20ms or io=exp(20ms))")]
    ServiceWithoutTime,
    #[error("not a whole number (allowed: 0 to {})", u64::MAX)]
    Seed,
    #[error("not a duration in the allowed range (allowed: 1ms to 1h, such as 100ms)")]
    ClientTime,
    #[error("not a number of attempts (allowed: 1 to {MAX_ATTEMPTS})")]
    Attempts,
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Path(#[from] PathError),
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_ATTEMPTS: u32 = 3;
const MIN_CLIENT_TIME: Duration = Duration::from_millis(1);

/// More attempts are most likely a mistake.
const MAX_ATTEMPTS: u32 = 100;

pub(crate) const EXAMPLES: &str = "\
Examples:
  concurrency-governor simulate --html report.html
  concurrency-governor simulate --rate 900/s --mix io=9 --mix blocking=1 \\
    --service 'io=exp(50ms)' --service 'blocking=uniform(5ms, 50ms)'
  concurrency-governor simulate --change io=8@20s --change cpu=1@40s --svg r.svg
  concurrency-governor simulate --plan plan.toml --reading cpu=8 --for 10m
  concurrency-governor simulate --plan plan.toml --tenants a=900/s,b=10/s
  concurrency-governor simulate --plant overload --adaptive 'latency, start 8'
  concurrency-governor simulate --plant 'outage, clients 9' --html report.html
  concurrency-governor simulate --mix io=1 --set io=2 --service io=100ms \\
    --rate 8/s --burst 40/s@10s..20s --shed 100ms --timeout 750ms
  concurrency-governor simulate --hosts 1000 --fault redis-restart@20s";

pub(crate) const NOTES: &str = "\
What is simulated:
  Requests arrive independently of each other, at the mean rate of --rate. Each
  request goes to one gate, waits for a permit, holds the permit for a service
  time, and releases it. The gates and the governor are those of the library,
  with the formulas, queue bounds and max_wait of the plan. Only the work is
  simulated: a request sleeps while it holds its permit. Simulated time passes
  as fast as it can be computed; --real-time makes it pass at its real speed.
  A permit of a gate within another gate counts at both. With --tenants, each
  request uses the key of its tenant, so the tenants share the gate as its keys
  do. An adaptive gate keeps its initial limit: the decisions of its rule depend
  on the server, which --plant simulates.

Plants:
  A plant is a simulated server with clients. Each client calls the server
  through an adaptive gate of its own. SPEC is a list of items, separated by
  commas:
  workers 10              the number of workers; each serves one request at a
                          time
  service exp 10ms        the service time of a request: exp is the distribution
                          and 10ms the mean. Also: fixed 10ms, or
                          lognormal 1 10ms (1 is the spread)
  rate 2000/s             the arrival rate of all clients together
  shared 0.01             the requests share the workers; each request beyond
                          the number of workers slows all requests by 1 %
  front 20ms              a fixed time before a request reaches the workers,
                          whatever the load
  most 30                 the server works on at most 30 requests; it rejects
                          further requests with an overload error
  errors 0.2              a fifth of the requests fail because of their content
  clients 9               the number of clients
  wait 50ms               a request that has waited this long at its gate is
                          rejected
  retries 3               how often a request that its gate has rejected is made
                          again
  workers, service and rate can change: `workers 3 @20s`. The first item may be
  the name of a standard plant: overload, half-load, outage, slow-answers,
  deploy, crowd, large, fixed, spread, database, shared, retries, errors.
  The optimum in the report is the limit at which all workers are busy and no
  request waits at the server, on average.

Service times:
  20ms                    always 20 ms
  exp(20ms)               exponential with mean 20 ms: mostly short, with a tail
  uniform(5ms, 50ms)      from 5 ms to 50 ms, all equally likely
  lognormal(20ms, 0.8)    median 20 ms, with a tail; 0.8 is the spread (0 to 5)

Changes:
  --change io=8@20s sets the limit of gate io to 8 after 20 s. This setting
  takes precedence over all others.
  --change cpu=1@40s changes the reading of cpu to 1 after 40 s. All limits are
  then derived again.

Overload:
  --shed 100ms compares three orders of one queue. Give one gate with --mix, if
  the plan has several. Its limit, queue and max_wait are those of the plan, or
  of the settings.
  oldest first    first come, first served. A full queue rejects the request
                  that arrives
  newest first    a full queue rejects its oldest request
  shedding        the library's shedding, with this target
  A client waits --timeout for its answer, and makes at most --attempts
  attempts. It retries at once if no answer comes in time. A rejected client
  waits for the time that the error gives, or otherwise until its timeout. The
  server completes the work of an admitted request, even if the client has given
  up.
  The clock has a resolution of 1 ms.
  answered          clients that got an answer in one of their attempts
  gave up           clients that got none in all their attempts; the others were
                    still trying when the run ended
  after p50, p99    the time from the first attempt to that answer
  goodput           answers within the timeout per second
  in burst          the goodput in the burst of --burst
  of capacity       the goodput in the burst, or in the whole run without a
                    burst, in percent of the requests that the gate can serve
  wait p50, p99     waits of the admitted requests, exact
  attempts          how the attempts ended; late: served after the timeout
  time              start of a twelfth of the run, with its goodput and its mean
                    queue for each order

Fleets:
  --hosts 1000 simulates 1000 hosts that share a limit through one ledger, with
  the lease and the exchange of the library. Messages take 1 to 3 ms. The fleet
  has started before the run, so that its leases are granted. A fault is one of:
  redis-restart@20s       the server of the ledger restarts and loses its state;
                          with 20s..25s, it is down for 5 s
  postgres-restart@20s    the server restarts and keeps its state
  flush@20s               the ledger loses its state; its server keeps running
  partition=10%@20s..30s  a tenth of the hosts is cut off from the ledger
  crash=10%@20s           the processes of a tenth of the hosts crash, and new
                          ones start at once; with 20s..30s, the new ones start
                          at 30 s
  pause=10%@20s..22s      a tenth of the hosts is suspended, with its work
  Without a percentage, half of the hosts have the fault. The fleet has
  recovered from a fault at the time from which on, until the next fault, each
  second has 90 % of the requests in flight of the second before the fault.
  fairness     the mean number of permits of a host in the run, and the means of
               the hosts with the fewest and the most permits
  exchanges    calls that the ledger answers

Columns of the report:
  limit        the limit; if it changed, up to three limits in order, or the
               first and the last of more
  arrived      requests that arrived at the gate
  done         requests that got a permit and released it
  rejected     requests without a permit: queue full, max_wait passed, or shed
  pending      requests that held a permit or waited when the run ended
  mean use     mean number of permits in use, in percent of the limit; includes
               the permits of the gates within the gate
  peak use     largest number of permits in use at the same time
  peak queue   largest number of requests waiting at the same time
  wait p50     half of the admitted requests waited at most this long
  p99          99 of 100 admitted requests waited at most this long
  max          the longest wait of an admitted request
  p50 and p99 come from a histogram and are at most a quarter too high.
  With --tenants, a second table has the same columns for each tenant, with two
  differences:
  cap          the largest number of permits that the tenant may use
  mean in use  mean number of permits in use";
