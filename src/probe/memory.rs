//! The probe of the memory.

#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::time::Duration;

use async_trait::async_trait;

use super::error::ProbeError;
#[cfg(target_os = "linux")]
use super::linux::{self, Roots, read::memory::MemoryFigure};
use super::resource_probe::ResourceProbe;
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::MEMORY`]: the memory that this process may use, including what it uses already.
///
/// **Unit:** bytes. Swap is not counted.
///
/// **Reads on Linux**, in this order, and takes the lowest:
///
/// 1. `MemTotal` of `/proc/meminfo`.
/// 2. The limit of every cgroup that contains the process, from the mount point down: `memory.max` in cgroup v2,
///    `memory.limit_in_bytes` in v1. In v1, if a level could not be read or is hidden, also
///    `hierarchical_memory_limit` of `memory.stat`. A limit of 0 is a limit.
/// 3. The soft limit `RLIMIT_AS` of the address space.
///
/// **Reading:** always finite. If no limit is found, the result is an error.
///
/// **Bound:** [`AtMost`](crate::plan::Bound::AtMost), with a note, if a file could not be read or parsed, or if
/// cgroups above the mount point are hidden, as in a container.
///
/// **Other systems:** [`Unknown`](crate::Reading::Unknown), with a note.
///
/// Two further values have methods of their own: the [soft limit](Self::read_soft_limit), above which the kernel
/// slows the process down, and the [available memory](Self::read_available).
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
    host: linux::SharedHostReader,
    #[cfg(target_os = "linux")]
    watcher: linux::ChangeWatcher,
}

impl Memory {
    /// Creates a probe of this process. Nothing is read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[cfg(target_os = "linux")]
impl Memory {
    /// Sets the host to measure. Open files and the last measurement of the previous host are dropped.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { host: linux::SharedHostReader::new(roots), watcher: self.watcher.without_history() }
    }

    /// Sets how often [`changed`](ResourceProbe::changed) polls what the kernel does not report: the cgroup of the
    /// process, its own limits, and the memory of the host.
    ///
    /// The default is 30 s, the minimum 10 ms. Each interval varies at random by a tenth.
    #[must_use]
    pub fn poll_every(self, period: Duration) -> Self {
        Self { watcher: self.watcher.with_poll_interval(period), ..self }
    }

    /// Reads the memory of the host and the limits now: a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the memory of the host nor a limit was found.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        self.watcher.measure(self.watched())
    }

    /// Reads the soft limit in bytes: the lowest `memory.high` of the cgroups that contain the process. Above it, the
    /// kernel slows the process down and reclaims its memory.
    ///
    /// The reading is [`Unlimited`](crate::Reading::Unlimited) if there is none, and
    /// [`Unknown`](crate::Reading::Unknown) if there is none but a level could not be read or is hidden. cgroup v1
    /// has none: `memory.soft_limit_in_bytes` slows no process down; the kernel only uses it to choose from which
    /// cgroups to reclaim first when the host runs out of memory.
    #[must_use = "reading has no other effect"]
    pub fn read_soft_limit(&self) -> Measurement {
        self.host.measure(Self::soft_limit_on)
    }

    /// Reads the bytes that the process can still allocate without swapping or an out-of-memory kill.
    ///
    /// It is the lowest of `MemAvailable` of the host and, for every cgroup that contains the process, the limit
    /// minus the usage. The usage of a cgroup includes file caches that the kernel could reclaim, so at least this
    /// much is available.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the value of the host nor that of a cgroup was found.
    pub fn read_available(&self) -> Result<Measurement, ProbeError> {
        self.host.measure(Self::available_on)
    }

    /// Returns the files that hold the limits, at every visible cgroup level, whether or not they exist yet.
    #[must_use]
    pub fn limit_files(&self) -> Vec<PathBuf> {
        self.host.measure(|reader| linux::read::limit_files(reader, Self::CONTROLLERS))
    }

    fn watched(&self) -> linux::WatchedMeasurement<'_> {
        linux::WatchedMeasurement {
            host: &self.host,
            controllers: Self::CONTROLLERS,
            measure: Self::measure_on,
        }
    }

    pub(super) fn measure_on(reader: &mut linux::HostReader) -> Result<Measurement, ProbeError> {
        let mut builder = linux::MeasurementBuilder::default();
        linux::read::memory::add_limits(MemoryFigure::Total, reader, &mut builder);
        builder.build(Resource::MEMORY)
    }

    pub(super) fn soft_limit_on(reader: &mut linux::HostReader) -> Measurement {
        let mut builder = linux::MeasurementBuilder::default();
        linux::read::memory::add_soft_limits(reader, &mut builder);
        builder.build_optional()
    }

    pub(super) fn available_on(reader: &mut linux::HostReader) -> Result<Measurement, ProbeError> {
        let mut builder = linux::MeasurementBuilder::default();
        linux::read::memory::add_limits(MemoryFigure::Available, reader, &mut builder);
        builder.build(Resource::MEMORY)
    }

    const CONTROLLERS: &'static [linux::CgroupController] = &[linux::CgroupController::Memory];
}

#[cfg(not(target_os = "linux"))]
impl Memory {
    /// Returns an unknown reading: memory is not measured on this system.
    ///
    /// # Errors
    ///
    /// Never on this system.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Self::unknown())
    }

    /// Returns an unknown reading: memory is not measured on this system.
    #[must_use = "reading has no other effect"]
    pub fn read_soft_limit(&self) -> Measurement {
        Self::unknown()
    }

    /// Returns an unknown reading: memory is not measured on this system.
    ///
    /// # Errors
    ///
    /// Never on this system.
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
        self.watcher.changed(self.watched()).await;
    }
}
