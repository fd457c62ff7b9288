//! What `explain` says, before it is printed: the plan, the readings and the resolution.

use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::path::PathBuf;

use concurrency_governor::plan::{BuildError, Decision, EnvError, Explanation, Measurement, Operand, Source};
use concurrency_governor::preset::Preset;
use concurrency_governor::{
    Formula, GateName, GateSpec, OverrideLayer, Overrides, Plan, Readings, Resolution, Resource,
};

use crate::args::GivenArgs;
use crate::host::{Figure, Host};
use crate::plan_file::{PlanFile, PlanFileError};

/// A plan resolved on a host.
#[derive(Debug)]
pub(crate) struct Report {
    /// What the plan is called.
    pub(crate) title: String,
    /// The gates.
    pub(crate) plan: Plan,
    /// Their limits, with the readings behind them.
    pub(crate) resolution: Resolution,
    /// The settings, the one that wins first.
    pub(crate) overrides: Overrides,
    /// The host that was measured.
    pub(crate) host: String,
    /// What else was measured of each resource.
    figures: BTreeMap<Resource, Vec<Figure>>,
}

impl Report {
    /// Measures the host, as far as no reading is given in its place, and resolves the plan.
    ///
    /// A probe that fails is no error: its resource is unknown, with a note.
    ///
    /// # Errors
    ///
    /// [`ExplainError`] if the plan, the environment or a setting is wrong.
    pub(crate) fn of(args: &GivenArgs) -> Result<Self, ExplainError> {
        Self::with(args, &Host::ALWAYS)
    }

    /// The same with everything that moves by itself.
    pub(crate) fn of_watched(args: &GivenArgs) -> Result<Self, ExplainError> {
        Self::with(args, &Host::WATCHED)
    }

    fn with(args: &GivenArgs, always: &[Resource]) -> Result<Self, ExplainError> {
        let declared = Declared::of(args)?;
        let overrides = declared.layers.into_iter().fold(Overrides::new(), Overrides::then);
        let (name, host) = host(args)?;
        let readings = readings(args, &host, &declared.plan, always);
        let resolution = declared.plan.resolve(&readings, &overrides)?;
        let given = |resource: &Resource| args.readings.iter().any(|given| given.resource == *resource);
        let measured = always.iter().copied().filter(|resource| !given(resource));
        let figures = measured.map(|resource| (resource, host.figures(resource))).collect();
        Ok(Self { title: declared.title, plan: declared.plan, resolution, overrides, host: name, figures })
    }

    /// The gates that no setting decides, in the order of the plan.
    pub(crate) fn derived(&self) -> impl Iterator<Item = GateName> {
        let derived = |explanation: &&Explanation| *explanation.decision() == Decision::Derived;
        self.resolution.explanations().iter().filter(derived).map(Explanation::gate)
    }

    /// What else was measured of a resource.
    pub(crate) fn figures(&self, resource: Resource) -> &[Figure] {
        self.figures.get(&resource).map_or(&[], Vec::as_slice)
    }

    /// Whether any formula of the plan reads the resource.
    pub(crate) fn uses(&self, resource: Resource) -> bool {
        operands(&self.plan).any(|operand| operand == Operand::Resource(resource))
    }
}

/// The plan that was asked for, with the settings that belong to it in order of precedence.
struct Declared {
    title: String,
    plan: Plan,
    layers: Vec<OverrideLayer>,
}

impl Declared {
    fn of(args: &GivenArgs) -> Result<Self, ExplainError> {
        let flags = args.settings.iter();
        let mut layers =
            vec![flags.fold(OverrideLayer::new("--set"), |layer, (gate, value)| layer.set(*gate, *value))];
        let (title, preset, plan) = match &args.plan {
            None => {
                let preset = args.preset.unwrap_or(Preset::Astrid);
                (format!("preset {preset}"), Some(preset), Plan::new(preset.specs().iter().copied())?)
            }
            Some(path) => {
                let file = PlanFile::read(path)?;
                layers.push(file.overrides);
                (format!("plan {}", path.display()), file.config.preset(), file.config.plan().clone())
            }
        };
        if let Some(prefix) = &args.env_prefix {
            layers.push(OverrideLayer::env_prefixed(prefix, plan.specs(), std::env::vars_os())?);
        }
        if let Some(preset) = preset {
            layers.push(OverrideLayer::env(preset.env_vars().iter().copied(), std::env::var_os)?);
        }
        Ok(Self { title, plan, layers })
    }
}

/// The host that is to be measured, and what it is called.
#[cfg(target_os = "linux")]
fn host(args: &GivenArgs) -> Result<(String, Host), ExplainError> {
    let Some(root) = &args.root else { return Ok(("this host".to_owned(), Host::running())) };
    if !root.join("proc").is_dir() {
        return Err(ExplainError::NoHost { root: root.clone() });
    }
    Ok((root.display().to_string(), Host::captured(root)))
}

/// The host that is to be measured, and what it is called.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere there is a choice")]
fn host(_args: &GivenArgs) -> Result<(String, Host), ExplainError> {
    Ok(("this host".to_owned(), Host::running()))
}

/// A reading of every resource that is given, that the plan reads or that is measured anyway.
fn readings(args: &GivenArgs, host: &Host, plan: &Plan, always: &[Resource]) -> Readings {
    let mut readings = Readings::new();
    for given in &args.readings {
        let source = Source::new("--reading", given.text.as_str());
        readings.insert(given.resource, Measurement::new(given.reading).source(source));
    }
    let read = operands(plan).filter_map(|operand| match operand {
        Operand::Resource(resource) => Some(resource),
        _ => None,
    });
    for resource in always.iter().copied().chain(read) {
        if readings.get(resource).is_none() {
            let note = || format!("nothing measures it here; --reading {resource}=N gives it");
            let measured = host.measure(resource).unwrap_or_else(|| Measurement::default().note(note()));
            readings.insert(resource, measured);
        }
    }
    readings
}

fn operands(plan: &Plan) -> impl Iterator<Item = Operand> {
    plan.specs().iter().map(GateSpec::formula).flat_map(Formula::operands)
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    /// The plan file is wrong.
    #[error(transparent)]
    PlanFile(#[from] PlanFileError),
    /// A variable of the environment is wrong.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// There is no captured host where one should be.
    #[cfg(target_os = "linux")]
    #[error("{} holds no host: it has no directory `proc` (allowed: what `capture` wrote)", root.display())]
    NoHost {
        /// The directory that was given.
        root: PathBuf,
    },
    /// A setting does not fit the plan, or is refused by its policy.
    #[error(transparent)]
    Build(#[from] BuildError),
}
