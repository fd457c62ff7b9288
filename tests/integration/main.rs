//! The integrations: metrics, tracing and the tower layer. Each is compiled with its own feature.

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod observed;
#[cfg(any(feature = "metrics", feature = "tower", feature = "tracing"))]
mod support;
#[cfg(feature = "tower")]
mod tower;
#[cfg(feature = "tracing")]
mod tracing;
#[cfg(all(feature = "fleet", any(feature = "metrics", feature = "tower")))]
mod unreachable_ledger;
