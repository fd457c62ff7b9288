//! The arguments and the help page of `watch`.

use std::path::PathBuf;
use std::time::Duration;

use crate::flags::{MAX_RUN_LENGTH, parse_run_length};
use crate::report::InputArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,

    /// Time between two refreshes
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub(crate) every: Duration,

    /// Read a diagnosis file, and show its holders
    #[arg(long, value_name = "FILE")]
    pub(crate) diagnosis: Option<PathBuf>,

    /// Do not query the ledgers of shared gates
    #[arg(long)]
    pub(crate) no_ledger: bool,

    /// Stop after this time [default: never]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_run_length)]
    pub(crate) length: Option<Duration>,
}

fn parse_interval(given: &str) -> Result<Duration, IntervalError> {
    let interval = humantime::parse_duration(given).ok();
    interval.filter(|interval| (MIN_INTERVAL..=MAX_RUN_LENGTH).contains(interval)).ok_or(IntervalError)
}

/// The value of `--every` is wrong. The caller puts the flag and its value in front of the message.
#[derive(Debug, thiserror::Error)]
#[error("not an interval in the allowed range (allowed: 100ms to 24h, such as 1s or 5m)")]
struct IntervalError;

/// A person cannot read more than ten screens a second.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) const EXAMPLES: &str = "\
Examples:
  concurrency-governor watch
  concurrency-governor watch --plan plan.toml --every 250ms
  concurrency-governor watch --for 1h >> limits.log
  concurrency-governor watch --diagnosis /run/app/diagnosis.json";

pub(crate) const NOTES: &str = "\
On a terminal:
  The screen shows all readings, all gates and the latest changes.
  Each reading and each gate has its value, a bar chart of its history with the
  newest value on the right, and details: how much of a resource is in use or
  free, or the step or setting that decides the limit of a gate. A value that
  has just changed is highlighted.
  A gate within another one stands below it, indented. The details say if a gate
  above has a lower limit, and how many keys may be busy. `watch` reads the host
  and the plan, but not the gates of a running process. To see the busy keys of
  a process, call `Gate::busy_keys` in that process.
  The lowest bar is the minimum of the values shown, and the highest bar is the
  maximum. A value that did not change is a line of half height. An unknown
  value is blank. For fd the chart shows the open descriptors of `watch` itself,
  for memory the available bytes, and for tasks the number of free tasks.
  A gate with a table [gates.NAME.share] has a second row: the limit of the
  fleet, the state of its ledger, and the permits that are granted to all
  processes. Its chart shows the granted permits. The ledger is only read, at
  most every 2 s. The screen does not wait for it. With --no-ledger, the ledger
  is not queried.
  With --diagnosis, the holders of a running process are shown as well, for up
  to five gates: those with the most requests waiting, among the gates that
  track holders. For each gate, three source locations are shown: those whose
  permits have been in use for the longest time. The process writes
  `Governor::diagnose` as JSON to the file, which is read at each refresh.
  Press q, Esc or Ctrl-C to quit. Ctrl-Z suspends the program.

In a pipe or a file:
  The first lines list all readings and gates. Each further line is one change,
  or a problem of a refresh that failed.

In both cases:
  Times are in UTC. The plan file is read again at each refresh. If the file is
  wrong, the error is shown as a change and the last values remain.";
