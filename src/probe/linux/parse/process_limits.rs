//! `/proc/self/limits`: the resource limits of a process.

use super::text::number;
use crate::plan::Reading;

/// A resource limit that the probes read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) enum ProcessLimit {
    OpenFiles,
    AddressSpace,
    DataSize,
    Processes,
}

impl ProcessLimit {
    /// Returns the name of the limit's line in `/proc/self/limits`.
    pub(in crate::probe) fn line_name(self) -> &'static str {
        match self {
            Self::OpenFiles => "Max open files",
            Self::AddressSpace => "Max address space",
            Self::DataSize => "Max data size",
            Self::Processes => "Max processes",
        }
    }
}

/// The soft limit, which the kernel enforces, and the hard limit, up to which the process may raise the soft limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct RlimitPair {
    pub(in crate::probe) soft: Reading,
    pub(in crate::probe) hard: Reading,
}

impl RlimitPair {
    /// Returns `true` if the soft limit is below the hard limit.
    pub(in crate::probe) fn is_raisable(self) -> bool {
        match (self.soft, self.hard) {
            (Reading::Finite(soft), Reading::Finite(hard)) => soft < hard,
            (soft, hard) => soft != hard,
        }
    }
}

/// Parses the line of a limit: `Max open files            1024                 4096                 files`.
pub(in crate::probe) fn parse(content: &[u8], limit: ProcessLimit) -> Option<RlimitPair> {
    let values = content.split(|byte| *byte == b'\n').find_map(|line| {
        let values = line.strip_prefix(limit.line_name().as_bytes())?;
        // Without this a longer name that starts with the same words would match.
        values.starts_with(b" ").then_some(values)
    })?;
    let mut words = std::str::from_utf8(values).ok()?.split_ascii_whitespace();
    let mut value = || match words.next()? {
        "unlimited" => Some(Reading::Unlimited),
        digits => number(digits).map(Reading::whole),
    };
    Some(RlimitPair { soft: value()?, hard: value()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: &[u8] = b"\
Limit                     Soft Limit           Hard Limit           Units
Max processes             1824                 unlimited            processes
Max open files            1024                 4096                 files
Max open files of others  1                    1                    files
Max address space         unlimited            unlimited            bytes
";

    /// The soft and the hard limit are on the line with the name of the limit.
    #[test]
    fn lines_are_found_by_name() {
        let limit = |limit| parse(LIMITS, limit).unwrap();
        let (soft, hard) = (Reading::whole(1024), Reading::whole(4096));
        assert_eq!(limit(ProcessLimit::OpenFiles), RlimitPair { soft, hard });
        assert_eq!(limit(ProcessLimit::Processes).hard, Reading::Unlimited);
        assert_eq!(limit(ProcessLimit::AddressSpace).soft, Reading::Unlimited);
        assert_eq!(parse(b"Max locked memory 1 2 bytes\n", ProcessLimit::AddressSpace), None);
    }

    /// A line that the kernel would not write yields no limit.
    #[test]
    fn invalid_lines_yield_no_limit() {
        for line in [
            "",
            "Max processes",
            "Max processes 1",
            "Max processes 1 x",
            "Max processes -1 2",
            "Max processes\t1 2",
        ] {
            assert_eq!(parse(line.as_bytes(), ProcessLimit::Processes), None, "{line}");
        }
    }

    proptest! {
        /// No bytes make the parser panic.
        #[test]
        fn any_bytes_are_parsed(bytes in prop_oneof![
            any::<Vec<u8>>(),
            "Max processes( |[0-9]{0,25}|unlimited|\t|\n){0,8}".prop_map(String::into_bytes),
        ]) {
            parse(&bytes, ProcessLimit::Processes);
        }
    }
}
