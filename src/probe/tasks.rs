//! The probe of the tasks: processes and threads.

#[cfg(target_os = "linux")]
use std::path::PathBuf;
#[cfg(target_os = "linux")]
use std::time::Duration;

use async_trait::async_trait;

use super::error::ProbeError;
#[cfg(target_os = "linux")]
use super::linux::{self, Roots, read::tasks::TaskFigure};
use super::resource_probe::ResourceProbe;
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::TASKS`]: the tasks that may exist where this process creates some, including the existing
/// ones.
///
/// **Unit:** tasks. Each thread is a task.
///
/// **Reads on Linux**, in this order, and takes the lowest:
///
/// 1. `pids.max` of every cgroup that contains the process, from the mount point down.
/// 2. The limits of the kernel, `threads-max` and `pid_max` of `/proc/sys/kernel`.
/// 3. The soft limit `RLIMIT_NPROC` of the user. It is ignored if the process is exempt: in the initial user namespace,
///    if its real user is root or it has `CAP_SYS_RESOURCE` or `CAP_SYS_ADMIN`, by `/proc/self/uid_map` and
///    `/proc/self/status`.
///
/// Other processes of the cgroups and of the user count against the same limits, so this process may get fewer tasks.
///
/// **Reading:** [`Unlimited`](crate::Reading::Unlimited) if there is no limit. [`Unknown`](crate::Reading::Unknown)
/// if there is no limit but one may exist that could not be read.
///
/// **Bound:** [`AtMost`](crate::plan::Bound::AtMost), with a note, if a file could not be read or parsed, if cgroups
/// above the mount point are hidden, as in a container, if it is not known whether the process is exempt from
/// `RLIMIT_NPROC`, or in a user namespace, where the `RLIMIT_NPROC` of its creator applies, too, and is hidden. The
/// limits of the kernel exist on every host: if they are hidden, the tasks are not unlimited.
///
/// **Notes:** whether `vm.max_map_count` limits the threads of this process to fewer. A thread takes two mappings.
///
/// **Other systems:** on FreeBSD, the soft limit `RLIMIT_NPROC`, always `AtMost`. Elsewhere `Unknown`.
///
/// [`read_free`](Self::read_free) reads how many tasks can still be created.
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
    host: linux::SharedHostReader,
    #[cfg(target_os = "linux")]
    watcher: linux::ChangeWatcher,
}

impl Tasks {
    /// Creates a probe of this process. Nothing is read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[cfg(target_os = "linux")]
impl Tasks {
    /// Sets the host to measure. Open files and the last measurement of the previous host are dropped.
    #[must_use]
    pub fn with_roots(self, roots: Roots) -> Self {
        Self { host: linux::SharedHostReader::new(roots), watcher: self.watcher.without_history() }
    }

    /// Sets how often [`changed`](ResourceProbe::changed) polls what the kernel does not report: the cgroup of the
    /// process, its own limits and capabilities, and the limits of the kernel.
    ///
    /// The default is 30 s, the minimum 10 ms. Each interval varies at random by a tenth.
    #[must_use]
    pub fn poll_every(self, period: Duration) -> Self {
        Self { watcher: self.watcher.with_poll_interval(period), ..self }
    }

    /// Reads the limits now: a few small files of `/proc` and `/sys`.
    ///
    /// The reading is [`Unlimited`](crate::Reading::Unlimited) if there is no limit.
    ///
    /// # Errors
    ///
    /// Never on this system: what could not be read is noted.
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        self.watcher.measure(self.watched())
    }

    /// Reads how many tasks can still be created now: for each limit, the limit minus the existing tasks, and the
    /// lowest of these.
    ///
    /// The existing tasks are `pids.current` of each cgroup, and the number in `/proc/loadavg` for the host. The
    /// kernel does not report how many tasks a user has, so nothing is subtracted from `RLIMIT_NPROC`, and the bound
    /// is `AtMost` if that limit applies.
    #[must_use = "reading has no other effect"]
    pub fn read_free(&self) -> Measurement {
        self.host.measure(Self::free_on)
    }

    /// Returns the files that hold the limits, at every visible cgroup level, whether or not they exist yet.
    #[must_use]
    pub fn limit_files(&self) -> Vec<PathBuf> {
        self.host.measure(|reader| linux::read::limit_files(reader, Self::CONTROLLERS))
    }

    fn watched(&self) -> linux::WatchedMeasurement<'_> {
        linux::WatchedMeasurement {
            host: &self.host,
            controllers: Self::CONTROLLERS,
            measure: |reader| Ok(Self::measure_on(reader)),
        }
    }

    pub(super) fn measure_on(reader: &mut linux::HostReader) -> Measurement {
        Self::figure_on(TaskFigure::Total, reader)
    }

    pub(super) fn free_on(reader: &mut linux::HostReader) -> Measurement {
        Self::figure_on(TaskFigure::Free, reader)
    }

    fn figure_on(figure: TaskFigure, reader: &mut linux::HostReader) -> Measurement {
        let mut builder = linux::MeasurementBuilder::default();
        linux::read::tasks::add_cgroup_limits(figure, reader, &mut builder);
        linux::read::tasks::add_kernel_limits(figure, reader, &mut builder);
        // Last, because a lower limit makes the check of the exemption unnecessary.
        linux::read::tasks::add_user_limit(figure, reader, &mut builder);
        if figure == TaskFigure::Total {
            linux::read::tasks::note_mapping_limit(reader, &mut builder);
        }
        builder.build_optional()
    }

    const CONTROLLERS: &'static [linux::CgroupController] = &[linux::CgroupController::Pids];
}

#[cfg(not(target_os = "linux"))]
impl Tasks {
    /// Reads the soft limit of the user's processes now, with one system call.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the system call fails.
    #[cfg(target_os = "freebsd")]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        use nix::sys::resource::Resource as Rlimit;

        super::rlimit::measure(Resource::TASKS, Rlimit::RLIMIT_NPROC, "getrlimit(RLIMIT_NPROC)")
    }

    /// Returns an unknown reading: tasks are not measured on this system.
    ///
    /// # Errors
    ///
    /// Never on this system.
    #[cfg(not(target_os = "freebsd"))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("tasks are not measured on this system"))
    }

    /// Reads the limit. Existing tasks are not counted on this system, so nothing is subtracted.
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
        self.watcher.changed(self.watched()).await;
    }
}
