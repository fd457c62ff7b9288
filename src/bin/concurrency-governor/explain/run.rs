//! Runs `explain`.

use super::args::ExplainArgs;
use super::{json, table};
use crate::report::{HostReport, ReportError};

/// Resolves the plan on the host and returns the report as text.
///
/// # Errors
///
/// [`ReportError`] if the plan, the environment or a setting is wrong.
pub(crate) fn run(args: &ExplainArgs) -> Result<String, ReportError> {
    let report = HostReport::new(&args.input)?.show_only(&args.gates)?;
    Ok(match args {
        ExplainArgs { json: true, .. } => json::render(&report),
        ExplainArgs { brief: true, .. } => table::render_brief(&report),
        _ => table::render(&report),
    })
}
