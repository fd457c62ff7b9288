//! How many file descriptors this process may have open, and has.

#[cfg(target_os = "linux")]
use std::time::Duration;

use super::{ProbeError, ResourceProbe, async_trait};
#[cfg(target_os = "linux")]
use super::{Roots, linux};
use crate::plan::{Measurement, Resource};
#[cfg(target_os = "linux")]
use crate::plan::{Quantity, Reading};

/// Measures [`Resource::FD`]: the file descriptors this process may have open, those that are open included.
///
/// The number is the soft limit `RLIMIT_NOFILE`, which the kernel enforces, and at most what the host allows any
/// process, `fs.nr_open`; the hard limit stands in a note. With a soft limit of infinity and no cap it reads as
/// [`Reading::Unlimited`](crate::Reading::Unlimited). A soft limit of 0, under which nothing could be opened at all, is
/// taken for a mistake and reads as [`Reading::Unknown`](crate::Reading::Unknown), with a note. So does a system
/// without such limits. On a system other than Linux it is a bound, since such a system has limits besides.
///
/// Two other figures are read apart: [how many are open](Self::read_in_use), and [how many are left](Self::read_free).
/// No limit is ever raised unasked; on Linux `raise_soft_limit` does it.
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
    host: linux::SharedHost,
    #[cfg(target_os = "linux")]
    watch: linux::Watch,
}

impl OpenFiles {
    /// A probe of this process's descriptors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[cfg(target_os = "linux")]
impl OpenFiles {
    /// The same on another host, or on this one with nothing kept yet.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { host: linux::SharedHost::new(roots), watch: self.watch.anew() }
    }

    /// How often [`changed`](ResourceProbe::changed) looks at what the kernel does not tell of, give or take a tenth:
    /// the limits of the process and of the host. By default every 30 s; at least every 10 ms.
    #[must_use]
    pub fn poll_every(self, period: Duration) -> Self {
        Self { watch: self.watch.every(period), ..self }
    }

    /// Reads the limit now: a system call and a small file of `/proc`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the limit of the process nor that of the host can be read.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        self.watch.measure(self.subject())
    }

    /// Reads how many descriptors are open now, the few that probes keep open included.
    ///
    /// It is one system call since Linux 6.2, however many there are. Before, they are counted, which takes
    /// milliseconds where there are thousands; so a count then holds for a second, and a note says so. On a host that
    /// is not running it is [`Unknown`](crate::Reading::Unknown).
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if `/proc/self/fd` cannot be read.
    pub fn read_in_use(&self) -> Result<Measurement, ProbeError> {
        self.host.measure(|host| {
            let mut evidence = linux::Evidence::default();
            let open = linux::open_files::in_use(host, &mut evidence)
                .map_err(|error| ProbeError::io(Resource::FD, linux::open_files::DIRECTORY, error))?;
            Ok(evidence.into_measurement(open.map_or(Reading::Unknown, Reading::whole)))
        })
    }

    /// Reads how many more descriptors can be opened now: the limit less those in use, and at most what the host as a
    /// whole has left.
    ///
    /// Where those in use are not known, it is the limit, as a bound.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if nothing can be known of the limit.
    pub fn read_free(&self) -> Result<Measurement, ProbeError> {
        self.host.measure(Self::free_on)
    }

    fn subject(&self) -> linux::Subject<'_> {
        linux::Subject { host: &self.host, controllers: &[], read: Self::measure_on }
    }

    pub(super) fn measure_on(host: &mut linux::Host) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        let limits = linux::open_files::limit(host, &mut evidence);
        if let Some(limits) = limits {
            let way = if limits.can_rise() { ", which the soft one may be raised to" } else { "" };
            evidence.note(format!("the hard limit is {}{way}", limits.hard.plain()));
        }
        Self::measurement(limits, evidence)
    }

    pub(super) fn free_on(host: &mut linux::Host) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        let limits = linux::open_files::limit(host, &mut evidence);
        match linux::open_files::in_use(host, &mut evidence) {
            Ok(Some(open)) => evidence.take_off(Quantity::whole(open)),
            Ok(None) => evidence.doubt("so none is taken off the limit"),
            Err(error) => evidence.doubt(format!("cannot read {}: {error}", linux::open_files::DIRECTORY)),
        }
        linux::open_files::left_to_all(host, &mut evidence);
        Self::measurement(limits, evidence)
    }

    fn measurement(
        limits: Option<linux::SoftHard>,
        evidence: linux::Evidence,
    ) -> Result<Measurement, ProbeError> {
        match limits {
            None => evidence.measurement(Resource::FD),
            Some(limits) if limits.soft == Reading::whole(0) => {
                Ok(evidence.into_measurement(Reading::Unknown))
            }
            Some(_) => Ok(evidence.measurement_if_any()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl OpenFiles {
    /// Reads the soft limit now. One system call.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the system call fails.
    #[cfg(unix)]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        use nix::sys::resource::Resource as Rlimit;

        super::rlimit::measure(Resource::FD, Rlimit::RLIMIT_NOFILE, "getrlimit(RLIMIT_NOFILE)")
    }

    /// Says that there is no such limit to be read here.
    ///
    /// # Errors
    ///
    /// None on this system.
    #[cfg(not(unix))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("open files are not measured on this system"))
    }

    /// Says that the open descriptors are not counted here.
    ///
    /// # Errors
    ///
    /// None on this system.
    pub fn read_in_use(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("open files are not counted on this system"))
    }

    /// Reads the limit, as a bound of what is free: those in use are not counted here.
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
        self.watch.changed(self.subject()).await;
    }
}
