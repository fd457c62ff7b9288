//! Runs `check`.

use std::fmt::Write as _;

use concurrency_governor::plan::{Explanation, FindGateError};
use concurrency_governor::{GateName, Reading, Resource};

use super::args::CheckArgs;
use super::requirement::Requirement;
use crate::output::{self, CommandOutput, ErrorLines};
use crate::report::{HostReport, ReportError};

/// Resolves the plan on the host and compares it with the requirements.
///
/// # Errors
///
/// [`CheckCommandError`] if the plan or a setting is wrong, or a requirement names neither a gate nor a resource.
pub(crate) fn run(args: &CheckArgs) -> Result<CommandOutput, CheckCommandError> {
    let report = HostReport::new(&args.input)?;
    let (mut text, mut are_all_met) = (String::new(), true);
    for requirement in &args.requirements {
        let (reading, reason) = look_up(&report, requirement)?;
        let is_met = requirement.is_met_by(reading);
        are_all_met &= is_met;
        let result = if is_met { "ok" } else { "failed" };
        // Writing to a `String` cannot fail.
        let _: std::fmt::Result =
            writeln!(text, "{result:<6}  {requirement}: {}", output::single_line(&reason));
    }
    Ok(if are_all_met { CommandOutput::success(text) } else { CommandOutput::negative(text) })
}

/// Returns the number to compare, with what decides it. A gate hides a resource of the same name.
fn look_up(report: &HostReport, requirement: &Requirement) -> Result<(Reading, String), CheckCommandError> {
    let name = &requirement.name;
    let explanations = report.resolution.explanations();
    match name.parse().map(|path| report.plan.find(&path)) {
        Ok(Ok(spec)) => {
            let explanation = explanations.iter().find(|explanation| explanation.gate() == spec.name());
            if let Some(explanation) = explanation {
                return Ok((Reading::whole(explanation.limit().get().into()), explanation.to_string()));
            }
        }
        Ok(Err(error @ FindGateError::WrongPath { .. })) => {
            return Err(CheckCommandError::WrongPath { requirement: requirement.clone(), error });
        }
        _ => {} // it may be a resource
    }
    let mut readings = report.resolution.readings().iter();
    if let Some((resource, measurement)) = readings.find(|(resource, _)| resource.as_str() == name) {
        let value = output::format_measurement(resource, measurement);
        let parts = [format!("{resource} = {value}")].into_iter().chain(measurement.notes().iter().cloned());
        return Ok((measurement.reading(), parts.collect::<Vec<_>>().join("; ")));
    }
    let gates: Vec<GateName> = explanations.iter().map(Explanation::gate).collect();
    let resources: Vec<Resource> =
        report.resolution.readings().iter().map(|(resource, _)| resource).collect();
    let names = gates.iter().map(GateName::as_str).chain(resources.iter().map(Resource::as_str));
    Err(CheckCommandError::UnknownName {
        requirement: requirement.clone(),
        allowed: names.collect::<Vec<_>>().join(", "),
    })
}

impl CheckCommandError {
    /// Returns the error with each problem on a line of its own.
    pub(crate) fn lines(&self) -> ErrorLines {
        match self {
            Self::Report(error) => error.lines(),
            error @ (Self::UnknownName { .. } | Self::WrongPath { .. }) => ErrorLines::one(error),
        }
    }
}

/// The requirements were not compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckCommandError {
    /// The plan, the environment or a setting is wrong.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A requirement names a gate by a path that is not its path in the plan.
    #[error("`--require {requirement}`: {error}")]
    WrongPath {
        /// The requirement.
        requirement: Requirement,
        /// The error, with the path of the gate.
        error: FindGateError,
    },
    /// A requirement names neither a gate nor a resource.
    #[error(
        "`--require {requirement}`: `{}` is neither a gate of the plan nor a resource that was measured (allowed: {allowed})",
        requirement.name
    )]
    UnknownName {
        /// The requirement.
        requirement: Requirement,
        /// The gates and the resources.
        allowed: String,
    },
}
