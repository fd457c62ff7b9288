//! Runs `explain`.

use super::args::ExplainArgs;
use super::{json, table};
use crate::report::{HostReport, LedgerPolicy, ReportError};

/// Resolves the plan on the host and returns the report as text.
///
/// # Errors
///
/// [`ReportError`] if the plan, the environment or a setting is wrong.
pub(crate) fn run(args: &ExplainArgs) -> Result<String, ReportError> {
    let policy = if args.no_ledger { LedgerPolicy::Skip } else { LedgerPolicy::Ask };
    let report = HostReport::new(&args.input)?.show_only(&args.gates)?.ask_ledgers(policy);
    Ok(match args {
        ExplainArgs { json: true, .. } => json::render(&report),
        ExplainArgs { brief: true, .. } => table::render_brief(&report),
        _ => table::render(&report),
    })
}
