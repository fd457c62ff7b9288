//! Presets: plans that ship with the crate. They use only its public API.

use std::fmt;
use std::str::FromStr;

use crate::plan::{GateName, GateSpec};

pub mod astrid;

/// A plan that ships with the crate, with the name that configuration files and command lines use for it.
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
    /// Every preset.
    pub const ALL: &[Self] = &[Self::Astrid];

    /// Returns the preset's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Astrid => "astrid",
        }
    }

    /// Returns the preset's gates.
    pub const fn specs(self) -> &'static [GateSpec] {
        match self {
            Self::Astrid => &astrid::SPECS,
        }
    }

    /// Returns each gate with the environment variable that sets it, for
    /// [`OverrideLayer::env`](crate::OverrideLayer::env).
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
        let preset = Self::ALL.iter().find(|preset| preset.as_str() == given);
        preset.copied().ok_or_else(|| PresetError { given: given.to_owned() })
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The error for a text that is not a preset: the given text, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a preset (allowed: {})", allowed_names())]
pub struct PresetError {
    given: String,
}

/// Prints the message: a `main` that returns the error prints it with `Debug`.
impl fmt::Debug for PresetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn allowed_names() -> String {
    Preset::ALL.iter().map(|preset| format!("`{preset}`")).collect::<Vec<_>>().join(", ")
}
