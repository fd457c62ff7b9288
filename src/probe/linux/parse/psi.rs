//! Pressure files: the kernel's pressure stall information (PSI).

use std::time::Duration;

use super::text::{number, trimmed};
use crate::plan::Quantity;

/// The content of a pressure file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct PsiStalls {
    /// Time in which at least one task stalled.
    pub(in crate::probe) some: PsiLine,
    /// Time in which all tasks stalled simultaneously. Missing for the CPU before Linux 5.13.
    pub(in crate::probe) full: Option<PsiLine>,
}

/// One line of a pressure file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct PsiLine {
    /// The stalled share of the last ten seconds, 0 to 1.
    pub(in crate::probe) average: Quantity,
    /// The sum of all stalls so far.
    pub(in crate::probe) total: Duration,
}

/// Parses `some avg10=0.12 avg60=0.05 avg300=0.01 total=3102540` and the `full` line. Other lines are skipped.
pub(in crate::probe) fn parse(content: &[u8]) -> Option<PsiStalls> {
    let line = |kind: &str| {
        content.split(|byte| *byte == b'\n').find_map(|line| parse_line(trimmed(line)?.strip_prefix(kind)?))
    };
    Some(PsiStalls { some: line("some ")?, full: line("full ") })
}

fn parse_line(fields: &str) -> Option<PsiLine> {
    let value = |key: &str| {
        fields.split_ascii_whitespace().find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
    };
    let total = Duration::from_micros(number(value("total")?)?);
    Some(PsiLine { average: parse_percentage(value("avg10")?)?, total })
}

/// Parses a percentage such as `6.91` as a share of 1, rounded down to a thousandth and at most 1.
fn parse_percentage(text: &str) -> Option<Quantity> {
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

    /// Averages are shares of 1, totals are microseconds, and unknown lines and fields are skipped.
    #[test]
    fn some_and_full_are_parsed() {
        let text = "new avg10=9.00 total=1\nsome avg10=6.91 avg60=3.64 avg300=0.93 total=3102540\n\
                    full avg10=100.00 avg60=3.58 total=3080566 later=1\n";
        let stalls = parse(text.as_bytes()).unwrap();
        assert_eq!(stalls.some.average, Quantity::from_thousandths(69));
        assert_eq!(stalls.some.total, Duration::from_micros(3_102_540));
        assert_eq!(stalls.full.unwrap().average, Quantity::whole(1));
        let some = parse(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n").unwrap();
        assert_eq!((some.some.total, some.full), (Duration::ZERO, None));
    }

    /// Content that the kernel would not write yields no pressure, never 0.
    #[test]
    fn invalid_content_yields_no_pressure() {
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
        /// No bytes make the parser panic, and no share is above 1.
        #[test]
        fn any_bytes_are_parsed(bytes in prop_oneof![
            any::<Vec<u8>>(),
            "(some|full)( (avg10|total)=[0-9]{0,22}[.]?[0-9]{0,3}|\n){0,6}".prop_map(String::into_bytes),
        ]) {
            if let Some(stalls) = parse(&bytes) {
                prop_assert!(stalls.some.average <= Quantity::whole(1));
            }
        }
    }
}
