//! How many cores this process may run on.

#[cfg(target_os = "linux")]
use super::linux;
use super::{ProbeError, ResourceProbe, async_trait};
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::CPU`]: the cores that the scheduler lets this process run on at once, fractional (`1.5`).
///
/// The number is the least of two kinds of limit, and nothing is rounded:
///
/// - the process's affinity, by `sched_getaffinity`: that of the process and not of the thread which measures, so that
///   a thread pinned to one core does not speak for all. Where it does not answer, `Cpus_allowed_list` of
///   `/proc/self/status`, as far as those CPUs are online;
/// - the bandwidth quota of each control group that holds the process, up to the mount point: `cpu.max` in version 2,
///   `cpu.cfs_quota_us` over `cpu.cfs_period_us` in version 1. Weights and shares are no number of cores.
///
/// It is [`AtMost`](crate::plan::Bound::AtMost) as soon as a level could not be read, or is hidden as it is in a
/// container, with a note on what that was. On systems other than Linux it is
/// [`available_parallelism`](std::thread::available_parallelism), as a bound.
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
    roots: linux::Roots,
}

impl Cpu {
    /// A probe of this process's cores.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the affinity and the quotas now: a system call and a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the affinity nor any quota could be known.
    #[cfg(target_os = "linux")]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        linux::affinity(&self.roots, &mut evidence);
        linux::quota(&self.roots, &mut evidence);
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
}
