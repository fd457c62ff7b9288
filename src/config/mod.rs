//! Plans and settings from configuration files, and settings from command lines.
//!
//! With the feature `serde`, [`PlanConfig`] is a whole plan as a file holds it, and [`Settings`] are operators' settings
//! for gates that the program declares. Both are read by TOML, JSON, YAML or whatever else serde reads, and can be fields
//! of an application's own configuration. Whatever is wrong is told at once, each fault with its key, its value and what
//! is allowed; an unknown key is a fault.
//!
//! With the feature `clap`, [`GateArgs`] gives an application a flag for each gate, and [`LimitArgs`] one flag for all.
//!
//! The page [CONFIGURATION.md](https://docs.rs/crate/concurrency-governor/latest/source/docs/CONFIGURATION.md) has the
//! shape of a file key by key, and the order in which settings count.
#![cfg_attr(
    feature = "serde",
    doc = r##"
```
use concurrency_governor::config::{ConfigError, PlanConfig};
use concurrency_governor::{OverrideLayer, Overrides, Reading, Readings, Resource};

let text = r#"
    [gates.uploads]
    formula = "(cpu or 2) * 8 | floor 16 | at most fd * 1/4"
    max_wait = "250ms"

    [overrides]
    uploads = 32
"#;
let file: PlanConfig = toml::from_str(text).map_err(|error| ConfigError::in_file("limits.toml", error))?;

let from_the_command_line = None;
let overrides = Overrides::new()
    .then(OverrideLayer::new("cli").maybe_set("uploads".parse::<concurrency_governor::GateName>()?, from_the_command_line))
    .then(file.layer("limits.toml"));
let readings = Readings::new().with(Resource::CPU, Reading::whole(8));
let resolution = file.plan().resolve(&readings, &overrides)?;
assert_eq!(resolution.explanations()[0].to_string(), "uploads = 32: set to 32 by limits.toml overrides.uploads, derived 64");
# Ok::<(), Box<dyn std::error::Error>>(())
```
"##
)]

#[cfg(feature = "serde")]
mod error;
#[cfg(feature = "clap")]
mod gate_args;
#[cfg(feature = "clap")]
mod limit_args;
#[cfg(feature = "serde")]
mod plan_config;
#[cfg(feature = "serde")]
mod reader;
#[cfg(feature = "serde")]
mod reports;
#[cfg(feature = "serde")]
mod settings;
#[cfg(feature = "serde")]
mod texts;
#[cfg(feature = "serde")]
mod value;

#[cfg(feature = "serde")]
pub use error::{ConfigError, ConfigProblem};
#[cfg(feature = "clap")]
pub use gate_args::{GateArgs, GateFlags};
#[cfg(feature = "clap")]
pub use limit_args::LimitArgs;
#[cfg(feature = "serde")]
pub use plan_config::PlanConfig;
#[cfg(feature = "serde")]
pub use settings::Settings;
#[cfg(feature = "serde")]
pub use value::{Key, Value};
