//! How many processes and threads there may be.

#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::time::Duration;

use super::{ProbeError, ResourceProbe, async_trait};
#[cfg(target_os = "linux")]
use super::{Roots, linux};
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::TASKS`]: the processes and threads that may exist where this process creates some, those that
/// exist included. A thread is a task.
///
/// The number is the least of `pids.max` of each control group that holds the process, up to the mount point; of the
/// soft limit `RLIMIT_NPROC` of its user, unless the process has the right to pass it; and of the kernel's own limits,
/// `threads-max` and `pid_max`. Whom a limit lets in it does not promise anything: groups and users share theirs.
/// [What is left](Self::read_free) is read apart.
///
/// It is [`AtMost`](crate::plan::Bound::AtMost) as soon as a level could not be read, or is hidden as it is in a
/// container, with a note on what that was. On other systems it is the limit of the user's processes, as a bound, where
/// there is one, and [`Unknown`](crate::Reading::Unknown) elsewhere.
///
/// ```
/// use concurrency_governor::probe::Tasks;
///
/// let tasks = Tasks::new().read()?;
/// println!("{} tasks ({})", tasks.reading(), tasks.bound());
/// # Ok::<(), concurrency_governor::probe::ProbeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    #[cfg(target_os = "linux")]
    host: linux::SharedHost,
    #[cfg(target_os = "linux")]
    watch: linux::Watch,
}

impl Tasks {
    /// A probe of the tasks that this process may bring to exist.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[cfg(target_os = "linux")]
impl Tasks {
    /// The same on another host, or on this one with nothing kept yet.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { host: linux::SharedHost::new(roots), watch: self.watch.anew() }
    }

    /// How often [`changed`](ResourceProbe::changed) looks at what the kernel does not tell of, give or take a tenth:
    /// the control group that the process is in, its own limits and rights, and the limits of the kernel. By default
    /// every 30 s; at least every 10 ms.
    #[must_use]
    pub fn poll_every(self, period: Duration) -> Self {
        Self { watch: self.watch.every(period), ..self }
    }

    /// Reads the limits now: a few small files of `/proc` and `/sys`.
    ///
    /// [`Unlimited`](crate::Reading::Unlimited) if there is none.
    ///
    /// # Errors
    ///
    /// None on this system: what could not be read is noted.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        self.watch.measure(self.subject())
    }

    /// Reads how many more tasks can be created now: the least of what each limit leaves.
    ///
    /// Nothing tells how many tasks a user has, so the whole of `RLIMIT_NPROC` counts as left, and makes a bound.
    #[must_use = "reading has no other effect"]
    pub fn read_free(&self) -> Measurement {
        self.host.measure(Self::free_on)
    }

    /// The files whose change changes a limit, at each level of the control groups that can be seen, those included
    /// that are not there yet.
    #[must_use]
    pub fn limit_files(&self) -> Vec<PathBuf> {
        self.host.measure(|host| linux::limit_files(host, &[linux::Controller::Pids]))
    }

    fn subject(&self) -> linux::Subject<'_> {
        linux::Subject {
            host: &self.host,
            controllers: &[linux::Controller::Pids],
            read: |host| Ok(Self::measure_on(host)),
        }
    }

    pub(super) fn measure_on(host: &mut linux::Host) -> Measurement {
        Self::share_on(linux::tasks::Share::Whole, host)
    }

    pub(super) fn free_on(host: &mut linux::Host) -> Measurement {
        Self::share_on(linux::tasks::Share::Free, host)
    }

    fn share_on(share: linux::tasks::Share, host: &mut linux::Host) -> Measurement {
        let mut evidence = linux::Evidence::default();
        linux::tasks::groups(share, host, &mut evidence);
        linux::tasks::kernel(share, host, &mut evidence);
        linux::tasks::user(share, host, &mut evidence);
        evidence.measurement_if_any()
    }
}

#[cfg(not(target_os = "linux"))]
impl Tasks {
    /// Reads the soft limit of the user's processes now. One system call.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the system call fails.
    #[cfg(target_os = "freebsd")]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        use nix::sys::resource::Resource as Rlimit;

        super::rlimit::measure(Resource::TASKS, Rlimit::RLIMIT_NPROC, "getrlimit(RLIMIT_NPROC)")
    }

    /// Says that tasks are not measured here.
    ///
    /// # Errors
    ///
    /// None on this system.
    #[cfg(not(target_os = "freebsd"))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("tasks are not measured on this system"))
    }

    /// Reads the limit, as a bound of what is left: those that exist are not counted here.
    #[must_use = "reading has no other effect"]
    pub fn read_free(&self) -> Measurement {
        self.read().unwrap_or_else(|error| Measurement::default().note(format!("{error:#}")))
    }
}

#[async_trait]
impl ResourceProbe for Tasks {
    fn resource(&self) -> Resource {
        Resource::TASKS
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.read()
    }

    #[cfg(target_os = "linux")]
    async fn changed(&self) {
        self.watch.changed(self.subject()).await;
    }
}
