//! The plans that come along by name.

use clap::ValueEnum;
use concurrency_governor::preset::astrid;
use concurrency_governor::{GateName, GateSpec};

/// A plan that comes along, by its name on the command line and in plan files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// The Astrid capsule engine: gates blocking, io, pool.
    Astrid,
}

impl Preset {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Astrid => "astrid",
        }
    }

    /// Its gates.
    pub(crate) fn specs(self) -> Vec<GateSpec> {
        match self {
            Self::Astrid => astrid::plan().specs().to_vec(),
        }
    }

    /// Which environment variable sets which of its gates.
    pub(crate) fn env_vars(self) -> &'static [(GateName, &'static str)] {
        match self {
            Self::Astrid => &astrid::ENV_VARS,
        }
    }

    /// All names, for an error that says what is allowed.
    pub(crate) fn names() -> String {
        let names: Vec<_> =
            Self::value_variants().iter().map(|preset| format!("`{}`", preset.name())).collect();
        names.join(", ")
    }
}
