//! How much of the time work stalls for want of a resource.

#[cfg(target_os = "linux")]
use std::io;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

use super::{ProbeError, ResourceProbe, async_trait};
#[cfg(target_os = "linux")]
use super::{Roots, linux};
use crate::plan::{Measurement, Resource};
#[cfg(target_os = "linux")]
use crate::plan::{Quantity, Reading, Source};

/// Measures the pressure on a resource: the share of time, 0 to 1, in which some task of this process's group had to
/// wait for the processor, for memory or for the disk.
///
/// It is the pressure stall information of the control group of version 2 that holds the process; with no such group,
/// of the whole host. Where the kernel tells none, the pressure is [`Unknown`](crate::Reading::Unknown), and never 0.
///
/// [`read`](Self::read) gives the share since it was last read by this probe or a clone, and the first time the
/// kernel's own average over ten seconds. For a window of one's own, take two samples on Linux, by `sample`.
///
/// It is none of the probes of [`host`](super::host): what it measures changes all the time, and a formula that reads it
/// would move limits all the time.
///
/// ```
/// use concurrency_governor::probe::Pressure;
///
/// let pressure = Pressure::on_memory();
/// println!("stalled for memory: {}", pressure.read()?.reading());
/// # Ok::<(), concurrency_governor::probe::ProbeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pressure {
    resource: Resource,
    #[cfg(target_os = "linux")]
    file: &'static str,
    #[cfg(target_os = "linux")]
    host: linux::SharedHost,
    #[cfg(target_os = "linux")]
    last: Arc<Mutex<Option<PressureSample>>>,
    #[cfg(target_os = "linux")]
    trigger: Option<linux::Trigger>,
}

impl Pressure {
    /// The share of time in which some task waited for a processor, 0 to 1.
    pub const CPU: Resource = Resource::new("pressure.cpu");
    /// The share of time in which some task waited for memory, 0 to 1.
    pub const MEMORY: Resource = Resource::new("pressure.memory");
    /// The share of time in which some task waited for a disk, 0 to 1.
    pub const IO: Resource = Resource::new("pressure.io");

    /// A probe of [`Pressure::CPU`].
    #[must_use]
    pub fn on_cpu() -> Self {
        Self::of(Self::CPU, "cpu")
    }

    /// A probe of [`Pressure::MEMORY`].
    #[must_use]
    pub fn on_memory() -> Self {
        Self::of(Self::MEMORY, "memory")
    }

    /// A probe of [`Pressure::IO`].
    #[must_use]
    pub fn on_io() -> Self {
        Self::of(Self::IO, "io")
    }
}

#[cfg(target_os = "linux")]
impl Pressure {
    /// The same on another host, or on this one with nothing kept yet and never read before.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self {
            host: linux::SharedHost::new(roots),
            last: Arc::default(),
            trigger: self.trigger.clone(),
            ..self
        }
    }

    /// Has [`changed`](ResourceProbe::changed) resolve when some task stalled for so long within a window; without this
    /// it never does.
    ///
    /// It is the kernel that watches, by a trigger. It takes windows of 500 ms to 10 s, of a process without rights only
    /// multiples of 2 s, and no stall that is longer than the window; and it tells at most once a window. What it does
    /// not take is looked for once a window, at least every 10 ms, and the measurement says so.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use concurrency_governor::probe::{Pressure, ResourceProbe};
    ///
    /// # async fn example() {
    /// // A tenth of two seconds.
    /// let memory = Pressure::on_memory().when_stalled(Duration::from_millis(200), Duration::from_secs(2));
    /// memory.changed().await;
    /// # }
    /// ```
    #[must_use]
    pub fn when_stalled(self, stall: Duration, window: Duration) -> Self {
        Self { trigger: Some(linux::Trigger::new(stall, window)), ..self }
    }

    /// Reads the share of time, 0 to 1, in which some task stalled since the last read: a small file or two.
    ///
    /// Without a last read, or if the process has been moved to another group since, or if no time has passed, it is
    /// the kernel's average over ten seconds, and a note says so.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if a file is there and cannot be read.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        let untold = self.trigger.as_ref().and_then(linux::Trigger::note);
        let Some(sample) = self.sample_with(&mut evidence)? else {
            return Ok(evidence.into_measurement(Reading::Unknown));
        };
        let total = format!("some total={}", sample.stalls.some.total.as_micros());
        evidence.saw(Source::new(sample.file.display().to_string(), total));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let share = last.as_ref().and_then(|last| sample.some_since(last));
        let reading = share.unwrap_or_else(|| {
            evidence.note("the kernel's average over 10 s");
            sample.stalls.some.average
        });
        *last = Some(sample);
        if let Some(note) = untold {
            evidence.note(note);
        }
        Ok(evidence.into_measurement(Reading::Finite(reading)))
    }

    /// Takes a sample, to be held against a later one; `None` where there is no pressure to be read.
    ///
    /// ```
    /// use concurrency_governor::probe::{Pressure, ProbeError};
    ///
    /// # fn work() {}
    /// let pressure = Pressure::on_io();
    /// let before = pressure.sample()?;
    /// work();
    /// if let (Some(before), Some(after)) = (before, pressure.sample()?) {
    ///     println!("all stalled at once: {:?} of the time", after.full_since(&before));
    /// }
    /// # Ok::<(), ProbeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if a file is there and cannot be read.
    pub fn sample(&self) -> Result<Option<PressureSample>, ProbeError> {
        self.sample_with(&mut linux::Evidence::default())
    }

    fn sample_with(&self, evidence: &mut linux::Evidence) -> Result<Option<PressureSample>, ProbeError> {
        let (found, seen) = self.host.measure(|host| self.measure_on(host));
        *evidence = seen;
        let found = found.map_err(|error| ProbeError::io(self.resource, "the pressure files", error))?;
        Ok(found.map(|(file, stalls)| PressureSample { file, stalls, taken: Instant::now() }))
    }

    pub(super) fn measure_on(
        &self,
        host: &mut linux::Host,
    ) -> (io::Result<Option<(PathBuf, linux::pressure::Stalls)>>, linux::Evidence) {
        let mut evidence = linux::Evidence::default();
        (linux::pressure::stalls(self.file, host, &mut evidence), evidence)
    }

    fn of(resource: Resource, file: &'static str) -> Self {
        Self { resource, file, host: linux::SharedHost::default(), last: Arc::default(), trigger: None }
    }
}

#[cfg(not(target_os = "linux"))]
impl Pressure {
    /// Says that pressure is not measured here.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("pressure is not measured on this system"))
    }

    fn of(resource: Resource, _file: &'static str) -> Self {
        Self { resource }
    }
}

#[async_trait]
impl ResourceProbe for Pressure {
    fn resource(&self) -> Resource {
        self.resource
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.read()
    }

    #[cfg(target_os = "linux")]
    async fn changed(&self) {
        match &self.trigger {
            Some(trigger) => trigger.fired(self.file, &self.host).await,
            None => std::future::pending().await,
        }
    }
}

/// How long work had stalled up to a moment.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug)]
pub struct PressureSample {
    file: PathBuf,
    stalls: linux::pressure::Stalls,
    taken: Instant,
}

#[cfg(target_os = "linux")]
impl PressureSample {
    /// The share of the time since an earlier sample, 0 to 1, in which some task stalled; `None` if the two are not of
    /// one group, or no time has passed between them.
    #[must_use]
    pub fn some_since(&self, earlier: &Self) -> Option<Quantity> {
        self.share_since(earlier, |stalls| Some(stalls.some.total))
    }

    /// The same in which all tasks stalled at once; `None` also if the kernel does not tell that of this resource.
    #[must_use]
    pub fn full_since(&self, earlier: &Self) -> Option<Quantity> {
        self.share_since(earlier, |stalls| Some(stalls.full?.total))
    }

    fn share_since(
        &self,
        earlier: &Self,
        total: impl Fn(&linux::pressure::Stalls) -> Option<Duration>,
    ) -> Option<Quantity> {
        let stalled = total(&self.stalls)?.checked_sub(total(&earlier.stalls)?)?;
        let window = self.taken.checked_duration_since(earlier.taken)?;
        if self.file != earlier.file {
            return None;
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // The kernel adds a stall up when it ends, so the sum may run ahead of the clock.
        Quantity::ratio(micros(stalled), micros(window)).map(|share| share.min(Quantity::whole(1)))
    }
}
