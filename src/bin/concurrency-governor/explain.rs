//! What `explain` says, before it is printed: the plan, the readings and the resolution.

use concurrency_governor::plan::{BuildError, EnvError, Measurement, Operand, Source};
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, ProbeError};
use concurrency_governor::{Formula, GateSpec, Layer, Overrides, Plan, Readings, Resolution, Resource};

use crate::args::ExplainArgs;
use crate::plan_file::{PlanFile, PlanFileError};
use crate::preset::Preset;

/// A plan resolved on this host.
#[derive(Debug)]
pub(crate) struct Report {
    /// What the plan is called.
    pub(crate) title: String,
    /// The gates.
    pub(crate) plan: Plan,
    /// Their limits, with the readings behind them.
    pub(crate) resolution: Resolution,
}

impl Report {
    /// Measures the host, as far as no reading is given in its place, and resolves the plan.
    ///
    /// A probe that fails is no error: its resource is unknown, with a note.
    ///
    /// # Errors
    ///
    /// [`ExplainError`] if the plan, the environment or a setting is wrong.
    pub(crate) fn of(args: &ExplainArgs) -> Result<Self, ExplainError> {
        let declared = Declared::of(args)?;
        let mut overrides = Overrides::new();
        let flags = Layer::new("--set");
        overrides =
            overrides.then(args.settings.iter().fold(flags, |layer, (gate, value)| layer.set(*gate, *value)));
        for layer in declared.layers {
            overrides = overrides.then(layer);
        }
        let readings = readings(args, &declared.plan);
        let resolution = declared.plan.resolve(&readings, &overrides)?;
        Ok(Self { title: declared.title, plan: declared.plan, resolution })
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
    layers: Vec<Layer>,
}

impl Declared {
    fn of(args: &ExplainArgs) -> Result<Self, ExplainError> {
        let Some(path) = &args.plan else {
            let preset = args.preset.unwrap_or(Preset::Astrid);
            let title = format!("preset {}", preset.name());
            return Ok(Self { title, plan: Plan::new(preset.specs())?, layers: vec![env(preset)?] });
        };
        let file = PlanFile::read(path)?;
        let mut layers = vec![file.overrides];
        if let Some(preset) = file.preset {
            layers.push(env(preset)?);
        }
        Ok(Self { title: format!("plan {}", path.display()), plan: file.plan, layers })
    }
}

fn env(preset: Preset) -> Result<Layer, EnvError> {
    Layer::env(preset.env_vars().iter().copied(), std::env::var_os)
}

/// A reading of every resource that is given, that the plan reads or that can be measured here.
fn readings(args: &ExplainArgs, plan: &Plan) -> Readings {
    let mut readings = Readings::new();
    for given in &args.readings {
        let source = Source::new("--reading", given.text.as_str());
        readings.insert(given.resource, Measurement::new(given.reading).source(source));
    }
    for (resource, read) in PROBES {
        if readings.get(resource).is_none() {
            let measured = read().unwrap_or_else(|error| Measurement::default().note(format!("{error:#}")));
            readings.insert(resource, measured);
        }
    }
    for operand in operands(plan) {
        if let Operand::Resource(resource) = operand {
            if readings.get(resource).is_none() {
                let note = format!("nothing measures it here; --reading {resource}=N gives it");
                readings.insert(resource, Measurement::default().note(note));
            }
        }
    }
    readings
}

fn operands(plan: &Plan) -> impl Iterator<Item = Operand> {
    plan.specs().iter().map(GateSpec::formula).flat_map(Formula::operands)
}

/// What can be measured here, without a runtime.
const PROBES: [(Resource, Read); 3] = [
    (Resource::CPU, || Cpu::new().read()),
    (Resource::FD, || OpenFiles::new().read()),
    (Resource::MEMORY, || Memory::new().read()),
];

type Read = fn() -> Result<Measurement, ProbeError>;

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    /// The plan file is wrong.
    #[error(transparent)]
    PlanFile(#[from] PlanFileError),
    /// A variable of the environment is wrong.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// A setting does not fit the plan, or is refused by its policy.
    #[error(transparent)]
    Build(#[from] BuildError),
}
