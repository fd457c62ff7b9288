//! Lists of CPUs or NUMA nodes as the kernel writes them: `0-3,8`.

use std::fmt;

use super::text::number;

/// A set of CPUs: sorted inclusive ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::probe) struct CpuList(Vec<(u32, u32)>);

impl CpuList {
    /// Parses the kernel's format, or returns `None` for anything else.
    pub(in crate::probe) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim_ascii();
        if text.is_empty() {
            return Some(Self::default());
        }
        let cpu = |digits: &str| u32::try_from(number(digits)?).ok();
        let ranges = text.split(',').map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (cpu(first)?, cpu(last)?);
            (first <= last).then_some((first, last))
        });
        ranges.collect::<Option<Vec<_>>>().map(Self::from_ranges)
    }

    /// Returns the number of CPUs in the set.
    pub(in crate::probe) fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (first, last)| {
            sum.saturating_add(u64::from(last.saturating_sub(*first))).saturating_add(1)
        })
    }

    /// Returns the members in ascending order.
    pub(in crate::probe) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Returns `true` if the set is one range that starts at CPU 0 and has at most `count` CPUs.
    pub(in crate::probe) fn is_first(&self, count: u64) -> bool {
        matches!(self.0[..], [(0, last)] if u64::from(last) < count)
    }

    /// Returns the CPUs that are in both sets.
    pub(in crate::probe) fn intersection(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some((a, b)), Some((c, d))) = (left.peek(), right.peek()) {
            if a.max(c) <= b.min(d) {
                both.push((*a.max(c), *b.min(d)));
            }
            // The range that ends first cannot overlap any later range of the other set.
            if b < d {
                left.next()
            } else {
                right.next()
            };
        }
        Self(both)
    }

    /// Sorts the ranges and merges those that overlap or touch.
    fn from_ranges(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self::from_ranges(cpus.into_iter().map(|cpu| (cpu, cpu)).collect())
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Only the kernel's format is accepted.
    #[test]
    fn only_the_kernels_format_is_accepted() {
        for (text, count) in [
            ("", 0),
            ("0", 1),
            ("0-3\n", 4),
            ("0-3,8", 5),
            ("0,2,4-5", 4),
            ("0-3,2-5", 6),
            ("0-4294967295", 1 << 32),
        ] {
            assert_eq!(CpuList::parse(text.as_bytes()).unwrap().count(), count, "{text}");
        }
        for text in ["3-0", "0-", "-1", "a", "0,,1", "+1", "0 1", "0-1-2", "4294967296", "0-3,", "\u{ff10}"] {
            assert_eq!(CpuList::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        /// A list behaves as the set of its CPUs, and its text parses to the same list.
        #[test]
        fn lists_are_sets(
            left in prop::collection::btree_set(0_u32..200, 0..60),
            right in prop::collection::btree_set(0_u32..200, 0..60),
        ) {
            let list = |set: &BTreeSet<u32>| set.iter().copied().collect::<CpuList>();
            let both: BTreeSet<u32> = left.intersection(&right).copied().collect();
            prop_assert_eq!(list(&left).intersection(&list(&right)).count(), both.len() as u64);
            prop_assert_eq!(list(&left).count(), left.len() as u64);
            prop_assert_eq!(CpuList::parse(list(&left).to_string().as_bytes()), Some(list(&left)));
        }

        /// No bytes make the parser panic.
        #[test]
        fn any_bytes_are_parsed_or_rejected(
            bytes in prop_oneof![any::<Vec<u8>>(), "[0-9,-]{0,60}".prop_map(String::into_bytes)],
        ) {
            if let Some(list) = CpuList::parse(&bytes) {
                prop_assert_eq!(list.intersection(&list).count(), list.count());
            }
        }
    }
}
