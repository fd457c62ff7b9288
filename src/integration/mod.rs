//! Adapters to other crates: metrics, tracing and tower middleware.
//!
//! Each module is behind the feature of its name. A feature adds API and changes no existing behaviour.
//!
//! - `metrics` exports gates, pools and probes to a recorder of the `metrics` facade, for example a Prometheus exporter:
#![cfg_attr(feature = "metrics", doc = "  [`metrics::Metrics`].")]
#![cfg_attr(not(feature = "metrics"), doc = "  `Metrics`.")]
//! - `tracing` opens a span for each wait (`Acquire::traced`, `Request::traced`) and emits an event for each changed limit and each failed
//!   probe. The message of an event says what to change:
#![cfg_attr(feature = "tracing", doc = "  [`tracing::TracingObserver`].")]
#![cfg_attr(not(feature = "tracing"), doc = "  `TracingObserver`.")]
//! - `tower` provides a layer that limits the requests in flight in a service:
#![cfg_attr(feature = "tower", doc = "  [`tower::GateLayer`].")]
#![cfg_attr(not(feature = "tower"), doc = "  `GateLayer`.")]
//!
//! `docs/OBSERVABILITY.md` lists all names, units, labels and settings.

#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tracing")]
pub mod tracing;

#[cfg(any(feature = "metrics", feature = "tower", feature = "tracing"))]
mod observed;

#[cfg(any(feature = "metrics", feature = "tower", feature = "tracing"))]
mod reason;

#[cfg(any(feature = "metrics", feature = "tracing"))]
pub use observed::ObservedRequest;
