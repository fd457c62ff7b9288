//! The limits of the process where nothing else is known: on systems other than Linux.

use nix::sys::resource::{RLIM_INFINITY, Resource as Rlimit, getrlimit};

use super::ProbeError;
use crate::plan::{Measurement, Reading, Resource, Source};

/// The soft limit of the process, as a bound: the system has limits of its own besides. `call` names the system call.
///
/// A limit of 0, under which the process would not be running, is taken for a mistake.
pub(super) fn measure(
    resource: Resource,
    limit: Rlimit,
    call: &'static str,
) -> Result<Measurement, ProbeError> {
    let (soft, hard) = getrlimit(limit).map_err(|errno| ProbeError::io(resource, call, errno.into()))?;
    let [soft, hard] = [soft, hard].map(|limit| match limit {
        RLIM_INFINITY => Reading::Unlimited,
        limit => whole(limit),
    });
    let measured = if soft == Reading::whole(0) {
        Measurement::new(Reading::Unknown).note("a soft limit of 0 is taken for a mistake")
    } else {
        Measurement::new(soft)
    };
    Ok(measured
        .at_most()
        .source(Source::new(call, soft.plain().to_string()))
        .note(format!("the hard limit is {}", hard.plain())))
}

/// Some systems have signed limits.
fn whole<L: TryInto<u64>>(limit: L) -> Reading {
    limit.try_into().map_or(Reading::Unknown, Reading::whole)
}
