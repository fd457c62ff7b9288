//! A plan that is resolved on a host. All commands that show limits start from it.

mod args;
mod plan_file;
mod probes;
mod problems;

use std::collections::{BTreeMap, BTreeSet};
#[cfg(target_os = "linux")]
use std::path::PathBuf;

use concurrency_governor::config::ShareConfig;
use concurrency_governor::plan::{
    BuildError, Decision, EnvError, Explanation, FindGateError, GatePath, Measurement, Operand, Source,
};
use concurrency_governor::preset::Preset;
use concurrency_governor::{
    Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Readings, Resolution, Resource,
};

pub(crate) use args::{AdaptiveArg, InputArgs, PlanArgs, parse_reading};
pub(crate) use problems::HostProblem;

use crate::output::ErrorLines;
use crate::shares::{self, SharedGateReport};
use plan_file::{PlanFile, PlanFileError};
use probes::{HostProbes, RelatedFigure};

/// A plan with its readings, its settings and the limits that follow from them.
#[derive(Debug)]
pub(crate) struct HostReport {
    /// The name of the plan, such as `preset astrid`.
    pub(crate) plan_name: String,
    pub(crate) plan: Plan,
    /// The limits, with the readings that they are derived from.
    pub(crate) resolution: Resolution,
    /// The settings, highest precedence first.
    pub(crate) overrides: Overrides,
    /// The name of the host: `this host`, or the directory of a captured host.
    pub(crate) host: String,
    /// The gates that share their limits with other processes, in the order of the plan.
    pub(crate) shares: Vec<(GateName, ShareConfig)>,
    /// The same gates with the answers of their ledgers. Empty before [`ask_ledgers`](Self::ask_ledgers).
    asked: Vec<SharedGateReport>,
    /// The gates to show. Empty: all of them.
    shown: Vec<GateName>,
    figures: BTreeMap<Resource, Vec<RelatedFigure>>,
}

impl HostReport {
    /// Measures the host and resolves the plan.
    ///
    /// Readings from the command line replace measurements. If a probe fails, its resource is unknown, with a note.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the plan, the environment or a setting is wrong.
    pub(crate) fn new(args: &InputArgs) -> Result<Self, ReportError> {
        Self::with_resources(args, &HostProbes::RESOURCES)
    }

    /// Like [`new`](Self::new), but measures the pressures too, even if the plan does not read them.
    ///
    /// # Errors
    ///
    /// [`ReportError`] if the plan, the environment or a setting is wrong.
    pub(crate) fn with_pressures(args: &InputArgs) -> Result<Self, ReportError> {
        Self::with_resources(args, &HostProbes::RESOURCES_AND_PRESSURES)
    }

    /// Measures the given resources and those that the plan reads.
    fn with_resources(args: &InputArgs, resources: &[Resource]) -> Result<Self, ReportError> {
        let PlanInputs { plan_name, plan, shares, layers } = PlanInputs::load(&args.plan)?;
        reject_unknown_readings(args, &plan)?;
        let overrides = layers.into_iter().fold(Overrides::new(), Overrides::then);
        let (host, probes) = select_host(args)?;
        let readings = measure(args, &probes, &plan, resources);
        let resolution = plan.resolve(&readings, &overrides)?;

        // A reading from the command line may describe another host, so the figures of this host do not belong to it.
        let is_given = |resource: Resource| args.readings.iter().any(|given| given.resource == resource);
        let measured = resources.iter().copied().filter(|resource| !is_given(*resource));
        let figures = measured.map(|resource| (resource, probes.related_figures(resource))).collect();
        let (asked, shown) = (Vec::new(), Vec::new());
        Ok(Self { plan_name, plan, resolution, overrides, host, shares, asked, shown, figures })
    }

    /// Queries the ledgers of the shown gates, or notes the reason for which they are not queried.
    pub(crate) fn ask_ledgers(self, policy: LedgerPolicy) -> Self {
        let is_shown = |gate: GateName| self.shows_all() || self.shown.contains(&gate);
        let shares: Vec<_> = self.shares.iter().filter(|(gate, _)| is_shown(*gate)).cloned().collect();
        let asked = match policy {
            LedgerPolicy::Ask => shares::ask(&shares),
            LedgerPolicy::Skip => SharedGateReport::not_asked(&shares, "`--no-ledger` is given"),
        };
        Self { asked, ..self }
    }

    /// Returns the shown shared gates, each with the local limit. Empty before [`ask_ledgers`](Self::ask_ledgers).
    pub(crate) fn shared_gates(&self) -> impl Iterator<Item = (&SharedGateReport, Limit)> {
        self.asked.iter().filter_map(|report| Some((report, self.limit_of(report.gate)?)))
    }

    /// Returns the limit of a gate of the plan.
    pub(crate) fn limit_of(&self, gate: GateName) -> Option<Limit> {
        let mut explanations = self.resolution.explanations().iter();
        explanations.find(|explanation| explanation.gate() == gate).map(Explanation::limit)
    }

    /// Shows only these gates, if there are any.
    ///
    /// # Errors
    ///
    /// [`ReportError::UnknownGates`] with each gate that the plan does not declare, or [`ReportError::WrongPath`] for the first
    /// path that is not that of its gate.
    pub(crate) fn show_only(self, gates: &[GatePath]) -> Result<Self, ReportError> {
        let mut unknown: Vec<String> = Vec::new();
        let mut shown = Vec::new();
        for given in gates {
            match self.plan.find(given) {
                Ok(spec) => shown.push(spec.name()),
                Err(FindGateError::UnknownGate(_)) => unknown.push(given.gate().to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        if !unknown.is_empty() {
            let declared: Vec<String> =
                self.plan.specs().iter().map(|spec| spec.name().to_string()).collect();
            return Err(ReportError::UnknownGates {
                given: unknown.join(", "),
                declared: declared.join(", "),
            });
        }
        Ok(Self { shown, ..self })
    }

    /// Returns `true` unless some gates were chosen.
    pub(crate) fn shows_all(&self) -> bool {
        self.shown.is_empty()
    }

    /// Returns the gates to show with their explanations, in the order of the plan.
    pub(crate) fn shown_gates(&self) -> impl Iterator<Item = (&GateSpec, &Explanation)> {
        let gates = self.plan.specs().iter().zip(self.resolution.explanations());
        gates.filter(|(spec, _)| self.shows_all() || self.shown.contains(&spec.name()))
    }

    /// Returns the resources that the limits of the shown gates depend on, directly or through other gates: the gates that their formulas
    /// read, and the gates that they are within.
    pub(crate) fn shown_resources(&self) -> Vec<Resource> {
        let mut resources = BTreeSet::new();
        let mut gates: Vec<GateName> = self.shown_gates().map(|(spec, _)| spec.name()).collect();
        let mut seen = BTreeSet::new();
        while let Some(gate) = gates.pop() {
            if !seen.insert(gate) {
                continue;
            }
            let spec = self.plan.specs().iter().find(|spec| spec.name() == gate);
            gates.extend(spec.and_then(GateSpec::parent)); // its limit may be the lower one
            for operand in spec.into_iter().flat_map(|spec| spec.formula().operands()) {
                match operand {
                    Operand::Resource(resource) => drop(resources.insert(resource)),
                    Operand::Gate(gate) => gates.push(gate),
                    _ => {}
                }
            }
        }
        resources.into_iter().collect()
    }

    /// Returns the gates that no setting overrides, in the order of the plan.
    pub(crate) fn derived_gates(&self) -> impl Iterator<Item = GateName> {
        let is_derived = |explanation: &&Explanation| *explanation.decision() == Decision::Derived;
        self.resolution.explanations().iter().filter(is_derived).map(Explanation::gate)
    }

    /// Returns the other numbers that were measured for a resource, such as its free part.
    pub(crate) fn figures(&self, resource: Resource) -> &[RelatedFigure] {
        self.figures.get(&resource).map_or(&[], Vec::as_slice)
    }

    /// Returns the resources that the formulas of the plan read, without duplicates.
    pub(crate) fn resources_of_plan(&self) -> Vec<Resource> {
        let mut resources: Vec<Resource> = read_resources(&self.plan).collect();
        resources.sort();
        resources.dedup();
        resources
    }

    /// Returns `true` if a formula of the plan reads the resource.
    pub(crate) fn plan_reads(&self, resource: Resource) -> bool {
        read_resources(&self.plan).any(|read| read == resource)
    }
}

/// Whether a command queries ledgers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LedgerPolicy {
    Ask,
    Skip,
}

/// The plan and the settings that apply to it, highest precedence first.
struct PlanInputs {
    plan_name: String,
    plan: Plan,
    shares: Vec<(GateName, ShareConfig)>,
    layers: Vec<OverrideLayer>,
}

impl PlanInputs {
    /// Loads the plan and the settings from the flags, the plan file and the environment.
    fn load(args: &PlanArgs) -> Result<Self, ReportError> {
        let flags = args.settings.iter();
        let flags =
            flags.fold(OverrideLayer::new("--set"), |layer, (path, value)| layer.set(path.clone(), *value));
        let mut layers = vec![flags];
        let mut shares = Vec::new();
        let (plan_name, preset, plan) = match &args.plan {
            None => {
                let preset = args.preset.unwrap_or(Preset::Astrid);
                (format!("preset {preset}"), Some(preset), Plan::new(preset.specs().iter().copied())?)
            }
            Some(path) => {
                let PlanFile { config, overrides } = PlanFile::read(path)?;
                layers.push(overrides);
                let names = config.plan().specs().iter().map(GateSpec::name);
                shares.extend(names.filter_map(|gate| Some((gate, config.share(gate)?.clone()))));
                (format!("plan {}", path.display()), config.preset(), config.plan().clone())
            }
        };
        let plan = with_adaptives(&plan, args)?;
        if let Some(prefix) = &args.env_prefix {
            layers.push(OverrideLayer::env_prefixed(prefix, plan.paths(), std::env::vars_os())?);
        }
        if let Some(preset) = preset {
            layers.push(OverrideLayer::env(preset.env_vars().iter().copied(), std::env::var_os)?);
        }
        Ok(Self { plan_name, plan, shares, layers })
    }
}

/// Returns the plan with the rules that the command line gives for adaptive gates.
fn with_adaptives(plan: &Plan, args: &PlanArgs) -> Result<Plan, ReportError> {
    let mut specs = plan.specs().to_vec();
    for given in &args.adaptives {
        let path = given.gate.as_ref().ok_or(ReportError::AdaptiveWithoutGate)?;
        let gate = plan.find(path)?.name();
        for spec in specs.iter_mut().filter(|spec| spec.name() == gate) {
            *spec = spec.maybe_adaptive(given.adaptive);
        }
    }
    Ok(Plan::new(specs)?)
}

/// Returns the name and the probes of the host to measure.
#[cfg(target_os = "linux")]
fn select_host(args: &InputArgs) -> Result<(String, HostProbes), ReportError> {
    let Some(root) = &args.root else { return Ok(("this host".to_owned(), HostProbes::of_this_host())) };
    if !root.join("proc").is_dir() {
        return Err(ReportError::NotCaptured { root: root.clone() });
    }
    Ok((root.display().to_string(), HostProbes::of_captured_host(root)))
}

/// Returns the name and the probes of the host to measure.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "on Linux, `--root` can be wrong")]
fn select_host(_args: &InputArgs) -> Result<(String, HostProbes), ReportError> {
    Ok(("this host".to_owned(), HostProbes::of_this_host()))
}

/// Rejects readings of resources that neither a probe measures nor the plan reads: most likely, their names are misspelt.
fn reject_unknown_readings(args: &InputArgs, plan: &Plan) -> Result<(), ReportError> {
    let mut allowed = HostProbes::RESOURCES_AND_PRESSURES.to_vec();
    allowed.extend(HostProbes::OTHER_RESOURCES);
    allowed.extend(read_resources(plan));
    let adaptive = plan.specs().iter().filter(|spec| spec.adaptivity().is_some());
    allowed.extend(adaptive.filter_map(|spec| Resource::feedback(spec.name())));
    let names = |resources: Vec<Resource>| {
        let mut names: Vec<String> = Vec::new();
        for name in resources.iter().map(Resource::to_string) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    };
    let given = args.readings.iter().map(|given| given.resource);
    match given.filter(|resource| !allowed.contains(resource)).collect::<Vec<_>>() {
        unknown if unknown.is_empty() => Ok(()),
        unknown => Err(ReportError::UnknownReadings { given: names(unknown), allowed: names(allowed) }),
    }
}

/// Collects a reading of each resource: from the command line if it is given there, else from a probe.
fn measure(args: &InputArgs, probes: &HostProbes, plan: &Plan, resources: &[Resource]) -> Readings {
    let mut readings = Readings::new();
    for given in &args.readings {
        let source = Source::new("--reading", given.text.as_str());
        readings.insert(given.resource, Measurement::new(given.reading).source(source));
    }
    for resource in resources.iter().copied().chain(read_resources(plan)) {
        if readings.get(resource).is_none() {
            let measurement = probes.measure(resource).unwrap_or_else(|| {
                let note = format!("no probe measures {resource}; give it with --reading {resource}=N");
                Measurement::default().note(note)
            });
            readings.insert(resource, measurement);
        }
    }
    readings
}

/// Returns the resources that the formulas of a plan read, with duplicates.
fn read_resources(plan: &Plan) -> impl Iterator<Item = Resource> {
    let operands = plan.specs().iter().map(GateSpec::formula).flat_map(Formula::operands);
    operands.filter_map(|operand| match operand {
        Operand::Resource(resource) => Some(resource),
        _ => None,
    })
}

impl ReportError {
    /// Returns the error with each problem on a line of its own.
    pub(crate) fn lines(&self) -> ErrorLines {
        match self {
            Self::PlanFile(error) => error.lines(),
            Self::Build(error) => ErrorLines::list("", error.problems()),
            error => ErrorLines::one(error),
        }
    }
}

/// The plan cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    /// The plan file is wrong.
    #[error(transparent)]
    PlanFile(#[from] PlanFileError),
    /// An environment variable is wrong.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// A directory of `--root` or of `diff` does not contain a captured host.
    #[cfg(target_os = "linux")]
    #[error(
        "`{}` is not a captured host: it has no directory `proc` (allowed: a directory that `concurrency-governor capture` wrote)",
        root.display()
    )]
    NotCaptured {
        /// The directory that was given.
        root: PathBuf,
    },
    /// Readings are given for resources that do not exist.
    #[error(
        "--reading gives {given}, which no gate of the plan reads and no probe measures (allowed: {allowed})"
    )]
    UnknownReadings {
        /// The resources.
        given: String,
        /// The resources that a probe measures or the plan reads.
        allowed: String,
    },
    /// A gate was chosen by a path that is not its path in the plan.
    #[error(transparent)]
    WrongPath(#[from] FindGateError),
    /// A rule is given without a gate.
    #[error(
        "`--adaptive` has no gate (allowed: GATE=RULE, such as 'upstream=latency, start 16' or upstream=off; a rule alone with `simulate --plant`)"
    )]
    AdaptiveWithoutGate,
    /// Gates were chosen that the plan does not declare.
    #[error("the plan declares no gate {given} (allowed: {declared})")]
    UnknownGates {
        /// The gates that were given.
        given: String,
        /// The gates of the plan.
        declared: String,
    },
    /// A setting does not fit the plan, or its policy rejects it.
    #[error(transparent)]
    Build(#[from] BuildError),
}
