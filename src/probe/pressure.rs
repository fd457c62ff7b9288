//! The probes of pressure: how long tasks stall for a resource.

#[cfg(target_os = "linux")]
use std::io;
#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::error::ProbeError;
#[cfg(target_os = "linux")]
use super::linux::{self, Roots};
use super::resource_probe::ResourceProbe;
use crate::plan::{Measurement, Resource};
#[cfg(target_os = "linux")]
use crate::plan::{Quantity, Reading, Source};

/// Measures the pressure on a resource: the share of time in which at least one task of this process's cgroup waited
/// for the CPU, for memory or for a disk.
///
/// **Unit:** a share of time, from 0 to 1.
///
/// **Reads on Linux**, the first file that exists and is valid, where `<resource>` is `cpu`, `memory` or `io`:
///
/// 1. `<resource>.pressure` of the cgroup v2 that contains the process.
/// 2. `/proc/pressure/<resource>`, the pressure of the whole host.
///
/// [`read`](Self::read) returns the share of the time since the last read of this probe or a clone. The first read
/// returns the kernel's average over ten seconds. For a time window of your own, take two samples with `sample`
/// (Linux only).
///
/// **Reading:** [`Unknown`](crate::Reading::Unknown), never 0, if the kernel reports no pressure.
///
/// **Bound:** [`AtMost`](crate::plan::Bound::AtMost), with a note, if a file could not be parsed.
///
/// **Other systems:** `Unknown`, with a note.
///
/// [`host`](super::host) does not include this probe: pressure changes all the time, and a formula that reads it
/// would change limits all the time.
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
    /// `cpu`, `memory` or `io`, as in the name of the pressure file.
    #[cfg(target_os = "linux")]
    file: &'static str,
    #[cfg(target_os = "linux")]
    host: linux::SharedHostReader,
    #[cfg(target_os = "linux")]
    last: Arc<Mutex<Option<PressureSample>>>,
    #[cfg(target_os = "linux")]
    trigger: Option<linux::PsiTrigger>,
}

impl Pressure {
    /// The share of time in which at least one task waited for a CPU, 0 to 1.
    pub const CPU: Resource = Resource::new("pressure.cpu");
    /// The share of time in which at least one task waited for memory, 0 to 1.
    pub const MEMORY: Resource = Resource::new("pressure.memory");
    /// The share of time in which at least one task waited for a disk, 0 to 1.
    pub const IO: Resource = Resource::new("pressure.io");

    /// Creates a probe of [`Pressure::CPU`].
    #[must_use]
    pub fn on_cpu() -> Self {
        Self::of(Self::CPU, "cpu")
    }

    /// Creates a probe of [`Pressure::MEMORY`].
    #[must_use]
    pub fn on_memory() -> Self {
        Self::of(Self::MEMORY, "memory")
    }

    /// Creates a probe of [`Pressure::IO`].
    #[must_use]
    pub fn on_io() -> Self {
        Self::of(Self::IO, "io")
    }
}

#[cfg(target_os = "linux")]
impl Pressure {
    /// Sets the host to measure. Open files and the last measurement of the previous host are dropped.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self {
            host: linux::SharedHostReader::new(roots),
            last: Arc::default(),
            trigger: self.trigger.clone(),
            ..self
        }
    }

    /// Makes [`changed`](ResourceProbe::changed) resolve when tasks stalled for `stall` within `window`, or for `stall` in total since
    /// an earlier call. Without `when_stalled`, it never resolves.
    ///
    /// The kernel watches the stalls by a PSI trigger and notifies at most once per window. It accepts windows of 500
    /// ms to 10 s, from an unprivileged process only multiples of 2 s, and no stall longer than the window. If the
    /// kernel rejects the trigger, the stalls are polled once per window, at least 10 ms, and the measurement has a
    /// note.
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
        Self { trigger: Some(linux::PsiTrigger::new(stall, window)), ..self }
    }

    /// Reads the share of time, 0 to 1, in which at least one task stalled since the last read: one or two small
    /// files.
    ///
    /// It is the kernel's average over ten seconds, with a note, if there was no earlier read, if the process has
    /// moved to another cgroup since, or if no time has passed.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if a file exists and cannot be read.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        let (sample, mut builder) = self.sample_with_notes()?;
        let Some(sample) = sample else { return Ok(builder.build_with(Reading::Unknown)) };
        let total = format!("some total={}", sample.stalls.some.total.as_micros());
        builder.add_source(Source::new(sample.file.display().to_string(), total));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let share = last.as_ref().and_then(|last| sample.some_since(last));
        let reading = share.unwrap_or_else(|| {
            builder.add_note("the kernel's average over 10 s");
            sample.stalls.some.average
        });
        *last = Some(sample);
        if let Some(note) = self.trigger.as_ref().and_then(linux::PsiTrigger::note) {
            builder.add_note(note);
        }
        Ok(builder.build_with(Reading::Finite(reading)))
    }

    /// Takes a sample for comparison with a later one. Returns `None` if the kernel reports no pressure.
    ///
    /// ```
    /// use concurrency_governor::probe::{Pressure, ProbeError};
    ///
    /// # fn work() {}
    /// let pressure = Pressure::on_io();
    /// let before = pressure.sample()?;
    /// work();
    /// if let (Some(before), Some(after)) = (before, pressure.sample()?) {
    ///     println!("all tasks stalled {:?} of the time", after.full_since(&before));
    /// }
    /// # Ok::<(), ProbeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if a file exists and cannot be read.
    pub fn sample(&self) -> Result<Option<PressureSample>, ProbeError> {
        Ok(self.sample_with_notes()?.0)
    }

    fn sample_with_notes(&self) -> Result<(Option<PressureSample>, linux::MeasurementBuilder), ProbeError> {
        let (read, builder) = self.host.measure(|reader| self.measure_on(reader));
        let read = read.map_err(|error| ProbeError::io(self.resource, "the pressure files", error))?;
        let sample = read.map(|(file, stalls)| PressureSample { file, stalls, taken: Instant::now() });
        Ok((sample, builder))
    }

    pub(super) fn measure_on(
        &self,
        reader: &mut linux::HostReader,
    ) -> (io::Result<Option<(PathBuf, linux::PsiStalls)>>, linux::MeasurementBuilder) {
        let mut builder = linux::MeasurementBuilder::default();
        (linux::read::pressure::read_stalls(self.file, reader, &mut builder), builder)
    }

    fn of(resource: Resource, file: &'static str) -> Self {
        Self { resource, file, host: linux::SharedHostReader::default(), last: Arc::default(), trigger: None }
    }
}

#[cfg(not(target_os = "linux"))]
impl Pressure {
    /// Returns an unknown reading: pressure is not measured on this system.
    ///
    /// # Errors
    ///
    /// Never on this system.
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

    /// The interval begins now. If the pressure cannot be read now, the first measurement is the kernel's average, with a note, or an
    /// error.
    #[cfg(target_os = "linux")]
    fn with_own_interval(&self) -> Option<Arc<dyn ResourceProbe>> {
        let now = self.sample().ok().flatten();
        Some(Arc::new(Self { last: Arc::new(Mutex::new(now)), ..self.clone() }))
    }
}

/// The total of all stalls up to a point in time. Linux only.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug)]
pub struct PressureSample {
    file: PathBuf,
    stalls: linux::PsiStalls,
    taken: Instant,
}

#[cfg(target_os = "linux")]
impl PressureSample {
    /// Returns the share of the time since an earlier sample, 0 to 1, in which at least one task stalled.
    ///
    /// Returns `None` if the samples are from different cgroups, or if no time has passed between them.
    #[must_use]
    pub fn some_since(&self, earlier: &Self) -> Option<Quantity> {
        self.share_since(earlier, |stalls| Some(stalls.some.total))
    }

    /// Returns the share of the time since an earlier sample, 0 to 1, in which all tasks stalled simultaneously.
    ///
    /// Returns `None` also if the kernel does not report this for the resource, as for the CPU before Linux 5.13.
    #[must_use]
    pub fn full_since(&self, earlier: &Self) -> Option<Quantity> {
        self.share_since(earlier, |stalls| Some(stalls.full?.total))
    }

    fn share_since(
        &self,
        earlier: &Self,
        total: impl Fn(&linux::PsiStalls) -> Option<Duration>,
    ) -> Option<Quantity> {
        let stalled = total(&self.stalls)?.checked_sub(total(&earlier.stalls)?)?;
        let window = self.taken.checked_duration_since(earlier.taken)?;
        if self.file != earlier.file {
            return None;
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // The kernel adds a whole stall when it ends, so the total may grow by more than the window.
        Quantity::ratio(micros(stalled), micros(window)).map(|share| share.min(Quantity::whole(1)))
    }
}
