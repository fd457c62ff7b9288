//! How much memory this process may use.

#[cfg(target_os = "linux")]
use super::linux;
use super::{ProbeError, ResourceProbe, async_trait};
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::MEMORY`]: the bytes of memory this process may use, those in use included.
///
/// The number is the least of what the host has, `MemTotal` of `/proc/meminfo`, and the limit of each control group
/// that holds the process, up to the mount point: `memory.max` in version 2, `memory.limit_in_bytes` in version 1.
/// A limit of 0 is a limit. Swap is not counted.
///
/// It is [`AtMost`](crate::plan::Bound::AtMost) as soon as a level could not be read, or is hidden as it is in a
/// container, with a note on what that was. On systems other than Linux it is
/// [`Unknown`](crate::Reading::Unknown), with a note.
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
    roots: linux::Roots,
}

impl Memory {
    /// A probe of this process's memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the host's memory and the limits now: a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the host's memory nor any limit could be known.
    #[cfg(target_os = "linux")]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        linux::memory_total(&self.roots, &mut evidence);
        linux::memory_limits(&self.roots, &mut evidence);
        evidence.measurement(Resource::MEMORY)
    }

    /// Says that memory is not measured here.
    ///
    /// # Errors
    ///
    /// None on this system.
    #[cfg(not(target_os = "linux"))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("memory is not measured on this system"))
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
}
