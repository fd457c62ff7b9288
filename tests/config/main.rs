//! Configurations: plans and settings from files, flags of an application, and their laws.

#[cfg(feature = "serde")]
mod adaptive;
#[cfg(feature = "clap")]
mod args;
#[cfg(all(feature = "proptest", feature = "serde"))]
mod laws;
#[cfg(feature = "serde")]
mod nested;
#[cfg(feature = "serde")]
mod plan_config;
#[cfg(feature = "serde")]
mod problems;
#[cfg(feature = "serde")]
mod reports;
#[cfg(feature = "serde")]
mod settings;
#[cfg(feature = "serde")]
mod share;
#[cfg(feature = "serde")]
mod support;
#[cfg(feature = "serde")]
mod texts;
