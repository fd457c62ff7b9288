//! `simulate`: drives the gates of a plan with a load, and shows how it went.

mod change;
mod chart;
mod drive;
mod load;
mod page;
mod record;
mod summary;

use std::fs;
use std::io;
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use concurrency_governor::plan::Operand;
use concurrency_governor::{Formula, GateName, GateSpec, Plan, Readings, Resource};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::SimulateArgs;
use crate::explain::{ExplainError, Report};
use crate::plain;

pub(crate) use change::{Change, ChangeError};
pub(crate) use load::{LoadError, Rate, Service};

use change::What;
use drive::{Clock, Course, DriveError};
use load::Load;
use record::Record;

/// Runs a simulation, writes the pictures that were asked for, and says what came of it.
pub(crate) fn simulate(args: &SimulateArgs) -> Result<String, SimulateError> {
    let report = Report::of(&args.given)?;
    let course = course(args, &report)?;
    if let (Some(svg), Some(html)) = (&args.svg, &args.html) {
        if path::absolute(svg).ok() == path::absolute(html).ok() {
            return Err(SimulateError::OneForBoth { path: html.clone() });
        }
    }
    // Asked first: nobody should wait for a picture that cannot be written.
    for path in args.svg.iter().chain(&args.html) {
        fs::write(path, "").map_err(|error| SimulateError::Unwritten { path: path.clone(), error })?;
    }
    let bar = progress_bar(course.length);
    let records = course.run(|now| bar.set_position(millis(now)))?;
    bar.finish_and_clear();

    let facts = facts(args, &report, &course);
    let heading = format!("Simulation of {}", plain::line(&report.title));
    let summary = summary::table(&records);
    let picture = chart::svg(&heading, course.length, &records);
    if let Some(path) = &args.svg {
        write(path, &picture)?;
    }
    if let Some(path) = &args.html {
        let table = anstream::adapter::strip_str(&summary).to_string();
        write(path, &page::html(&heading, &facts, &table, &picture))?;
    }
    Ok(text(&heading, &facts, &summary, &records))
}

/// What is to be simulated, once everything fits the plan.
fn course(args: &SimulateArgs, report: &Report) -> Result<Course, SimulateError> {
    let gates: Vec<GateName> = report.plan.specs().iter().map(GateSpec::name).collect();
    let known = |gate: GateName, flag: &'static str| {
        if gates.contains(&gate) {
            Ok(())
        } else {
            let allowed = gates.iter().map(GateName::as_str).collect::<Vec<_>>().join(", ");
            Err(SimulateError::NoGate { flag, gate, allowed })
        }
    };
    for (gate, _) in &args.mix {
        known(*gate, "--mix")?;
    }
    for (gate, _) in &args.services {
        known(*gate, "--service")?;
    }
    let mix =
        if args.mix.is_empty() { gates.iter().map(|gate| (*gate, 1)).collect() } else { args.mix.clone() };
    if mix.iter().all(|(_, share)| *share == 0) {
        return Err(SimulateError::EmptyMix);
    }
    let requests = args.rate.each_second() * args.length.as_secs_f64();
    if requests > MOST_REQUESTS {
        return Err(SimulateError::TooMany { rate: args.rate, length: args.length });
    }
    let read = resources(&report.plan);
    let mut changes = args
        .changes
        .iter()
        .map(|change| {
            Ok((
                change.at,
                change
                    .what(&gates, &read, args.length)
                    .map_err(|error| SimulateError::Change { change: change.clone(), error })?,
            ))
        })
        .collect::<Result<Vec<(Duration, What)>, SimulateError>>()?;
    changes.sort_by_key(|(at, _)| *at); // stable: what comes at the same time comes in the order given
    let measured = report.resolution.readings().iter();
    let readings = measured
        .filter(|(resource, _)| read.contains(resource))
        .fold(Readings::new(), |readings, (resource, measured)| readings.with(resource, measured.clone()));
    Ok(Course {
        plan: report.plan.clone(),
        readings,
        overrides: report.overrides.clone(),
        load: Load { rate: args.rate, mix, services: args.services.iter().copied().collect() },
        changes,
        length: args.length,
        seed: args.seed,
        clock: if args.real_time { Clock::Real } else { Clock::Simulated },
    })
}

/// What the formulas of a plan read.
fn resources(plan: &Plan) -> Vec<Resource> {
    let operands = plan.specs().iter().map(GateSpec::formula).flat_map(Formula::operands);
    let mut resources: Vec<Resource> = operands
        .filter_map(|operand| match operand {
            Operand::Resource(resource) => Some(resource),
            _ => None,
        })
        .collect();
    resources.sort();
    resources.dedup();
    resources
}

/// What was simulated, for whoever reads the report later.
fn facts(args: &SimulateArgs, report: &Report, course: &Course) -> Vec<(&'static str, String)> {
    let all = course.load.mix.iter().fold(0_u64, |sum, (_, share)| sum.saturating_add((*share).into()));
    let mix = course.load.mix.iter().map(|(gate, share)| {
        let percent = u64::from(*share).saturating_mul(100).checked_div(all).unwrap_or(0);
        format!("{gate} {percent} %, each {}", course.load.service(*gate))
    });
    let readings = course.readings.iter().map(|(resource, measured)| match measured.reading() {
        bytes if resource == Resource::MEMORY => format!("{resource} = {bytes}"),
        other => format!("{resource} = {}", other.plain()),
    });
    let changes = args.changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let clock =
        if args.real_time { "real time".to_owned() } else { format!("simulated time, seed {}", args.seed) };
    let mut facts = vec![
        ("host", format!("{}: {}", plain::line(&report.host), readings.collect::<Vec<_>>().join(", "))),
        ("load", format!("{} for {}", args.rate, humantime::format_duration(args.length))),
        ("requests", mix.collect::<Vec<_>>().join("; ")),
        ("clock", clock),
    ];
    if !changes.is_empty() {
        facts.push(("changes", changes));
    }
    facts
}

fn text(heading: &str, facts: &[(&'static str, String)], summary: &str, records: &[Record]) -> String {
    let mut lines = vec![heading.to_owned()];
    lines.extend(facts.iter().map(|(name, value)| format!("{name:<9} {}", plain::line(value))));
    lines.push(String::new());
    lines.push(summary.trim_end().to_owned());
    for record in records.iter().filter(|record| record.totals.shed() > 0) {
        let (gate, totals) = (record.gate, record.totals);
        lines.push(format!(
            "{gate} shed {}: {} found the line full, {} waited too long, {} otherwise",
            totals.shed(),
            totals.queue_full,
            totals.expired,
            totals.other
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn progress_bar(length: Duration) -> ProgressBar {
    let bar = ProgressBar::new(millis(length));
    if let Ok(style) = ProgressStyle::with_template("simulating {bar:40} {percent} %, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn write(path: &Path, text: &str) -> Result<(), SimulateError> {
    fs::write(path, text).map_err(|error| SimulateError::Unwritten { path: path.to_owned(), error })
}

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulateError {
    /// The plan, the environment or a setting is wrong.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// A gate that the plan does not declare.
    #[error("`{flag} {gate}`: the plan declares no such gate (allowed: {allowed})")]
    NoGate { flag: &'static str, gate: GateName, allowed: String },
    /// Nothing would ever arrive.
    #[error("every share of `--mix` is 0 (allowed: at least one above 0)")]
    EmptyMix,
    /// A change that does not fit the plan.
    #[error("`--change {change}`: {error}")]
    Change { change: Change, error: ChangeError },
    /// It would take too long, and too much memory.
    #[error("`--rate {rate}` for {} is too much (allowed: {MOST_REQUESTS} requests in all)", humantime::format_duration(*length))]
    TooMany { rate: Rate, length: Duration },
    /// One picture would be written over the other.
    #[error("`--svg` and `--html` are both to be {} (allowed: a file for each)", path.display())]
    OneForBoth { path: PathBuf },
    /// A picture has no place.
    #[error("cannot write {}: {error}", path.display())]
    Unwritten { path: PathBuf, error: io::Error },
    /// The simulation itself failed.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

/// Some ten seconds of work.
const MOST_REQUESTS: f64 = 5_000_000.0;
