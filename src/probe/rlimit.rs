//! The limits of the process on systems other than Linux.

use nix::sys::resource::{RLIM_INFINITY, Resource as Rlimit, getrlimit};

use super::error::ProbeError;
use crate::plan::{Measurement, Reading, Resource, Source};

/// Measures the soft limit of the process, with the hard limit in a note. `call` names the system call for the
/// source.
///
/// The bound is `AtMost`, because the system has further limits. The reading is `Unlimited` for infinity, and
/// `Unknown` for a soft limit of 0, with which the process could not run.
pub(super) fn measure(
    resource: Resource,
    limit: Rlimit,
    call: &'static str,
) -> Result<Measurement, ProbeError> {
    let (soft, hard) = getrlimit(limit).map_err(|errno| ProbeError::io(resource, call, errno.into()))?;
    let [soft, hard] = [soft, hard].map(|limit| match limit {
        RLIM_INFINITY => Reading::Unlimited,
        limit => reading_of_rlimit(limit),
    });
    let measured = if soft == Reading::whole(0) {
        Measurement::new(Reading::Unknown).note("a soft limit of 0 is treated as unknown")
    } else {
        Measurement::new(soft)
    };
    Ok(measured
        .at_most()
        .source(Source::new(call, soft.plain().to_string()))
        .note(format!("the hard limit is {}", hard.plain())))
}

/// Converts a finite limit. The type of limits is signed on some systems.
fn reading_of_rlimit<L: TryInto<u64>>(limit: L) -> Reading {
    limit.try_into().map_or(Reading::Unknown, Reading::whole)
}
