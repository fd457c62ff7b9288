//! The probe of the CPU cores.

#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::time::Duration;

use async_trait::async_trait;

use super::error::ProbeError;
#[cfg(target_os = "linux")]
use super::linux::{self, Roots};
use super::resource_probe::ResourceProbe;
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::CPU`]: the number of cores on which this process can run in parallel.
///
/// **Unit:** cores, with fractions (`1.5`). Nothing is rounded.
///
/// **Reads on Linux**, in this order, and takes the lowest:
///
/// 1. The affinity of the process, by `sched_getaffinity`. It is the affinity of the main thread, not of the thread
///    that measures: a worker thread that is pinned to one core must not reduce the limits of the process. If the
///    call fails, or on a captured host, the CPUs that are both in `Cpus_allowed_list` of `/proc/self/status` and in
///    `/sys/devices/system/cpu/online`. If lxcfs has numbered the online CPUs anew, the allowed ones that are not in
///    `/sys/devices/system/cpu/offline`.
/// 2. The bandwidth quota of every cgroup that contains the process, from the mount point down: `cpu.max` in cgroup
///    v2, `cpu.cfs_quota_us` over `cpu.cfs_period_us` in v1. The cgroups are found by `/proc/self/cgroup` and
///    `/proc/self/mountinfo`. Weights and shares are ignored, because they do not limit the number of cores.
///
/// **Reading:** always finite. If neither an affinity nor a quota is found, the result is an error.
///
/// **Bound:** [`AtMost`](crate::plan::Bound::AtMost), with a note, if a file could not be read or parsed, or if
/// cgroups above the mount point are hidden, as in a container, or if a quota has no period.
///
/// **Notes:** whether some threads have another affinity than the main thread, or may be in cgroups with other quotas.
///
/// **Other systems:** [`available_parallelism`](std::thread::available_parallelism), always `AtMost`.
///
/// Keep the probe to measure repeatedly. It keeps the files open, so that a later measurement costs a few system
/// calls, and works even if the process has no free file descriptor. Clones share the open files.
///
/// ```
/// use concurrency_governor::probe::Cpu;
///
/// let cores = Cpu::new().read()?;
/// println!("{} cores ({})", cores.reading(), cores.bound());
/// for source in cores.sources() {
///     println!("  {source}");
/// }
/// # Ok::<(), concurrency_governor::probe::ProbeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    #[cfg(target_os = "linux")]
    host: linux::SharedHostReader,
    #[cfg(target_os = "linux")]
    watcher: linux::ChangeWatcher,
}

impl Cpu {
    /// Creates a probe of this process. Nothing is read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the host to measure. Open files and the last measurement of the previous host are dropped.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { host: linux::SharedHostReader::new(roots), watcher: self.watcher.without_history() }
    }

    /// Sets how often [`changed`](ResourceProbe::changed) polls what the kernel does not report: the cgroup of the
    /// process and its affinity.
    ///
    /// The default is 30 s, the minimum 10 ms. Each interval varies at random by a tenth.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn poll_every(self, period: Duration) -> Self {
        Self { watcher: self.watcher.with_poll_interval(period), ..self }
    }

    /// Reads the affinity and the quotas now: one system call and a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither an affinity nor a quota was found.
    #[cfg(target_os = "linux")]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        self.watcher.measure(self.watched())
    }

    /// Reads `available_parallelism` of the standard library now.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the standard library returns an error.
    #[cfg(not(target_os = "linux"))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        const CALL: &str = "available_parallelism";

        let cores = std::thread::available_parallelism()
            .map_err(|error| ProbeError::io(Resource::CPU, CALL, error))?
            .get();
        let reading = crate::plan::Reading::whole(u64::try_from(cores).unwrap_or(u64::MAX));
        Ok(Measurement::new(reading).at_most().source(crate::plan::Source::new(CALL, cores.to_string())))
    }

    /// Returns the files that hold the quotas and the cpusets, at every visible cgroup level, whether or not they
    /// exist yet.
    ///
    /// [`changed`](ResourceProbe::changed) watches these files. A move of the process to another cgroup, and an
    /// affinity that is set by a system call, change none of them.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn limit_files(&self) -> Vec<PathBuf> {
        self.host.measure(|reader| linux::read::limit_files(reader, Self::CONTROLLERS))
    }

    #[cfg(target_os = "linux")]
    fn watched(&self) -> linux::WatchedMeasurement<'_> {
        linux::WatchedMeasurement {
            host: &self.host,
            controllers: Self::CONTROLLERS,
            measure: Self::measure_on,
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn measure_on(reader: &mut linux::HostReader) -> Result<Measurement, ProbeError> {
        let mut builder = linux::MeasurementBuilder::default();
        linux::read::add_affinity(reader, &mut builder);
        linux::read::add_cpu_quotas(reader, &mut builder);
        builder.build(Resource::CPU)
    }

    #[cfg(target_os = "linux")]
    const CONTROLLERS: &'static [linux::CgroupController] =
        &[linux::CgroupController::Cpu, linux::CgroupController::CpusetCpus];
}

#[async_trait]
impl ResourceProbe for Cpu {
    fn resource(&self) -> Resource {
        Resource::CPU
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.read()
    }

    #[cfg(target_os = "linux")]
    async fn changed(&self) {
        self.watcher.changed(self.watched()).await;
    }
}
