//! The arguments and the help page of `diff`.

use std::path::PathBuf;

use crate::report::PlanArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// A directory that `capture` wrote, or - for this host
    #[arg(value_name = "A")]
    pub(crate) first: PathBuf,

    /// A directory that `capture` wrote, or - for this host
    #[arg(value_name = "B", default_value = "-")]
    pub(crate) second: PathBuf,

    #[command(flatten)]
    pub(crate) plan: PlanArgs,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  concurrency-governor diff staging production
  concurrency-governor diff staging --plan plan.toml";

pub(crate) const NOTES: &str = "\
What is compared:
  The plan is resolved on both hosts, with the same settings and environment.
  The output has the readings and the limits that differ, and for each limit
  the step or setting that decides it.

Exit code:
  0 if the hosts have the same readings and limits, 1 if they differ, 2 for
  wrong input or if the output cannot be written.";
