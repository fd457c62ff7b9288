//! Probes: each measures one resource of the host, and says where its number came from.
//!
//! [`host`] gives the probes that this crate brings along. To measure something else, implement [`ResourceProbe`]:
//!
//! ```
//! use concurrency_governor::plan::{Measurement, Source};
//! use concurrency_governor::probe::{ProbeError, ResourceProbe, async_trait};
//! use concurrency_governor::{Reading, Resource};
//!
//! const CONNECTIONS: Resource = Resource::new("connections");
//!
//! /// How many connections the operator's file lets this process open.
//! struct Connections {
//!     path: &'static str,
//! }
//!
//! #[async_trait]
//! impl ResourceProbe for Connections {
//!     fn resource(&self) -> Resource {
//!         CONNECTIONS
//!     }
//!
//!     async fn measure(&self) -> Result<Measurement, ProbeError> {
//!         let text = std::fs::read_to_string(self.path)
//!             .map_err(|error| ProbeError::io(CONNECTIONS, self.path, error))?;
//!         let allowed = text.trim().parse().map_err(|error| {
//!             ProbeError::new(CONNECTIONS, format!("{} does not hold a number", self.path)).caused_by(error)
//!         })?;
//!         Ok(Measurement::new(Reading::whole(allowed)).source(Source::new(self.path, text.trim())))
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let probe = Connections { path: "/nonexistent/connections" };
//! let error = probe.measure().await.unwrap_err();
//! assert_eq!(error.to_string(), "cannot measure connections: cannot read /nonexistent/connections");
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Live
//!
//! On Linux the probes of the host tell of changes by [`changed`](ResourceProbe::changed), which is what the
//! [background refresh](crate::Governor::spawn_refresh) waits for:
//!
//! ```no_run
//! use concurrency_governor::probe::{Cpu, ResourceProbe};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let cpu = Cpu::new();
//! loop {
//!     println!("{} cores", cpu.read()?.reading());
//!     cpu.changed().await;
//! }
//! # }
//! ```
//!
//! It resolves when a measurement comes to something else than the last one of the same probe, and is cancel safe. A
//! write to a limit of a control group, at any level that can be seen, is told by the kernel (inotify), 10 ms later, so
//! that several writes come as one. A look every 30 s, or as `poll_every` of a probe says, finds what the kernel tells
//! nobody: that the process was moved to another group, its affinity, its own limits. [`OpenFiles`] has such limits
//! alone.
//!
//! A change is told to each clone of a probe; of two that use one and the same, each gets its own only while both wait.
//! So give every governor a clone. A probe holds one descriptor for its notices, from the first wait until it is dropped,
//! and another while somebody waits; no thread, and nothing global.
//!
//! It needs a runtime with I/O, as `enable_all` makes it. Where that is missing, or the kernel has no inotify instance
//! left to give, the look alone remains, and the measurement says so in a note. Without a timer there is no look, and
//! outside of a runtime it waits for ever. A program that aborts on panic has neither, since what a runtime lacks shows
//! only in a panic; the clock of a governor's refresh stands in.
//!
//! In tests a [`MockProbe`](crate::testing::MockProbe) stands in for any of them.

mod cpu;
mod fixed;
mod memory;
mod open_files;
mod pressure;
mod tasks;

#[cfg(target_os = "linux")]
mod capture;
mod error;
#[cfg(target_os = "linux")]
mod raise;
#[cfg(target_os = "linux")]
mod roots;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(unix, not(target_os = "linux")))]
mod rlimit;

use std::sync::Arc;

use crate::plan::{Measurement, Resource};

/// The attribute that an implementation of [`ResourceProbe`] carries, so that a probe needs no dependency of its own.
#[doc(no_inline)]
pub use async_trait::async_trait;
#[cfg(target_os = "linux")]
pub use capture::{CaptureError, capture};
pub use cpu::Cpu;
pub use error::ProbeError;
pub use fixed::Fixed;
pub use memory::Memory;
pub use open_files::OpenFiles;
pub use pressure::Pressure;
#[cfg(target_os = "linux")]
pub use pressure::PressureSample;
#[cfg(target_os = "linux")]
pub use raise::{RaiseError, RaisedLimit};
#[cfg(target_os = "linux")]
pub use roots::Roots;
pub use tasks::Tasks;

/// Measures one resource, and may push changes of it.
///
/// A probe tells what there is, in the resource's own unit, and leaves it to formulas to say what that allows. See the
/// [module](self) for a probe of one's own.
#[async_trait]
pub trait ResourceProbe: Send + Sync {
    /// The resource that it measures: always the same one.
    fn resource(&self) -> Resource;

    /// Measures the resource now, in the resource's unit, with the sources of the number.
    ///
    /// What the host does not limit is [`Reading::Unlimited`](crate::Reading::Unlimited), and what it does not tell is
    /// [`Reading::Unknown`](crate::Reading::Unknown); an error is for what should have worked and did not. Nobody
    /// relies on a probe to answer: it is given a deadline, and may fail or panic. But it runs on a worker of the
    /// runtime, so that reading a few files from `/proc` is fine and blocking for longer is not.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the resource could not be measured this time.
    ///
    /// # Cancel safety
    ///
    /// An implementation must be cancel safe: whoever measures drops the future at its deadline, and measures again
    /// later.
    async fn measure(&self) -> Result<Measurement, ProbeError>;

    /// Waits until a new reading may be waiting. By default it waits for ever: the resource is then measured only when
    /// somebody asks.
    ///
    /// It may resolve for nothing, and several changes may come as one; a change must not go unseen because it came
    /// between two calls. Whoever awaits it should measure, and then wait again.
    ///
    /// # Cancel safety
    ///
    /// An implementation must be cancel safe: a change is seen once the future has resolved, so one that is dropped
    /// before leaves it to the next call.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

/// The probes of this host, one for each resource that is named by a constant of [`Resource`] and built in:
/// [`Cpu`], [`OpenFiles`], [`Memory`] and [`Tasks`].
///
/// Making them reads nothing yet.
///
/// ```
/// use concurrency_governor::{Resource, probe};
///
/// let measured: Vec<Resource> = probe::host().iter().map(|probe| probe.resource()).collect();
/// assert_eq!(measured, [Resource::CPU, Resource::FD, Resource::MEMORY, Resource::TASKS]);
/// ```
#[must_use]
pub fn host() -> Vec<Box<dyn ResourceProbe>> {
    vec![Box::new(Cpu::new()), Box::new(OpenFiles::new()), Box::new(Memory::new()), Box::new(Tasks::new())]
}

#[async_trait]
impl<P: ResourceProbe + ?Sized> ResourceProbe for Box<P> {
    fn resource(&self) -> Resource {
        (**self).resource()
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        (**self).measure().await
    }

    async fn changed(&self) {
        (**self).changed().await;
    }
}

#[async_trait]
impl<P: ResourceProbe + ?Sized> ResourceProbe for Arc<P> {
    fn resource(&self) -> Resource {
        (**self).resource()
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        (**self).measure().await
    }

    async fn changed(&self) {
        (**self).changed().await;
    }
}
