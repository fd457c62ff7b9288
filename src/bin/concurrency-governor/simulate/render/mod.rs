//! The result of a simulation as text, as an HTML page and as charts.

mod chart;
mod html;
mod overload;
mod summary;
mod svg;

pub(super) use chart::{ChartWidth, chart};
pub(super) use html::{html, plant_html};
pub(super) use overload::{overload_chart, overload_setup, overload_tables};
pub(super) use summary::SummaryRows;
pub(super) use svg::{ChartPanel, ChartPoint, ChartSeries, SeriesShape, SvgCanvas};

use super::args::SimulateArgs;
use super::engine::{Simulation, SimulationRecords};
use super::record::GateRecord;
use crate::output;
use crate::report::HostReport;

/// Returns the title of the report.
pub(super) fn title(report: &HostReport) -> String {
    format!("Simulation of {}", output::single_line(&report.plan_name))
}

/// Describes what was simulated, as labels with their texts, so that a reader can repeat the run.
pub(super) fn setup(
    args: &SimulateArgs,
    report: &HostReport,
    simulation: &Simulation,
) -> Vec<(&'static str, String)> {
    let readings = simulation.readings.iter().map(|(resource, measurement)| match measurement.reading() {
        bytes if resource.is_in_bytes() => format!("{resource} = {bytes}"),
        other => format!("{resource} = {}", other.plain()),
    });
    let readings = readings.collect::<Vec<_>>().join(", ");
    let readings = (!readings.is_empty()).then_some(readings);

    let load = &simulation.load;
    let total = load.mix.iter().fold(0_u64, |sum, (_, share)| sum.saturating_add((*share).into()));
    let mix = load.mix.iter().map(|(gate, share)| {
        let percent = u64::from(*share).saturating_mul(100).checked_div(total).unwrap_or(0);
        format!("{percent} % {gate}, service time {}", load.service(*gate))
    });
    let clock =
        if args.real_time { "real time".to_owned() } else { format!("simulated time, seed {}", args.seed) };
    let changes = args.changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");

    let tenants = load.tenants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let length = humantime::format_duration(args.length);
    let rates = match load.schedule.burst {
        _ if !tenants.is_empty() => format!("tenants {tenants} for {length}"),
        None => format!("{} for {length}", load.schedule.rate),
        Some(_) => format!("{}, for {length}", load.schedule),
    };

    let mut setup = vec![
        (
            "host",
            [output::single_line(&report.host)].into_iter().chain(readings).collect::<Vec<_>>().join(": "),
        ),
        ("load", rates),
        ("requests", mix.collect::<Vec<_>>().join("; ")),
        ("clock", clock),
    ];
    if !changes.is_empty() {
        setup.push(("changes", changes));
    }
    setup
}

/// Renders the report for a terminal: the setup, the tables, and more lines.
pub(super) fn text(
    title: &str,
    setup: &[(&'static str, String)],
    summaries: &[SummaryRows],
    more: Vec<String>,
) -> String {
    let mut lines = vec![title.to_owned()];
    lines.extend(setup.iter().map(|(label, text)| format!("{label:<9} {}", output::single_line(text))));
    for summary in summaries {
        lines.push(String::new());
        lines.push(summary.to_text().trim_end().to_owned());
    }
    lines.extend(more);
    lines.push(String::new());
    lines.join("\n")
}

/// Returns a line for each gate and each tenant with rejected requests: how many were rejected for which reason.
pub(super) fn rejections(records: &SimulationRecords) -> Vec<String> {
    let gates = records.gates.iter().map(|record| ("", record));
    let all = gates.chain(records.tenants.iter().map(|record| ("tenant ", record)));
    let line = |(kind, GateRecord { name, totals, .. }): (&str, &GateRecord)| {
        let early = match totals.rejected_early {
            0 => String::new(), // mostly the gate does not shed
            early => format!(", shed or would expire {early}"),
        };
        format!(
            "{kind}{} rejected {}: queue full {}, max_wait passed {}{early}, other {}",
            output::single_line(name),
            totals.rejected(),
            totals.rejected_queue_full,
            totals.rejected_deadline,
            totals.rejected_other
        )
    };
    all.filter(|(_, record)| record.totals.rejected() > 0).map(line).collect()
}
