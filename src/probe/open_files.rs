//! The probe of the file descriptors.

#[cfg(target_os = "linux")]
use std::time::Duration;

use async_trait::async_trait;

use super::error::ProbeError;
#[cfg(target_os = "linux")]
use super::linux::{self, Roots};
use super::resource_probe::ResourceProbe;
use crate::plan::{Measurement, Resource};
#[cfg(target_os = "linux")]
use crate::plan::{Quantity, Reading};

/// Measures [`Resource::FD`]: the file descriptors that this process may have open, including the open ones.
///
/// **Unit:** file descriptors.
///
/// **Reads on Linux**, in this order, and takes the lowest:
///
/// 1. The soft limit `RLIMIT_NOFILE` of the process, by `getrlimit`, or from `/proc/self/limits` of a captured host.
///    A note gives the hard limit.
/// 2. `/proc/sys/fs/nr_open`, the cap for any process.
///
/// **Reading:** [`Unlimited`](crate::Reading::Unlimited) if the soft limit is infinite and there is no cap.
/// [`Unknown`](crate::Reading::Unknown), with a note, if the soft limit is 0: a process with that limit could open
/// nothing, so it is treated as a mistake.
///
/// **Bound:** [`AtMost`](crate::plan::Bound::AtMost), with a note, if a file could not be read or parsed.
///
/// **Other systems:** on Unix, the soft limit `RLIMIT_NOFILE`, always `AtMost`, because these systems have further
/// limits. Elsewhere `Unknown`.
///
/// Two further values have methods of their own: the [open descriptors](Self::read_in_use), and how many [can still
/// be opened](Self::read_free). No limit is raised, except by `raise_soft_limit` on Linux.
///
/// ```
/// use concurrency_governor::probe::OpenFiles;
///
/// let open_files = OpenFiles::new();
/// println!("{} descriptors", open_files.read()?.reading());
/// println!("{} of them open", open_files.read_in_use()?.reading());
/// # Ok::<(), concurrency_governor::probe::ProbeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenFiles {
    #[cfg(target_os = "linux")]
    host: linux::SharedHostReader,
    #[cfg(target_os = "linux")]
    watcher: linux::ChangeWatcher,
}

impl OpenFiles {
    /// Creates a probe of this process. Nothing is read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[cfg(target_os = "linux")]
impl OpenFiles {
    /// Sets the host to measure. Open files and the last measurement of the previous host are dropped.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { host: linux::SharedHostReader::new(roots), watcher: self.watcher.without_history() }
    }

    /// Sets how often [`changed`](ResourceProbe::changed) polls the limits of the process and of the host. The kernel
    /// reports no changes of them.
    ///
    /// The default is 30 s, the minimum 10 ms. Each interval varies at random by a tenth.
    #[must_use]
    pub fn poll_every(self, period: Duration) -> Self {
        Self { watcher: self.watcher.with_poll_interval(period), ..self }
    }

    /// Reads the limit now: one system call and one small file of `/proc`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the limit of the process could not be read.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        self.watcher.measure(self.watched())
    }

    /// Reads the number of open descriptors now, including the few that probes keep open.
    ///
    /// Since Linux 6.2, this is one system call. Before, the descriptors are counted, which takes milliseconds for
    /// thousands of them; a count is reused for one second, and the measurement has a note. On a captured host the
    /// reading is [`Unknown`](crate::Reading::Unknown).
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if `/proc/self/fd` cannot be read.
    pub fn read_in_use(&self) -> Result<Measurement, ProbeError> {
        self.host.measure(|reader| {
            let mut builder = linux::MeasurementBuilder::default();
            let open = linux::read::open_files::read_in_use(reader, &mut builder)
                .map_err(|error| ProbeError::io(Resource::FD, linux::read::open_files::DIRECTORY, error))?;
            Ok(builder.build_with(open.map_or(Reading::Unknown, Reading::whole)))
        })
    }

    /// Reads how many descriptors can still be opened now: the limit minus the open descriptors, and at most the
    /// number of files that can still be opened on the whole host (`/proc/sys/fs/file-nr`).
    ///
    /// If the open descriptors are not known, nothing is subtracted, and the bound is `AtMost`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if no limit was found.
    pub fn read_free(&self) -> Result<Measurement, ProbeError> {
        self.host.measure(Self::free_on)
    }

    fn watched(&self) -> linux::WatchedMeasurement<'_> {
        linux::WatchedMeasurement { host: &self.host, controllers: &[], measure: Self::measure_on }
    }

    pub(super) fn measure_on(reader: &mut linux::HostReader) -> Result<Measurement, ProbeError> {
        let mut builder = linux::MeasurementBuilder::default();
        let limits = linux::read::open_files::add_limit(reader, &mut builder);
        if let Some(limits) = limits {
            let advice = if limits.is_raisable() { ", which the soft one may be raised to" } else { "" };
            builder.add_note(format!("the hard limit is {}{advice}", limits.hard.plain()));
        }
        Self::build(limits, builder)
    }

    pub(super) fn free_on(reader: &mut linux::HostReader) -> Result<Measurement, ProbeError> {
        let mut builder = linux::MeasurementBuilder::default();
        let limits = linux::read::open_files::add_limit(reader, &mut builder);
        match linux::read::open_files::read_in_use(reader, &mut builder) {
            Ok(Some(open)) => builder.subtract_used(Quantity::whole(open)),
            Ok(None) => builder.weaken("the open descriptors are not subtracted from the limit"),
            Err(error) => {
                builder.weaken(format!("cannot read {}: {error}", linux::read::open_files::DIRECTORY));
            }
        }
        linux::read::open_files::add_free_on_host(reader, &mut builder);
        Self::build(limits, builder)
    }

    fn build(
        limits: Option<linux::RlimitPair>,
        builder: linux::MeasurementBuilder,
    ) -> Result<Measurement, ProbeError> {
        match limits {
            None => builder.build(Resource::FD),
            Some(limits) if limits.soft == Reading::whole(0) => Ok(builder.build_with(Reading::Unknown)),
            // The soft limit is known to be infinite, whatever other limit is hidden.
            Some(limits) if builder.lowest_limit().is_none() => Ok(builder.build_with(limits.soft)),
            Some(_) => Ok(builder.build_optional()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl OpenFiles {
    /// Reads the soft limit now, with one system call.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the system call fails.
    #[cfg(unix)]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        use nix::sys::resource::Resource as Rlimit;

        super::rlimit::measure(Resource::FD, Rlimit::RLIMIT_NOFILE, "getrlimit(RLIMIT_NOFILE)")
    }

    /// Returns an unknown reading: this system has no such limit.
    ///
    /// # Errors
    ///
    /// Never on this system.
    #[cfg(not(unix))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("open files are not measured on this system"))
    }

    /// Returns an unknown reading: open descriptors are not counted on this system.
    ///
    /// # Errors
    ///
    /// Never on this system.
    pub fn read_in_use(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("open files are not counted on this system"))
    }

    /// Reads the limit. Open descriptors are not counted on this system, so nothing is subtracted.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the system call fails.
    pub fn read_free(&self) -> Result<Measurement, ProbeError> {
        self.read()
    }
}

#[async_trait]
impl ResourceProbe for OpenFiles {
    fn resource(&self) -> Resource {
        Resource::FD
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.read()
    }

    #[cfg(target_os = "linux")]
    async fn changed(&self) {
        self.watcher.changed(self.watched()).await;
    }
}
