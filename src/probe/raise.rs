//! Raising the limit on open file descriptors, for whoever asks for it.

use std::io;

use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};

use super::OpenFiles;
use super::linux::reading;
use crate::plan::Reading;

impl OpenFiles {
    /// Raises the soft limit `RLIMIT_NOFILE` of this process to its hard limit, which needs no rights. Nothing else in
    /// this crate ever does.
    ///
    /// Soft limits are low, often 1024, while hard ones are some hundred thousands: because a few old programs need it
    /// that way, not because the host could do no more. It is for the program to say that it is none of these, so call
    /// this in `main`, before a governor is built: a governor that runs takes notice at its probes' next look, after
    /// 30 s by default.
    ///
    /// Before you do:
    ///
    /// - `select(2)` takes no descriptor from `FD_SETSIZE`, 1024, on: with one, the C library aborts the program or writes
    ///   where it should not. No part of the process may use it, C libraries included; `poll` and `epoll` are fine.
    /// - Whatever process is started later inherits the raised limit. A child that uses `select`, or closes all
    ///   descriptors up to its limit one by one, is better started with the old soft limit: by `prlimit` or
    ///   `ulimit -S`, or in its own beginning by `setrlimit`.
    ///
    /// The limit is one of the whole process. It is never lowered, and the hard limit stays as it is. The kernel lets no
    /// limit be set while the hard one is above `fs.nr_open`, as after that was lowered; this is an error.
    ///
    /// ```
    /// use concurrency_governor::probe::OpenFiles;
    ///
    /// let raised = OpenFiles::raise_soft_limit()?;
    /// println!("{} descriptors instead of {}", raised.to, raised.from);
    /// assert_eq!(OpenFiles::raise_soft_limit()?.from, raised.to);
    /// # Ok::<(), concurrency_governor::probe::RaiseError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RaiseError`] if the limits cannot be read, or the kernel refuses. The soft limit is then what it was.
    pub fn raise_soft_limit() -> Result<RaisedLimit, RaiseError> {
        let (soft, hard) =
            getrlimit(Rlimit::RLIMIT_NOFILE).map_err(|errno| RaiseError::Read(errno.into()))?;
        let raised = RaisedLimit { from: reading(soft), to: reading(soft.max(hard)) };
        // Infinity is the greatest number.
        if soft < hard {
            setrlimit(Rlimit::RLIMIT_NOFILE, hard, hard)
                .map_err(|errno| RaiseError::Set { limit: raised, error: errno.into() })?;
        }
        Ok(raised)
    }
}

/// What [`OpenFiles::raise_soft_limit`] did. Closed: a limit was one thing and is another, or the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaisedLimit {
    /// The soft limit as it was.
    pub from: Reading,
    /// The soft limit as it is now: the same where it was the hard limit already.
    pub to: Reading,
}

/// Why the soft limit is what it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RaiseError {
    /// The limits could not be read.
    #[error("cannot read RLIMIT_NOFILE")]
    Read(#[source] io::Error),
    /// The kernel refused to raise the soft limit.
    #[error("cannot raise the soft limit RLIMIT_NOFILE from {} to the hard one, {}", limit.from.plain(), limit.to.plain())]
    Set {
        /// What was to be done.
        limit: RaisedLimit,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}
