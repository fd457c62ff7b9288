//! Plans and settings from configuration files, and settings from command lines.
//!
//! With the feature `serde`, [`PlanConfig`] is a whole plan in a configuration file, and [`Settings`] are the operator's
//! settings for gates that the application declares in code. Both deserialize from TOML, JSON, YAML and any other format of
//! serde, and can be fields of an application's own configuration. An error reports every problem at once, each with its
//! key, the given value and the allowed values. An unknown key is a problem.
//!
//! With the feature `clap`, [`GateArgs`] adds one flag per gate to an application, and [`LimitArgs`] one flag for all gates.
//!
//! [CONFIGURATION.md](https://docs.rs/crate/concurrency-governor/latest/source/docs/CONFIGURATION.md) documents every key, and
//! the order of precedence.
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
mod adaptive;
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
mod share;
#[cfg(feature = "serde")]
mod share_table;
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
pub use share::{LedgerSource, LedgerSourceError, ShareConfig};
#[cfg(feature = "serde")]
pub use value::{ConfigKey, Value};
