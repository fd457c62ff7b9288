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
    let report = HostReport::new(&args.input)?;
    Ok(if args.json { json::render(&report) } else { table::render(&report) })
}
