//! Parses a plan from each format.

use concurrency_governor::config::PlanConfig;

pub(crate) fn parse_toml(text: &str) -> Result<PlanConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

pub(crate) fn parse_json(text: &str) -> Result<PlanConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
