//! How much memory this process may use.

#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::time::Duration;

use super::{ProbeError, ResourceProbe, async_trait};
#[cfg(target_os = "linux")]
use super::{Roots, linux};
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::MEMORY`]: the bytes of memory this process may use, those in use included.
///
/// The number is the least of what the host has, `MemTotal` of `/proc/meminfo`; the limit of each control group that
/// holds the process, up to the mount point: `memory.max` in version 2, `memory.limit_in_bytes` in version 1; and the
/// soft limit `RLIMIT_AS` of the address space. A limit of 0 is a limit. Swap is not counted.
///
/// Two other figures are read apart: [the level at which the kernel slows the process down](Self::read_soft_limit),
/// and [what is left](Self::read_available).
///
/// It is [`AtMost`](crate::plan::Bound::AtMost) as soon as a level could not be read, or is hidden as it is in a
/// container, with a note on what that was. On systems other than Linux it is [`Unknown`](crate::Reading::Unknown),
/// with a note.
///
/// ```
/// use concurrency_governor::probe::Memory;
///
/// let memory = Memory::new().read()?;
/// println!("{} bytes ({})", memory.reading(), memory.bound());
/// # Ok::<(), concurrency_governor::probe::ProbeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    #[cfg(target_os = "linux")]
    host: linux::SharedHost,
    #[cfg(target_os = "linux")]
    watch: linux::Watch,
}

impl Memory {
    /// A probe of this process's memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[cfg(target_os = "linux")]
impl Memory {
    /// The same on another host, or on this one with nothing kept yet.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { host: linux::SharedHost::new(roots), watch: self.watch.anew() }
    }

    /// How often [`changed`](ResourceProbe::changed) looks at what the kernel does not tell of, give or take a tenth:
    /// the control group that the process is in, its own limits, and the memory of the host. By default every 30 s; at
    /// least every 10 ms.
    #[must_use]
    pub fn poll_every(self, period: Duration) -> Self {
        Self { watch: self.watch.every(period), ..self }
    }

    /// Reads the host's memory and the limits now: a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the host's memory nor any limit could be known.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        self.watch.measure(self.subject())
    }

    /// Reads the bytes above which the kernel slows the process down to take memory back from it: the least
    /// `memory.high` of the control groups that hold it.
    ///
    /// [`Unlimited`](crate::Reading::Unlimited) if there is none, as always in version 1, whose
    /// `memory.soft_limit_in_bytes` slows nobody down: it says whom to take memory from first when the host runs out;
    /// [`Unknown`](crate::Reading::Unknown) if there is none to be seen and a level is hidden.
    #[must_use = "reading has no other effect"]
    pub fn read_soft_limit(&self) -> Measurement {
        self.host.measure(Self::soft_limit_on)
    }

    /// Reads the bytes that the process can still take without anything being swapped or killed: the least of what the
    /// host has left, `MemAvailable`, and of what each control group that holds it has left of its limit.
    ///
    /// A group's use counts its file caches in, part of which the kernel would give back: what is left is no less than
    /// this.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the host's memory nor that of any group could be known.
    pub fn read_available(&self) -> Result<Measurement, ProbeError> {
        self.host.measure(Self::available_on)
    }

    /// The files whose change changes a limit, at each level of the control groups that can be seen, those included
    /// that are not there yet.
    #[must_use]
    pub fn limit_files(&self) -> Vec<PathBuf> {
        self.host.measure(|host| linux::limit_files(host, &[linux::Controller::Memory]))
    }

    fn subject(&self) -> linux::Subject<'_> {
        linux::Subject { host: &self.host, controllers: &[linux::Controller::Memory], read: Self::measure_on }
    }

    pub(super) fn measure_on(host: &mut linux::Host) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        linux::memory::total(host, &mut evidence);
        linux::memory::limits(host, &mut evidence);
        evidence.measurement(Resource::MEMORY)
    }

    pub(super) fn soft_limit_on(host: &mut linux::Host) -> Measurement {
        let mut evidence = linux::Evidence::default();
        linux::memory::soft_limits(host, &mut evidence);
        evidence.measurement_if_any()
    }

    pub(super) fn available_on(host: &mut linux::Host) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        linux::memory::available(host, &mut evidence);
        evidence.measurement(Resource::MEMORY)
    }
}

#[cfg(not(target_os = "linux"))]
impl Memory {
    /// Says that memory is not measured here.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Self::unknown())
    }

    /// Says that memory is not measured here.
    #[must_use = "reading has no other effect"]
    pub fn read_soft_limit(&self) -> Measurement {
        Self::unknown()
    }

    /// Says that memory is not measured here.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn read_available(&self) -> Result<Measurement, ProbeError> {
        Ok(Self::unknown())
    }

    fn unknown() -> Measurement {
        Measurement::default().note("memory is not measured on this system")
    }
}

#[async_trait]
impl ResourceProbe for Memory {
    fn resource(&self) -> Resource {
        Resource::MEMORY
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.read()
    }

    #[cfg(target_os = "linux")]
    async fn changed(&self) {
        self.watch.changed(self.subject()).await;
    }
}
