//! The limits of the process itself: `getrlimit`, or `/proc/self/limits` where another host is read.

use std::borrow::Cow;

use nix::sys::resource::{RLIM_INFINITY, Resource as Rlimit};

use super::evidence::Evidence;
use super::host::Host;
use super::number;
use crate::plan::{Reading, Source};

/// A limit of the process that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessLimit {
    OpenFiles,
    AddressSpace,
    Processes,
}

/// The two values of a limit: the soft one, which the kernel enforces, and the hard one, which the soft one may be
/// raised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct SoftHard {
    pub(in crate::probe) soft: Reading,
    pub(in crate::probe) hard: Reading,
}

impl SoftHard {
    /// Whether the soft limit is below the hard one.
    pub(in crate::probe) fn can_rise(self) -> bool {
        match (self.soft, self.hard) {
            (Reading::Finite(soft), Reading::Finite(hard)) => soft < hard,
            (soft, hard) => soft != hard,
        }
    }
}

impl ProcessLimit {
    /// Reads the limit, whose soft value becomes a source; `None`, with a doubt, if it could not be read.
    pub(super) fn read(self, host: &mut Host, evidence: &mut Evidence) -> Option<SoftHard> {
        let (source, limits) = if host.answers_calls() {
            let call = self.call();
            match host.call_limit(self.resource()) {
                Ok((soft, hard)) => {
                    (Cow::Borrowed(call), SoftHard { soft: reading(soft), hard: reading(hard) })
                }
                Err(errno) => {
                    evidence.unread(call.as_ref(), errno.into());
                    return None;
                }
            }
        } else {
            let content = evidence.require(host, FILE)?;
            let Some(limits) = parse(&content, self.name()) else {
                evidence.doubt(format!("{FILE} does not tell the limit of {}", self.name()));
                return None;
            };
            (format!("{FILE}: {}", self.name()).into(), limits)
        };
        evidence.saw(Source::new(source, limits.soft.plain().to_string()));
        Some(limits)
    }

    fn call(self) -> &'static str {
        match self {
            Self::OpenFiles => "getrlimit(RLIMIT_NOFILE)",
            Self::AddressSpace => "getrlimit(RLIMIT_AS)",
            Self::Processes => "getrlimit(RLIMIT_NPROC)",
        }
    }

    fn resource(self) -> Rlimit {
        match self {
            Self::OpenFiles => Rlimit::RLIMIT_NOFILE,
            Self::AddressSpace => Rlimit::RLIMIT_AS,
            Self::Processes => Rlimit::RLIMIT_NPROC,
        }
    }

    /// What `/proc/self/limits` calls it.
    fn name(self) -> &'static str {
        match self {
            Self::OpenFiles => "Max open files",
            Self::AddressSpace => "Max address space",
            Self::Processes => "Max processes",
        }
    }
}

/// A limit as the system call gives it: its infinity is no number.
pub(in crate::probe) fn reading(limit: u64) -> Reading {
    if limit == RLIM_INFINITY { Reading::Unlimited } else { Reading::whole(limit) }
}

/// The line of a limit: `Max open files            1024                 4096                 files`.
fn parse(limits: &[u8], name: &str) -> Option<SoftHard> {
    let line = limits.split(|byte| *byte == b'\n').find_map(|line| {
        let values = line.strip_prefix(name.as_bytes())?;
        values.starts_with(b" ").then_some(values)
    })?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let mut value = || match words.next()? {
        "unlimited" => Some(Reading::Unlimited),
        digits => number(digits).map(Reading::whole),
    };
    Some(SoftHard { soft: value()?, hard: value()? })
}

const FILE: &str = "/proc/self/limits";

#[cfg(test)]
mod tests {
    use nix::sys::resource::getrlimit;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: &[u8] = b"\
Limit                     Soft Limit           Hard Limit           Units
Max processes             1824                 unlimited            processes
Max open files            1024                 4096                 files
Max open files of others  1                    1                    files
Max address space         unlimited            unlimited            bytes
";

    /// The soft and the hard value stand under the name of the limit.
    #[test]
    fn lines_are_found_by_name() {
        let of = |limit: ProcessLimit| parse(LIMITS, limit.name()).unwrap();
        let (soft, hard) = (Reading::whole(1024), Reading::whole(4096));
        assert_eq!(of(ProcessLimit::OpenFiles), SoftHard { soft, hard });
        assert_eq!(of(ProcessLimit::Processes).hard, Reading::Unlimited);
        assert_eq!(of(ProcessLimit::AddressSpace).soft, Reading::Unlimited);
        assert_eq!(parse(LIMITS, "Max locked memory"), None);
    }

    /// What the kernel would not write is no limit.
    #[test]
    fn nonsense_is_no_limit() {
        for line in [
            "",
            "Max processes",
            "Max processes 1",
            "Max processes 1 x",
            "Max processes -1 2",
            "Max processes\t1 2",
        ] {
            assert_eq!(parse(line.as_bytes(), "Max processes"), None, "{line}");
        }
    }

    /// On this host the file says what the system call says.
    #[test]
    fn file_agrees_with_the_call() {
        let content = std::fs::read("/proc/self/limits").unwrap();
        for limit in [ProcessLimit::OpenFiles, ProcessLimit::AddressSpace, ProcessLimit::Processes] {
            let (soft, hard) = getrlimit(limit.resource()).unwrap();
            let called = SoftHard { soft: reading(soft), hard: reading(hard) };
            assert_eq!(parse(&content, limit.name()), Some(called), "{limit:?}");
        }
    }

    proptest! {
        /// No bytes make it panic.
        #[test]
        fn any_bytes_are_read(bytes in prop_oneof![
            any::<Vec<u8>>(),
            "Max processes( |[0-9]{0,25}|unlimited|\t|\n){0,8}".prop_map(String::into_bytes),
        ]) {
            parse(&bytes, "Max processes");
        }
    }
}
