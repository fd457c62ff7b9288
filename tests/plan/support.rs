//! Helpers that several modules use.

use concurrency_governor::preset::astrid;
use concurrency_governor::{
    GateSpec, OverrideLayer, Overrides, Plan, Reading, Readings, Resolution, Resource,
};

/// Returns the readings of a host with these cores and file descriptors.
pub(crate) fn host(cores: u64, descriptors: u64) -> Readings {
    Readings::new().with(Resource::CPU, Reading::whole(cores)).with(Resource::FD, Reading::whole(descriptors))
}

/// Builds a plan of one gate, `io`, with this formula.
pub(crate) fn plan_of(formula: &str) -> Plan {
    Plan::new([GateSpec::new("io", formula.parse().unwrap())]).unwrap()
}

/// Resolves the Astrid plan on a host.
pub(crate) fn astrid(cores: u64, descriptors: u64, overrides: &Overrides) -> Resolution {
    astrid::plan().resolve(&host(cores, descriptors), overrides).unwrap()
}

/// Returns overrides with one layer, `cli`, that sets `io`.
pub(crate) fn cli(io: usize) -> Overrides {
    Overrides::new().then(OverrideLayer::new("cli").set(astrid::IO, io))
}

/// Returns each explanation in one line.
pub(crate) fn lines(resolution: &Resolution) -> Vec<String> {
    resolution.explanations().iter().map(ToString::to_string).collect()
}

/// Returns the full explanations as one text.
pub(crate) fn in_full(resolution: &Resolution) -> String {
    let texts: Vec<String> = resolution.explanations().iter().map(|one| format!("{one:#}")).collect();
    texts.join("\n")
}
