//! Spans for waits, and events for what a governor does.
//!
//! ```
//! use concurrency_governor::integration::tracing::TracingObserver;
//! use concurrency_governor::{Formula, GateSpec, Governor, Resource, probe};
//!
//! const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64));
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let builder = Governor::builder().gate(IO).probes(probe::host());
//! let governor = builder.observer(TracingObserver::new()).build().await?;
//! let io = governor.gate(IO)?;
//!
//! let permit = io.acquire().traced().await?; // opens a span if the request has to wait
//! # drop(permit);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! All spans and events have the target `concurrency_governor`, so `RUST_LOG=concurrency_governor=debug` shows them all.
//! `docs/OBSERVABILITY.md` lists them with their levels and fields.

mod advice;
mod observer;
mod wait;

pub use observer::TracingObserver;
pub use wait::Traced;

/// The target of every span and event.
pub const TARGET: &str = "concurrency_governor";
