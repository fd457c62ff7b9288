//! The arguments and the help page of `check`.

use super::requirement::Requirement;
use crate::report::InputArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// A requirement, such as io>=64
    ///
    /// NAME is a gate of the plan, or its path, or a resource. OP is >=, >,
    /// =, < or <=. Repeat the flag for other requirements; all of them must
    /// hold.
    #[arg(long = "require", value_name = "NAME OP NUMBER", required = true, verbatim_doc_comment)]
    pub(crate) requirements: Vec<Requirement>,

    #[command(flatten)]
    pub(crate) input: InputArgs,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  concurrency-governor check --require 'io>=64'
  concurrency-governor check --plan plan.toml --require 'uploads>=16' \\
    --require 'memory>=512Mi'";

pub(crate) const NOTES: &str = "\
What is compared:
  A gate is compared by its limit in force, settings included. A resource is
  compared by its reading: a number such as 2, 1.5 or 512Mi. An unlimited
  reading is more than every number. An unknown reading meets no requirement.

Exit code:
  0 if every requirement is met, 1 if one is not, 2 for wrong input or if the
  output cannot be written. The output has one line for each requirement.";
