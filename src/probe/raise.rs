//! Raises the limit on open file descriptors. Linux only.

use std::io;

use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};

use super::linux::read::reading_of_rlimit;
use super::open_files::OpenFiles;
use crate::plan::Reading;
use crate::plan::debug_as_display::impl_debug_with_causes;

impl OpenFiles {
    /// Raises the soft limit `RLIMIT_NOFILE` of this process to its hard limit, but at most to `ceiling`. This needs no
    /// privileges. Nothing else in this crate raises a limit.
    ///
    /// The soft limit is often 1024 while the hard limit is some hundred thousands. It is low because a few old
    /// programs need a low limit, not because the host could do no more. Only the program knows that it is not one of
    /// them, so call this in `main`, before a governor is built. A running governor sees the new limit when it
    /// refreshes the next time, after 10 s by default.
    ///
    /// The ceiling is needed because the hard limit of a container may be 1 073 741 816, and a formula such as half of
    /// the descriptors would then admit as much work as if there were no limit. Give what your program needs: 65 536
    /// descriptors are many for a service.
    ///
    /// Before you call it:
    ///
    /// - `select(2)` accepts no descriptor from `FD_SETSIZE` (1024) upwards: with one, the C library aborts the
    ///   program or corrupts memory. No part of the process may use it, including C libraries. `poll` and `epoll` are
    ///   fine.
    /// - Child processes inherit the raised limit. A child that uses `select`, or that closes all descriptors up to
    ///   its limit one by one, should be started with the old soft limit: by `prlimit` or `ulimit -S`, or by
    ///   `setrlimit` at its start.
    ///
    /// The limit applies to the whole process. It is never lowered, and the hard limit does not change. While the
    /// hard limit is above `fs.nr_open`, as after that was lowered, the kernel accepts no new limit; this is an
    /// error.
    ///
    /// ```
    /// use concurrency_governor::probe::OpenFiles;
    ///
    /// let raised = OpenFiles::raise_soft_limit(65_536)?;
    /// println!("{} descriptors instead of {}", raised.to, raised.from);
    /// assert_eq!(OpenFiles::raise_soft_limit(65_536)?.from, raised.to);
    /// # Ok::<(), concurrency_governor::probe::RaiseError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RaiseError`] if the limits cannot be read or the kernel rejects the new limit. The soft limit is then
    /// unchanged.
    pub fn raise_soft_limit(ceiling: u64) -> Result<RaisedLimit, RaiseError> {
        let (soft, hard) =
            getrlimit(Rlimit::RLIMIT_NOFILE).map_err(|errno| RaiseError::Read(errno.into()))?;
        // RLIM_INFINITY is the greatest number, so the comparisons are right for it, too.
        let target = hard.min(ceiling).max(soft);
        let raised = RaisedLimit { from: reading_of_rlimit(soft), to: reading_of_rlimit(target) };
        if soft < target {
            setrlimit(Rlimit::RLIMIT_NOFILE, target, hard)
                .map_err(|errno| RaiseError::Set { limit: raised, error: errno.into() })?;
        }
        Ok(raised)
    }
}

/// The soft limit before and after [`OpenFiles::raise_soft_limit`]. No field will be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaisedLimit {
    /// The previous soft limit.
    pub from: Reading,
    /// The new soft limit. Equal to `from` if the soft limit was the hard limit, or not below the ceiling.
    pub to: Reading,
}

/// The reason why the soft limit was not raised.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RaiseError {
    /// The limits could not be read.
    #[error("cannot read RLIMIT_NOFILE")]
    Read(#[source] io::Error),
    /// The kernel rejected the new soft limit.
    #[error("cannot raise the soft limit RLIMIT_NOFILE from {} to {}", limit.from.plain(), limit.to.plain())]
    Set {
        /// The soft limit and the rejected new limit.
        limit: RaisedLimit,
        /// The error of the system call.
        #[source]
        error: io::Error,
    },
}

impl_debug_with_causes!(RaiseError);
