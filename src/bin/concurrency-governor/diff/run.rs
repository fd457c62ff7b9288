//! Runs `diff`.

use std::path::Path;

use anstyle::Style;
use concurrency_governor::plan::{Explanation, Measurement};
use concurrency_governor::{GateName, Resource};

use super::args::DiffArgs;
use crate::output::{self, Alignment, CommandOutput, TableCell, TextTable};
use crate::report::{HostReport, InputArgs, ReportError};

/// Resolves the plan on both hosts and returns what differs.
///
/// # Errors
///
/// [`ReportError`] if the plan or a setting is wrong, or a directory does not contain a captured host.
pub(crate) fn run(args: &DiffArgs) -> Result<CommandOutput, ReportError> {
    let report_of = |directory: &Path| {
        let root = Some(directory.to_owned()).filter(|directory| directory.as_os_str() != "-");
        HostReport::new(&InputArgs { plan: args.plan.clone(), readings: Vec::new(), root })
    };
    let [first, second] = [report_of(&args.first)?, report_of(&args.second)?];
    let tables = [readings(&first, &second), gates(&first, &second)];
    let sections: Vec<String> = tables.into_iter().flatten().collect();
    Ok(if sections.is_empty() {
        CommandOutput::success("the hosts have the same readings and the same limits\n".to_owned())
    } else {
        CommandOutput::negative(sections.join("\n"))
    })
}

/// One row for each resource whose reading differs, or `None` if there is none.
fn readings(first: &HostReport, second: &HostReport) -> Option<String> {
    let mut table = table_of("resource", first, second);
    let resources: Vec<Resource> = first.resolution.readings().iter().map(|(resource, _)| resource).collect();
    for resource in resources {
        let measurements = [first, second].map(|report| report.resolution.readings().get(resource));
        let [of_first, of_second] = measurements.map(|found| found.map(|one| (one.reading(), one.bound())));
        if of_first == of_second {
            continue;
        }
        let texts = |format: fn(Resource, &Measurement) -> String| {
            measurements.map(|found| found.map(|one| format(resource, one)).unwrap_or_default())
        };
        let mut cells = texts(output::format_measurement);
        // The usual text is rounded, and does not show a small difference.
        if cells[0] == cells[1] {
            cells = texts(output::format_exact_measurement);
        }
        let [of_first, of_second] = cells.map(TableCell::new);
        table.row([TableCell::new(resource.as_str()), of_first, of_second]);
    }
    table.has_rows().then(|| format!("Readings that differ\n{}", table.render()))
}

/// One row for each gate whose limit differs, or `None` if there is none.
fn gates(first: &HostReport, second: &HostReport) -> Option<String> {
    let mut table = table_of("gate", first, second);
    let explanations = first.resolution.explanations().iter().zip(second.resolution.explanations());
    let cell = |explanation: &Explanation| {
        let limit = TableCell::new(explanation.limit().to_string());
        limit.line(output::format_decision(explanation), Style::new().dimmed())
    };
    for (of_first, of_second) in explanations {
        if of_first.limit() != of_second.limit() {
            let gate: GateName = of_first.gate();
            table.row([TableCell::new(gate.as_str()), cell(of_first), cell(of_second)]);
        }
    }
    let title = format!("Gates of {} that differ", output::single_line(&first.plan_name));
    table.has_rows().then(|| format!("{title}\n{}", table.render()))
}

fn table_of(name: &str, first: &HostReport, second: &HostReport) -> TextTable {
    let [of_first, of_second] = [first, second].map(|report| output::single_line(&report.host));
    TextTable::new(&[(name, Alignment::Left), (&*of_first, Alignment::Left), (&*of_second, Alignment::Left)])
}
