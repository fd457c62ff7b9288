//! What ties gates to the rest of a program: metrics, tracing and middleware, each behind a feature of its own that adds
//! API and changes nothing of what is there without it.
//!
//! - `metrics`: gates, pools and probes in a recorder of the `metrics` facade, such as a Prometheus exporter, by
#![cfg_attr(feature = "metrics", doc = "  [`metrics::Metrics`].")]
#![cfg_attr(not(feature = "metrics"), doc = "  `Metrics`.")]
//! - `tracing`: a span for each wait by `Acquire::traced`, and an event for each change of a limit and each trouble of a
//!   probe, which names the knob to turn, by
#![cfg_attr(feature = "tracing", doc = "  [`tracing::TracingObserver`].")]
#![cfg_attr(not(feature = "tracing"), doc = "  `TracingObserver`.")]
//! - `tower`: a layer that holds a service to a gate, by
#![cfg_attr(feature = "tower", doc = "  [`tower::GateLayer`].")]
#![cfg_attr(not(feature = "tower"), doc = "  `GateLayer`.")]
//!
//! Names, units, labels and knobs are in `docs/OBSERVABILITY.md`.

#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tracing")]
pub mod tracing;

#[cfg(any(feature = "metrics", feature = "tower", feature = "tracing"))]
mod reason;
