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
/// 1. `MemTotal` of `/proc/meminfo` without the pool of huge pages, which only `hugetlbfs` can use. If the file is
///    hidden, the total of `sysinfo`. If `vm.overcommit_memory` is 2, also `CommitLimit`, which all processes of the
///    host share.
/// 2. The memory of the NUMA nodes in `Mems_allowed_list` of `/proc/self/status`, if not all nodes are allowed.
/// 3. The limit of every cgroup that contains the process, from the mount point down: `memory.max` in cgroup v2,
///    `memory.limit_in_bytes` in v1. In v1, not the limit of an ancestor whose `memory.use_hierarchy` is 0, nor those above
///    it, and if a level could not be read or is hidden, also `hierarchical_memory_limit` of `memory.stat`. A limit of 0 is a limit.
/// 4. The soft limits `RLIMIT_AS` of the address space and `RLIMIT_DATA` of private writable memory.
///
/// **Reading:** always finite. If no limit is found, the result is an error.
///
/// **Bound:** [`AtMost`](crate::plan::Bound::AtMost), with a note, if a file could not be read or parsed or is hidden, if
/// cgroups above the mount point are hidden, as in a container, or if `CommitLimit` applies.
///
/// **Other systems:** [`Unknown`](crate::Reading::Unknown), with a note.
///
/// # Available memory and soft limit
///
/// [`Memory::available`] and [`Memory::high`] create probes of two further resources, which formulas can read.
/// [`read_available`](Self::read_available) and [`read_soft_limit`](Self::read_soft_limit) read the same values once.
///
/// ```
/// use concurrency_governor::probe::Memory;
/// use concurrency_governor::{Formula, GateSpec, Governor, Quantity, Resource};
///
/// /// A tenth of the memory for jobs of 64 MiB, and not more than the soft limit allows.
/// const JOBS: GateSpec = GateSpec::new(
///     "jobs",
///     Formula::of(Resource::MEMORY.per(Quantity::whole(640 << 20)))
///         .floor(1)
///         .at_most(Memory::HIGH.per(Quantity::whole(64 << 20))),
/// );
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let memory = Memory::new().read()?;
/// println!("{} bytes ({})", memory.reading(), memory.bound());
/// let governor = Governor::builder().gate(JOBS).probe(Memory::new()).probe(Memory::high()).build().await?;
/// # let _ = governor;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    measured: MeasuredMemory,
    #[cfg(target_os = "linux")]
    host: linux::SharedHostReader,
    #[cfg(target_os = "linux")]
    watcher: linux::ChangeWatcher,
}

/// What a probe of the memory measures.
#[derive(Clone, Copy, Debug, Default)]
enum MeasuredMemory {
    #[default]
    Total,
    Available,
    High,
}

impl Memory {
    /// The bytes that can still be allocated without swapping or an out-of-memory kill. See [`Memory::available`].
    pub const AVAILABLE: Resource = Resource::new("memory.available");
    /// The bytes above which the kernel slows the process down. See [`Memory::high`].
    pub const HIGH: Resource = Resource::new("memory.high");

    /// Creates a probe of [`Resource::MEMORY`] of this process. Nothing is read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a probe of [`Memory::AVAILABLE`], which reads what [`read_available`](Self::read_available) reads.
    ///
    /// It changes all the time, so the probe reports no changes. A governor measures it with each refresh. The memory of
    /// work that is admitted already is not available, so a gate that divides this amount admits less and less: prefer
    /// it for work whose memory is held elsewhere, such as by a cache.
    #[must_use]
    pub fn available() -> Self {
        Self { measured: MeasuredMemory::Available, ..Self::default() }
    }

    /// Creates a probe of [`Memory::HIGH`], which reads what [`read_soft_limit`](Self::read_soft_limit) reads.
    #[must_use]
    pub fn high() -> Self {
        Self { measured: MeasuredMemory::High, ..Self::default() }
    }
}

#[cfg(target_os = "linux")]
impl Memory {
    /// Sets the host to measure. Open files and the last measurement of the previous host are dropped.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        let watcher = self.watcher.without_history();
        Self { host: linux::SharedHostReader::new(roots), watcher, ..self }
    }

    /// Sets how often [`changed`](ResourceProbe::changed) polls what the kernel does not report: the cgroup of the
    /// process, its own limits, and the memory of the host.
    ///
    /// The default is 30 s, the minimum 10 ms. Each interval varies at random by a tenth.
    #[must_use]
    pub fn poll_every(self, period: Duration) -> Self {
        Self { watcher: self.watcher.with_poll_interval(period), ..self }
    }

    /// Reads the resource of this probe now: a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the memory of the host nor a limit was found. Never for [`Memory::HIGH`].
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        match self.measured {
            // It differs each time, so the last one is not kept for comparison.
            MeasuredMemory::Available => self.read_available(),
            MeasuredMemory::Total | MeasuredMemory::High => self.watcher.measure(self.watched()),
        }
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
    /// It is the lowest of `MemAvailable` of the host and of what is left of each limit of the memory: the limit minus
    /// what is in use. So it is never more than the memory that [`Memory::new`] measures.
    ///
    /// The usage of a cgroup includes file pages, which the kernel reclaims when the memory is needed. So what is left of
    /// its limit is a lower bound. If it is the lowest, the bound of the measurement is [`AtLeast`](crate::plan::Bound::AtLeast), unless
    /// something makes it [`AtMost`](crate::plan::Bound::AtMost).
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the value of the host nor that of a cgroup was found.
    pub fn read_available(&self) -> Result<Measurement, ProbeError> {
        self.host.measure(Self::available_on)
    }

    /// Returns the files that hold the limits and the allowed NUMA nodes, at every visible cgroup level, whether or not
    /// they exist yet.
    #[must_use]
    pub fn limit_files(&self) -> Vec<PathBuf> {
        self.host.measure(|reader| linux::read::limit_files(reader, Self::CONTROLLERS))
    }

    fn watched(&self) -> linux::WatchedMeasurement<'_> {
        linux::WatchedMeasurement {
            host: &self.host,
            controllers: Self::CONTROLLERS,
            measure: match self.measured {
                MeasuredMemory::Total => Self::measure_on,
                MeasuredMemory::Available => Self::available_on,
                MeasuredMemory::High => |reader| Ok(Self::soft_limit_on(reader)),
            },
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
        builder.build(Self::AVAILABLE)
    }

    /// The cpuset determines the NUMA nodes.
    const CONTROLLERS: &'static [linux::CgroupController] =
        &[linux::CgroupController::Memory, linux::CgroupController::CpusetMems];
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
        match self.measured {
            MeasuredMemory::Total => Resource::MEMORY,
            MeasuredMemory::Available => Self::AVAILABLE,
            MeasuredMemory::High => Self::HIGH,
        }
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.read()
    }

    #[cfg(target_os = "linux")]
    async fn changed(&self) {
        match self.measured {
            MeasuredMemory::Available => std::future::pending().await,
            MeasuredMemory::Total | MeasuredMemory::High => self.watcher.changed(self.watched()).await,
        }
    }
}
