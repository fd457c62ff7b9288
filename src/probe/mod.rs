//! Probes: each measures one resource of the host, with the sources of the number.
//!
//! [`host`] returns the probes of this crate that a governor usually needs. To measure another resource, implement
//! [`ResourceProbe`]:
//!
//! ```
//! use concurrency_governor::plan::{Measurement, Source};
//! use concurrency_governor::probe::{ProbeError, ResourceProbe, async_trait};
//! use concurrency_governor::{Reading, Resource};
//!
//! const CONNECTIONS: Resource = Resource::new("connections");
//!
//! /// The number of connections that the operator's file allows.
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
//! # Changes
//!
//! On Linux, the probes of the host notify of changes through [`changed`](ResourceProbe::changed), for which the
//! [background refresh](crate::Governor::spawn_refresh) waits:
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
//! It resolves when a measurement differs from the last one of the same probe, and it is cancel safe. The kernel
//! reports (by inotify) a write to a limit of a cgroup, at every visible level. The probe measures 10 ms later, so
//! that several writes are one change. A poll every 30 s, or as set by `poll_every`, finds the changes that the
//! kernel does not report: a move of the process to another cgroup, a mounted hierarchy, its affinity, and its own
//! limits. For [`OpenFiles`], there is only the poll. A governor does not wait for the poll: its
//! [background refresh](crate::governor::RefreshPolicy) measures every 10 s.
//!
//! Every clone of a probe is notified of a change. Two callers that share one probe are both notified only if both
//! wait at the time, so give each governor a clone. From the first wait until it is dropped, a probe holds one
//! inotify descriptor, and one more during each wait. It starts no thread and has no global state.
//!
//! Notification needs a runtime with I/O, as built by `enable_all`. Without I/O, or if the kernel has no free inotify
//! instance, only the poll remains, and the measurement has a note. Without a timer, there is no poll. Outside of a
//! runtime, `changed` waits forever. A program that aborts on panic gets neither notifications nor polls, because
//! tokio reports a missing driver only by a panic. It relies on the interval of the governor's refresh.
//!
//! In tests, a [`MockProbe`](crate::testing::MockProbe) replaces any probe.

mod resource_probe;

mod cpu;
mod fixed;
mod memory;
mod open_files;
mod pressure;
mod tasks;

#[cfg(target_os = "linux")]
mod capture;
#[cfg(target_os = "linux")]
mod raise;

mod error;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(unix, not(target_os = "linux")))]
mod rlimit;

/// The attribute for implementations of [`ResourceProbe`]. With this re-export they need no dependency on
/// `async-trait`.
#[doc(no_inline)]
pub use async_trait::async_trait;
#[cfg(target_os = "linux")]
pub use capture::{CaptureError, capture};
pub use cpu::Cpu;
pub use error::ProbeError;
pub use fixed::Fixed;
#[cfg(target_os = "linux")]
pub use linux::Roots;
pub use memory::Memory;
pub use open_files::OpenFiles;
pub use pressure::Pressure;
#[cfg(target_os = "linux")]
pub use pressure::PressureSample;
#[cfg(target_os = "linux")]
pub use raise::{RaiseError, RaisedLimit};
pub use resource_probe::ResourceProbe;
pub use tasks::Tasks;

/// Returns a probe for each resource that [`Resource`](crate::Resource) names by a constant: [`Cpu`], [`OpenFiles`],
/// [`Memory`] and [`Tasks`].
///
/// Nothing is read yet.
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
