//! The arguments and the help page of `explain`.

use concurrency_governor::plan::GatePath;

use crate::report::InputArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Explain only these gates [default: every gate of the plan]
    #[arg(value_name = "GATE")]
    pub(crate) gates: Vec<GatePath>,

    #[command(flatten)]
    pub(crate) input: InputArgs,

    /// Print only the limits and the problems
    #[arg(long, conflicts_with = "json")]
    pub(crate) brief: bool,

    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,

    /// Do not query the ledgers of shared gates
    #[arg(long)]
    pub(crate) no_ledger: bool,
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  concurrency-governor explain
  concurrency-governor explain io --brief
  concurrency-governor explain --plan plan.toml --json
  concurrency-governor explain --reading cpu=1.5 --reading fd=unlimited
  concurrency-governor explain --root host
  concurrency-governor explain --set io=64
  concurrency-governor explain --plan plan.toml --no-ledger";

pub(crate) const NOTES: &str = "\
The report:
  First the limits in force, with the step or setting that decides each. Then
  the problems, if there are any: a reading that is unknown or only an upper
  bound, a soft limit on descriptors that is low, and a setting above the
  derived limit. Then the details: the readings, the settings, and each formula
  step by step.
  The tables are as wide as the terminal, or 80 columns wide in a pipe.

Shared gates:
  A gate with a table [gates.NAME.share] shares its limit with other processes.
  The report shows the answer of its ledger, and the largest number of permits
  that a process on this host can get: its local limit (from the formula) or the
  limit of the fleet, whichever is lower. The ledger is only read; no lease is
  taken. The ledger is queried if the environment variable is set or the file
  with its URL exists. If it does not answer within 2 s, the report lists this
  as a problem, and shows everything else. The exit code is then 0, as for a
  probe that fails. With --no-ledger, no ledger is queried. No output contains
  the user or password of a URL.

Readings:
  These resources are always measured: cpu (cores), fd (file descriptors),
  memory (bytes) and tasks (processes and threads). Others are measured if the
  plan reads them: memory.available and memory.high (bytes), and pressure.cpu,
  pressure.memory and pressure.io, each the fraction of time, 0 to 1, in which
  work stalls. A plan can read any other resource if --reading gives its value.
  A reading of a resource that no gate reads and no probe measures is an error.

Settings:
  A setting replaces the derived limit of a gate. For each gate, the first of
  these layers that sets it decides. The report shows the settings of later
  layers as shadowed. If no layer sets a gate, its formula decides.
    1. --set
    2. [overrides] in the plan file
    3. environment variables that start with the --env-prefix
    4. environment variables of the preset
  A variable that starts with the --env-prefix but belongs to no gate is an
  error. The preset astrid has these variables:
    ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY   gate blocking
    ASTRID_CAPSULE_HOST_IO_CONCURRENCY         gate io
    ASTRID_CAPSULE_INSTANCE_POOL_SIZE          gate pool

Plan file:
  preset = \"astrid\"            # optional: the gates of the preset come first
  [gates.uploads]
  formula = \"cpu * 8 | floor 16 | at most fd * 1/4\"
  queue = 1000                 # optional: at most 1000 requests wait
  max_wait = \"250ms\"           # optional: a request waits at most this long
  shed = \"20ms\"                # optional: shed older requests in overload
  policy = \"clamp\"             # optional: for settings above the derived limit:
                               # trust (default), clamp or reject
  measure_waits = false        # optional: do not measure waits (default: true)
  track_holders = \"30s\"        # optional: keep a record of each permit; one in
                               # use for longer is overdue
  [gates.images]
  formula = \"gate uploads * 1/4\"
  within = \"uploads\"           # optional: each permit also counts there
  weight = 2                   # optional: the share among the gates in uploads
  keys = { max = 4096, cap = \"1/4\", queue = 64 }   # optional: gates made on
                               # demand, such as one for each tenant
  [overrides]
  uploads = 32
  \"uploads/images\" = 6         # a name or a path";
