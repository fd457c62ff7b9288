//! Runs `simulate`.

use std::fs;
use std::io;
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use concurrency_governor::plan::{Explanation, FindGateError, GatePath, QueueBounds};
use concurrency_governor::testing::plant::Plant;
use concurrency_governor::{Adaptive, GateName, GateSpec, Limit, Plan, Readings, Shed};

use super::args::SimulateArgs;
use super::change::{ChangeAction, PlannedChange, PlannedChangeError};
use super::engine::{Simulation, SimulationClock, SimulationError};
use super::fleet::{FleetRunError, run_fleet};
use super::load::{RequestLoad, Tenant};
use super::overload::{OverloadSimulation, ServerSpec};
use super::plant::{self, PlantRun, ReplayFileError};
use super::progress::ProgressLine;
use super::rate::{ArrivalSchedule, RateBurst};
use super::render::{self, ChartWidth, SummaryRows};
use crate::output::ErrorLines;
use crate::report::{AdaptiveArg, HostReport, ReportError};

/// Runs a simulation, writes the requested files and returns the report as text.
///
/// # Errors
///
/// [`SimulateCommandError`] if a flag does not fit the plan or a file cannot be written.
pub(crate) fn run(args: &SimulateArgs) -> Result<String, SimulateCommandError> {
    if let Some(path) = &args.replay {
        return Ok(plant::replay(path)?);
    }
    if let Some(plant) = &args.plant {
        return run_plant(args, plant);
    }
    if let Some(hosts) = args.fleet.hosts {
        return Ok(run_fleet(&args.fleet, hosts, args.length, args.seed)?);
    }
    let report = HostReport::new(&args.input)?;
    let simulation = prepare(args, &report)?;
    // The comparison is checked before the files are touched.
    let comparison = args.shed.map(|shed| compare(args, shed, &report, &simulation)).transpose()?;
    prepare_files(args)?;

    let title = render::title(&report);
    let mut setup = render::setup(args, &report, &simulation);
    let Some(comparison) = comparison else {
        let mut progress = ProgressLine::new(simulation.length);
        let records = simulation.run(|now| progress.show(now))?;
        drop(progress);
        let mut summaries = vec![SummaryRows::of_gates(&records.gates)];
        if !records.tenants.is_empty() {
            summaries.push(SummaryRows::of_tenants(&records.tenants));
        }
        let chart = |width| render::chart(&title, simulation.length, &records.gates, width);
        write_charts(args, &title, &setup, &summaries, chart)?;
        return Ok(render::text(&title, &setup, &summaries, render::rejections(&records)));
    };
    let mut progress = ProgressLine::new(comparison.total_length());
    let records = comparison.run(|now| progress.show(now)).map_err(SimulationError::Runtime)?;
    drop(progress);
    setup.extend(render::overload_setup(&comparison));
    let summaries = render::overload_tables(&comparison, &records);
    let chart = |width| render::overload_chart(&title, &comparison, &records, width);
    write_charts(args, &title, &setup, &summaries, chart)?;
    Ok(render::text(&title, &setup, &summaries, Vec::new()))
}

/// Writes the files of `--svg` and `--html`.
fn write_charts(
    args: &SimulateArgs,
    title: &str,
    setup: &[(&str, String)],
    summaries: &[SummaryRows],
    chart: impl Fn(ChartWidth) -> String,
) -> Result<(), SimulateCommandError> {
    if let Some(path) = &args.svg {
        write_file(path, &chart(ChartWidth::Wide))?;
    }
    if let Some(path) = &args.html {
        let charts = [chart(ChartWidth::Wide), chart(ChartWidth::Narrow)];
        write_file(path, &render::html(title, setup, summaries, charts.each_ref().map(|chart| &**chart)))?;
    }
    Ok(())
}

/// Checks the files before the run, which may take a while.
fn prepare_files(args: &SimulateArgs) -> Result<(), SimulateCommandError> {
    let files: Vec<&PathBuf> = args.svg.iter().chain(&args.html).chain(&args.history).collect();
    for (index, file) in files.iter().enumerate() {
        let is_same = |other: &PathBuf| path::absolute(other).ok() == path::absolute(file).ok();
        if files.iter().take(index).any(|other| is_same(other)) {
            return Err(SimulateCommandError::SameFile { path: (*file).clone() });
        }
    }
    files.into_iter().try_for_each(|path| write_file(path, ""))
}

/// Runs a rule on a plant, and writes the requested files.
fn run_plant(args: &SimulateArgs, plant: &Plant) -> Result<String, SimulateCommandError> {
    let adaptive = match &args.input.plan.adaptives[..] {
        [] => Adaptive::latency(),
        [AdaptiveArg { gate: None, adaptive: Some(adaptive) }] => *adaptive,
        _ => return Err(SimulateCommandError::NotOneRule),
    };
    // The rate may change during the run. The largest one bounds the time of the computation.
    if plant.peak_rate() * args.length.as_secs_f64() > MAX_REQUESTS {
        return Err(SimulateCommandError::PlantTooLarge { length: args.length });
    }
    prepare_files(args)?;
    let run = plant::run_plant(plant, adaptive, args.length, args.seed);
    let run: PlantRun = run.ok_or(SimulateCommandError::NotOneRule)?;
    if let Some(path) = &args.svg {
        write_file(path, &run.chart(910.0))?;
    }
    if let Some(path) = &args.html {
        let charts = [run.chart(910.0), run.chart(360.0)];
        let charts = charts.each_ref().map(|chart| &**chart);
        write_file(path, &render::plant_html(PlantRun::TITLE, &run.setup(), &run.decisions(), charts))?;
    }
    if let Some(path) = &args.history {
        write_file(path, &run.history.to_string())?;
    }
    Ok(run.text())
}

/// Combines the flags with the plan. Reports each flag that does not fit the plan.
fn prepare(args: &SimulateArgs, report: &HostReport) -> Result<Simulation, SimulateCommandError> {
    // Each gate of `--mix` and `--service` must be in the plan.
    let find = |flag, given: &GatePath| match report.plan.find(given) {
        Ok(spec) => Ok(spec.name()),
        Err(FindGateError::UnknownGate(_)) => {
            let allowed: Vec<String> =
                report.plan.specs().iter().map(|spec| spec.name().to_string()).collect();
            let (gate, allowed) = (given.gate(), allowed.join(", "));
            Err(SimulateCommandError::UnknownGate { flag, gate, allowed })
        }
        Err(error) => Err(SimulateCommandError::WrongPath { flag, given: given.clone(), error }),
    };
    let shares = args.mix.iter().map(|(path, share)| Ok((find("--mix", path)?, *share)));
    let mut mix = shares.collect::<Result<Vec<(GateName, u32)>, SimulateCommandError>>()?;
    let services = args.services.iter().map(|(path, service)| Ok((find("--service", path)?, *service)));
    let services = services.collect::<Result<_, SimulateCommandError>>()?;
    if !args.tenants.is_empty() {
        mix = vec![(tenant_gate(&report.plan, &mix)?, 1)];
    }
    if mix.is_empty() {
        mix = report.plan.specs().iter().map(|spec| (spec.name(), 1)).collect();
    }
    if mix.iter().all(|(_, share)| *share == 0) {
        return Err(SimulateCommandError::EmptyMix);
    }
    if args.tenants.len() > MAX_TENANTS {
        return Err(SimulateCommandError::TooManyTenants { given: args.tenants.len() });
    }
    let (flag, rate) = match &args.tenants[..] {
        [] => ("--rate", args.rate),
        tenants => ("--tenants", Tenant::total_rate(tenants)),
    };
    if let Some(burst) = args.burst.filter(|burst| burst.until > args.length) {
        return Err(SimulateCommandError::BurstAfterEnd { burst, end: args.length });
    }
    let schedule = ArrivalSchedule { rate, burst: args.burst };
    let attempts = args.shed.map_or(1, |_| args.client().attempts);
    if schedule.mean_arrivals(args.length) * f64::from(attempts) > MAX_REQUESTS {
        return Err(SimulateCommandError::TooManyRequests { flag, schedule, length: args.length });
    }

    let resources = report.resources_of_plan();
    let changes = args.changes.iter().map(|change| {
        let action = change.resolve(&report.plan, &resources, args.length);
        let action =
            action.map_err(|error| SimulateCommandError::Change { change: change.clone(), error })?;
        Ok((change.at, action))
    });
    let mut changes = changes.collect::<Result<Vec<(Duration, ChangeAction)>, SimulateCommandError>>()?;
    changes.sort_by_key(|(at, _)| *at); // a stable sort keeps the given order of changes at the same time

    // Resources that no formula reads have no influence on the run.
    let readings = report
        .resolution
        .readings()
        .iter()
        .filter(|(resource, _)| resources.contains(resource))
        .fold(Readings::new(), |readings, (resource, measurement)| {
            readings.with(resource, measurement.clone())
        });
    Ok(Simulation {
        plan: report.plan.clone(),
        readings,
        overrides: report.overrides.clone(),
        load: RequestLoad { schedule, mix, tenants: args.tenants.clone(), services },
        changes,
        length: args.length,
        seed: args.seed,
        clock: if args.real_time { SimulationClock::Real } else { SimulationClock::Simulated },
    })
}

/// Combines the flags of a comparison with the simulation of the plan.
fn compare(
    args: &SimulateArgs,
    shed: Shed,
    report: &HostReport,
    simulation: &Simulation,
) -> Result<OverloadSimulation, SimulateCommandError> {
    let Simulation { plan, load, length, seed, .. } = simulation;
    let mut gates = load.mix.iter().filter(|(_, share)| *share > 0).map(|(gate, _)| *gate);
    let (Some(gate), None) = (gates.next(), gates.next()) else {
        let allowed: Vec<String> = plan.specs().iter().map(|spec| spec.name().to_string()).collect();
        return Err(SimulateCommandError::SeveralComparedGates { allowed: allowed.join(", ") });
    };
    let service = load.service(gate);
    if service.mean_seconds() <= 0.0 {
        return Err(SimulateCommandError::NoServiceTime { gate });
    }
    let bounds = report.resolution.explain(gate).ok().map(Explanation::queue_bounds);
    // A gate above has a limit, too.
    let levels = plan.paths().find(|path| path.gate() == gate);
    let levels = levels.iter().flat_map(GatePath::parents).copied().chain([gate]);
    let limit = levels.filter_map(|level| report.resolution.limit(level).ok()).min().unwrap_or(Limit::new(1));
    Ok(OverloadSimulation {
        server: ServerSpec {
            gate,
            limit,
            queue: bounds.and_then(QueueBounds::queue),
            max_wait: bounds.and_then(QueueBounds::max_wait),
        },
        shed,
        schedule: load.schedule,
        service,
        clients: args.client(),
        length: *length,
        seed: *seed,
    })
}

/// Returns the gate whose keys are the tenants: the one of `--mix`, or else the only gate of the plan that has keys.
fn tenant_gate(plan: &Plan, mix: &[(GateName, u32)]) -> Result<GateName, SimulateCommandError> {
    let keyed = plan.specs().iter().filter(|spec| spec.keys().is_some()).map(GateSpec::name);
    let keyed: Vec<GateName> = keyed.collect();
    let names = || keyed.iter().map(GateName::as_str).collect::<Vec<_>>().join(", ");
    let chosen: Vec<GateName> = match mix {
        [] => keyed.clone(),
        mix => mix.iter().filter(|(_, share)| *share > 0).map(|(gate, _)| *gate).collect(),
    };
    match &chosen[..] {
        _ if keyed.is_empty() => Err(SimulateCommandError::NoKeys),
        [gate] if keyed.contains(gate) => Ok(*gate),
        [gate] => Err(SimulateCommandError::GateWithoutKeys { gate: *gate, allowed: names() }),
        [] => Err(SimulateCommandError::EmptyMix),
        _ => Err(SimulateCommandError::SeveralGates { allowed: names() }),
    }
}

fn write_file(path: &Path, text: &str) -> Result<(), SimulateCommandError> {
    fs::write(path, text).map_err(|error| SimulateCommandError::WriteFile { path: path.to_owned(), error })
}

impl SimulateCommandError {
    /// Returns the error with each problem on a line of its own.
    pub(crate) fn lines(&self) -> ErrorLines {
        match self {
            Self::Report(error) => error.lines(),
            error => ErrorLines::one(error),
        }
    }
}

/// The simulation was not run to its end, or its result was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulateCommandError {
    /// The plan, the environment or a setting is wrong.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A flag names a gate that the plan does not declare.
    #[error("`{flag} {gate}`: the plan declares no such gate (allowed: {allowed})")]
    UnknownGate { flag: &'static str, gate: GateName, allowed: String },
    /// A flag names a gate by a path that is not its path in the plan.
    #[error("`{flag} {given}`: {error}")]
    WrongPath { flag: &'static str, given: GatePath, error: FindGateError },
    /// No request would ever arrive.
    #[error("every share of `--mix` is 0 (allowed: at least one share above 0)")]
    EmptyMix,
    /// There are tenants, but no gate that they could use.
    #[error(
        "`--tenants`: no gate of the plan has keys (allowed: a `--plan` file in which a gate has keys, such as keys = {{ max = 100 }})"
    )]
    NoKeys,
    /// There are tenants, and the gate that was chosen for them has no keys.
    #[error("`--tenants` with `--mix {gate}`: the gate has no keys (allowed in `--mix`: {allowed})")]
    GateWithoutKeys { gate: GateName, allowed: String },
    /// There are tenants, and several gates that they could use, or that `--mix` names.
    #[error(
        "`--tenants` needs exactly one gate (allowed: `--mix GATE=1` with one of the gates that have keys: {allowed})"
    )]
    SeveralGates { allowed: String },
    /// The burst would not be in the run.
    #[error("`--burst {burst}`: the run ends before the burst does (allowed: an end up to {end}, or a longer `--for`)", end = humantime::format_duration(*end))]
    BurstAfterEnd { burst: RateBurst, end: Duration },
    /// The comparison is one of queue orders, at one gate.
    #[error("`--shed` needs exactly one gate (allowed: `--mix GATE=1` with one of the gates: {allowed})")]
    SeveralComparedGates { allowed: String },
    /// The gate could serve any number of requests.
    #[error("`--shed` needs a service time above 0 (allowed: such as `--service {gate}=100ms`)")]
    NoServiceTime { gate: GateName },
    /// The report would be too long to read, and the records too large.
    #[error("`--tenants` gives {given} tenants (allowed: up to {MAX_TENANTS})")]
    TooManyTenants { given: usize },
    /// A change does not fit the plan.
    #[error("`--change {change}`: {error}")]
    Change { change: PlannedChange, error: PlannedChangeError },
    /// The run would take too much time and memory.
    #[error(
        "`{flag}` of {schedule} and `--for {}` give too many requests (allowed: {MAX_REQUESTS} requests in all, each attempt counted; lower one of them)",
        humantime::format_duration(*length)
    )]
    TooManyRequests { flag: &'static str, schedule: ArrivalSchedule, length: Duration },
    /// A plant has one rule.
    #[error(
        "`--plant` needs one `--adaptive` with a rule and no gate (allowed: latency, arc, or aimd with a duration, such as --adaptive 'aimd 200ms')"
    )]
    NotOneRule,
    /// The run would take too much time and memory.
    #[error(
        "the rate of `--plant` and `--for {}` give too many requests (allowed: {MAX_REQUESTS} requests in all; lower one of them)",
        humantime::format_duration(*length)
    )]
    PlantTooLarge { length: Duration },
    /// The decisions cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayFileError),
    /// The flags of a fleet do not fit each other.
    #[error(transparent)]
    Fleet(#[from] FleetRunError),
    /// One file would overwrite the other.
    #[error("two of `--svg`, `--html` and `--history` name {} (allowed: a different file for each)", path.display())]
    SameFile { path: PathBuf },
    /// A file cannot be written.
    #[error("cannot write {}: {error} (allowed: a file in a writable directory)", path.display())]
    WriteFile { path: PathBuf, error: io::Error },
    /// The simulation itself failed.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
}

/// The largest number of requests of a run: with more, a user would wait too long for its end.
const MAX_REQUESTS: f64 = 5_000_000.0;

/// Each tenant has a row in the report, and a record with all slices of the time.
const MAX_TENANTS: usize = 100;
