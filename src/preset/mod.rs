//! Presets: plans that ship with the crate, declared with its public surface alone.

use std::fmt;
use std::str::FromStr;

use crate::plan::{GateName, GateSpec};

pub mod astrid;

/// A plan that ships with the crate, by the name that configuration files and command lines give it.
///
/// ```
/// use concurrency_governor::preset::Preset;
///
/// let preset: Preset = "astrid".parse()?;
/// assert_eq!(preset.specs().len(), 3);
/// # Ok::<(), concurrency_governor::preset::PresetError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// The Astrid capsule engine: gates `blocking`, `io`, `pool`.
    Astrid,
}

impl Preset {
    /// Every preset there is.
    pub const ALL: &[Self] = &[Self::Astrid];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Astrid => "astrid",
        }
    }

    /// Its gates.
    pub const fn specs(self) -> &'static [GateSpec] {
        match self {
            Self::Astrid => &astrid::SPECS,
        }
    }

    /// Which environment variable sets which of its gates, for [`OverrideLayer::env`](crate::OverrideLayer::env).
    #[must_use]
    pub const fn env_vars(self) -> &'static [(GateName, &'static str)] {
        match self {
            Self::Astrid => &astrid::ENV_VARS,
        }
    }
}

impl FromStr for Preset {
    type Err = PresetError;

    fn from_str(given: &str) -> Result<Self, PresetError> {
        let named = Self::ALL.iter().find(|preset| preset.as_str() == given);
        named.copied().ok_or_else(|| PresetError { given: given.to_owned() })
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no preset, with what was given and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no preset (allowed: {})", Preset::ALL.iter().map(|preset| format!("`{preset}`")).collect::<Vec<_>>().join(", "))]
pub struct PresetError {
    given: String,
}
