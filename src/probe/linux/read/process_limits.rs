//! The resource limits of the process: `getrlimit`, or `/proc/self/limits` of a captured host.

use std::borrow::Cow;

use nix::sys::resource::{RLIM_INFINITY, Resource as Rlimit, getrlimit};

use super::super::host::HostReader;
use super::super::parse::process_limits::{ProcessLimit, RlimitPair, parse};
use super::super::parse::text::find_line;
use super::measurement_builder::MeasurementBuilder;
use crate::plan::{Reading, Source};

/// Reads a limit and adds its soft value as a source. Weakens the measurement and returns `None` if that fails.
pub(in crate::probe) fn read_process_limit(
    limit: ProcessLimit,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Option<RlimitPair> {
    let (source, pair) = if reader.uses_system_calls() {
        let (resource, call) = system_call(limit);
        match getrlimit(resource) {
            Ok((soft, hard)) => {
                let pair = RlimitPair { soft: reading_of_rlimit(soft), hard: reading_of_rlimit(hard) };
                (Cow::Borrowed(call), pair)
            }
            Err(errno) => {
                builder.weaken_by_read_error(call.as_ref(), errno.into());
                return None;
            }
        }
    } else {
        let content = builder.read_required(reader, FILE)?;
        // A host that a test writes by hand often leaves this limit out. A kernel never does.
        if limit == ProcessLimit::DataSize && find_line(&content, limit.line_name()).is_empty() {
            return None;
        }
        let Some(pair) = parse(&content, limit) else {
            builder.weaken(format!("{FILE} has no valid line `{}`", limit.line_name()));
            return None;
        };
        (format!("{FILE}: {}", limit.line_name()).into(), pair)
    };
    builder.add_source(Source::new(source, pair.soft.plain().to_string()));
    Some(pair)
}

/// Converts a limit of `getrlimit`. `RLIM_INFINITY` is `Unlimited`.
pub(in crate::probe) fn reading_of_rlimit(limit: u64) -> Reading {
    if limit == RLIM_INFINITY { Reading::Unlimited } else { Reading::whole(limit) }
}

/// Returns the argument of `getrlimit`, and the call as text for a source.
fn system_call(limit: ProcessLimit) -> (Rlimit, &'static str) {
    match limit {
        ProcessLimit::OpenFiles => (Rlimit::RLIMIT_NOFILE, "getrlimit(RLIMIT_NOFILE)"),
        ProcessLimit::AddressSpace => (Rlimit::RLIMIT_AS, "getrlimit(RLIMIT_AS)"),
        ProcessLimit::DataSize => (Rlimit::RLIMIT_DATA, "getrlimit(RLIMIT_DATA)"),
        ProcessLimit::Processes => (Rlimit::RLIMIT_NPROC, "getrlimit(RLIMIT_NPROC)"),
    }
}

const FILE: &str = "/proc/self/limits";

#[cfg(test)]
mod tests {
    use super::*;

    /// On the running host, `/proc/self/limits` and the system call agree.
    #[test]
    fn file_agrees_with_the_system_call() {
        let content = std::fs::read("/proc/self/limits").unwrap();
        for limit in [
            ProcessLimit::OpenFiles,
            ProcessLimit::AddressSpace,
            ProcessLimit::DataSize,
            ProcessLimit::Processes,
        ] {
            let (soft, hard) = getrlimit(system_call(limit).0).unwrap();
            let called = RlimitPair { soft: reading_of_rlimit(soft), hard: reading_of_rlimit(hard) };
            assert_eq!(parse(&content, limit), Some(called), "{limit:?}");
        }
    }
}
