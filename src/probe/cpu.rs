//! How many cores this process may run on.

#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::time::Duration;

use super::{ProbeError, ResourceProbe, async_trait};
#[cfg(target_os = "linux")]
use super::{Roots, linux};
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::CPU`]: the cores that the scheduler lets this process run on at once, fractional (`1.5`).
///
/// The number is the least of two kinds of limit, and nothing is rounded:
///
/// - the process's affinity, by `sched_getaffinity`: that of the process and not of the thread which measures, so that
///   a thread pinned to one core does not speak for all. Where it does not answer, `Cpus_allowed_list` of
///   `/proc/self/status`, as far as those CPUs are online;
/// - the bandwidth quota of each control group that holds the process, up to the mount point: `cpu.max` in version 2,
///   `cpu.cfs_quota_us` over `cpu.cfs_period_us` in version 1. Where the groups are mounted, and which part of them,
///   `/proc/self/mountinfo` tells. Weights and shares are no number of cores.
///
/// It is [`AtMost`](crate::plan::Bound::AtMost) as soon as a level could not be read, or is hidden as it is in a
/// container, with a note on what that was. On systems other than Linux it is
/// [`available_parallelism`](std::thread::available_parallelism), as a bound.
///
/// Keep the probe if you measure often: it keeps the files open that it reads, so the second measurement costs a few
/// system calls, and it is not blind once the process has no descriptor left. Clones share them.
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
    host: linux::SharedHost,
    #[cfg(target_os = "linux")]
    watch: linux::Watch,
}

impl Cpu {
    /// A probe of this process's cores.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same on another host, or on this one with nothing kept yet.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { host: linux::SharedHost::new(roots), watch: self.watch.anew() }
    }

    /// How often [`changed`](ResourceProbe::changed) looks at what the kernel does not tell of, give or take a tenth:
    /// the control group that the process is in, and its affinity. By default every 30 s; at least every 10 ms.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn poll_every(self, period: Duration) -> Self {
        Self { watch: self.watch.every(period), ..self }
    }

    /// Reads the affinity and the quotas now: a system call and a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the affinity nor any quota could be known.
    #[cfg(target_os = "linux")]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        self.watch.measure(self.subject())
    }

    /// The files whose change changes the quota or the affinity, at each level of the control groups that can be seen,
    /// those included that are not there yet.
    ///
    /// They are what [`changed`](ResourceProbe::changed) watches. The kernel tells of a change of these; not of a process that is moved to another group, nor of an affinity that
    /// is set by a system call.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn limit_files(&self) -> Vec<PathBuf> {
        self.host
            .measure(|host| linux::limit_files(host, &[linux::Controller::Cpu, linux::Controller::Cpuset]))
    }

    #[cfg(target_os = "linux")]
    fn subject(&self) -> linux::Subject<'_> {
        linux::Subject {
            host: &self.host,
            controllers: &[linux::Controller::Cpu, linux::Controller::Cpuset],
            read: Self::measure_on,
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn measure_on(host: &mut linux::Host) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        linux::affinity(host, &mut evidence);
        linux::quota(host, &mut evidence);
        evidence.measurement(Resource::CPU)
    }

    /// Asks the standard library.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if it does not know.
    #[cfg(not(target_os = "linux"))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        const CALL: &str = "available_parallelism";

        let cores = std::thread::available_parallelism()
            .map_err(|error| ProbeError::io(Resource::CPU, CALL, error))?
            .get();
        // No host has more than 2^64 cores.
        let reading = crate::plan::Reading::whole(u64::try_from(cores).unwrap_or(u64::MAX));
        Ok(Measurement::new(reading).at_most().source(crate::plan::Source::new(CALL, cores.to_string())))
    }
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
        self.watch.changed(self.subject()).await;
    }
}
