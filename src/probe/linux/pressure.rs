//! How long work has stalled for want of a resource: pressure stall information.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::evidence::Evidence;
use super::group::{self, Controller};
use super::host::Host;
use super::{number, word};
use crate::plan::Quantity;

/// What one pressure file says: for `some` and `full`, the kernel's average and the sum of all stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct Stalls {
    pub(in crate::probe) some: Stall,
    /// Missing for the processor on kernels before 5.13.
    pub(in crate::probe) full: Option<Stall>,
}

/// A line of a pressure file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct Stall {
    /// The share of the last ten seconds, 0 to 1.
    pub(in crate::probe) average: Quantity,
    /// All stalls so far.
    pub(in crate::probe) total: Duration,
}

/// Reads the pressure of the process's own group, or else that of the host; gives the file with it.
///
/// `None`, with a note, if there is none to be had. `resource` is `cpu`, `memory` or `io`.
pub(in crate::probe) fn stalls(
    resource: &str,
    host: &mut Host,
    evidence: &mut Evidence,
) -> io::Result<Option<(PathBuf, Stalls)>> {
    // Where no group of version 2 can be found, the host's pressure stands in: nothing about groups is in doubt.
    let groups = group::groups(host, Controller::Pressure, &mut Evidence::default());
    let own =
        groups.and_then(|groups| Some(groups.levels.last()?.directory.join(format!("{resource}.pressure"))));
    let whole = PathBuf::from(format!("/proc/pressure/{resource}"));
    for path in own.into_iter().chain([whole]) {
        let content = match host.read(&path) {
            Ok(Some(content)) => content,
            Ok(None) => continue,
            // Where pressure is switched off, the files are there and refuse to be read.
            Err(error) if error.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => continue,
            Err(error) => return Err(error),
        };
        if let Some(stalls) = parse(&content) {
            return Ok(Some((path, stalls)));
        }
        evidence.doubt(format!("{} cannot be understood", path.display()));
    }
    evidence.note("this kernel tells no pressure");
    Ok(None)
}

/// `some avg10=0.12 avg60=0.05 avg300=0.01 total=3102540`, and `full` likewise; other lines are passed over.
fn parse(content: &[u8]) -> Option<Stalls> {
    let line = |kind: &str| {
        content.split(|byte| *byte == b'\n').find_map(|line| parse_line(word(line)?.strip_prefix(kind)?))
    };
    Some(Stalls { some: line("some ")?, full: line("full ") })
}

fn parse_line(fields: &str) -> Option<Stall> {
    let value = |key: &str| {
        fields.split_ascii_whitespace().find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
    };
    let total = Duration::from_micros(number(value("total")?)?);
    Some(Stall { average: percent(value("avg10")?)?, total })
}

/// `6.91` of a hundred as a share of 1, rounded down to a thousandth, and at most 1.
fn percent(text: &str) -> Option<Quantity> {
    let (whole, hundredths) = text.split_once('.')?;
    if hundredths.len() != 2 {
        return None;
    }
    let hundredths = number(whole)?.checked_mul(100)?.checked_add(number(hundredths)?)?;
    Some(Quantity::from_thousandths((hundredths / 10).min(1000)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Averages are shares, totals microseconds; lines that nobody knows yet change nothing.
    #[test]
    fn some_and_full_are_read() {
        let text = "new avg10=9.00 total=1\nsome avg10=6.91 avg60=3.64 avg300=0.93 total=3102540\n\
                    full avg10=100.00 avg60=3.58 total=3080566 later=1\n";
        let stalls = parse(text.as_bytes()).unwrap();
        assert_eq!(stalls.some.average, Quantity::from_thousandths(69));
        assert_eq!(stalls.some.total, Duration::from_micros(3_102_540));
        assert_eq!(stalls.full.unwrap().average, Quantity::whole(1));
        let some = parse(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n").unwrap();
        assert_eq!((some.some.total, some.full), (Duration::ZERO, None));
    }

    /// What the kernel would not write is no pressure, and never 0.
    #[test]
    fn nonsense_is_no_pressure() {
        for text in [
            "",
            "full avg10=1.00 total=1",
            "some avg10=1 total=1",
            "some avg10=1.0 total=1",
            "some avg10=-1.00 total=1",
            "some avg10=1.00",
            "some total=1",
            "some avg10=1.00 total=x",
            "some avg10=99999999999999999999.00 total=1",
            "someavg10=1.00 total=1",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        /// No bytes make it panic, and no share is more than all.
        #[test]
        fn any_bytes_are_read(bytes in prop_oneof![
            any::<Vec<u8>>(),
            "(some|full)( (avg10|total)=[0-9]{0,22}[.]?[0-9]{0,3}|\n){0,6}".prop_map(String::into_bytes),
        ]) {
            if let Some(stalls) = parse(&bytes) {
                prop_assert!(stalls.some.average <= Quantity::whole(1));
            }
        }
    }
}
