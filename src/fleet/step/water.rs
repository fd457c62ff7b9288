//! Max-min water filling from a histogram of the wants.
//!
//! The *wants* of a holder are its demand in permits. Its fair share is its wants, but at most the water level: the level at which the
//! shares add up to the limit. To find the level, a histogram is enough: the number of holders for each value of wants. Its number of
//! cells is bounded, because wants above 32 are rounded down to 5 significant bits. So finding the level costs the same for 100 holders
//! and for 10 000.

use std::collections::BTreeMap;

/// The number of holders for each value of wants. Wants are rounded by [`round_wants`]. Holders that want nothing are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WantsHistogram {
    cells: BTreeMap<u32, u64>,
}

impl WantsHistogram {
    /// Replaces the wants of one holder. Returns `true` if a cell changed.
    pub(super) fn replace(&mut self, old: u32, new: u32) -> bool {
        let (old, new) = (round_wants(old), round_wants(new));
        if old == new {
            return false;
        }
        if let Some(holders) = self.cells.get_mut(&old) {
            *holders = holders.saturating_sub(1);
            if *holders == 0 {
                self.cells.remove(&old);
            }
        }
        if new > 0 {
            let holders = self.cells.entry(new).or_default();
            *holders = holders.saturating_add(1);
        }
        true
    }

    /// Returns the water level for a limit, by one pass over the cells in ascending order.
    pub(super) fn level(&self, limit: u32) -> WaterLevel {
        let mut rest = u64::from(limit);
        let mut holders = self.cells.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        for (&wants, &count) in &self.cells {
            // Each remaining holder wants at least `wants`. If the rest does not cover that, the level is an equal part of the rest.
            if u64::from(wants).saturating_mul(holders) > rest {
                let level = rest.checked_div(holders).unwrap_or(0);
                return WaterLevel::At { level, spare: rest.saturating_sub(level.saturating_mul(holders)) };
            }
            rest = rest.saturating_sub(u64::from(wants).saturating_mul(count));
            holders = holders.saturating_sub(count);
        }
        WaterLevel::Enough
    }
}

/// The result of the water filling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WaterLevel {
    /// The limit covers the rounded wants of all holders.
    #[default]
    Enough,
    /// The limit does not cover the rounded wants. Each holder gets at most `level`, and `spare` permits are left over. They are fewer
    /// than the holders that want more than the level, so these holders take turns with them.
    At {
        /// The permits of each holder that wants more.
        level: u64,
        /// The permits that are left over.
        spare: u64,
    },
}

impl WaterLevel {
    /// Returns the largest number of permits that a holder with these wants may be granted.
    pub(super) fn full_share(self, wants: u32) -> u64 {
        match self {
            Self::Enough => wants.into(),
            Self::At { level, spare } => {
                let most = if spare > 0 { level.saturating_add(1) } else { level };
                u64::from(round_wants(wants)).min(most)
            }
        }
    }
}

/// Rounds wants above 32 down to 5 significant bits. This lowers them by at most a sixteenth.
pub(super) fn round_wants(wants: u32) -> u32 {
    let significant_bits = 32_u32.saturating_sub(wants.leading_zeros());
    let dropped_bits = significant_bits.saturating_sub(5);
    (wants >> dropped_bits) << dropped_bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(wants: &[u32]) -> WantsHistogram {
        let mut histogram = WantsHistogram::default();
        for &wants in wants {
            histogram.replace(0, wants);
        }
        histogram
    }

    /// Wants up to 32 are exact. Above, at most a sixteenth is lost, and the number of cells stays small.
    #[test]
    fn rounding_loses_at_most_a_sixteenth() {
        let mut cells = std::collections::BTreeSet::new();
        for wants in (0..100_000).chain([u32::MAX - 1, u32::MAX, 1 << 30]) {
            let rounded = round_wants(wants);
            assert!(
                rounded <= wants && u64::from(rounded) * 17 >= u64::from(wants) * 16,
                "{wants}: {rounded}"
            );
            assert!(wants > 32 || rounded == wants, "{wants}: {rounded}");
            cells.insert(rounded);
        }
        assert!(cells.len() < 230, "{} cells", cells.len());
    }

    /// The shares at the level add up to the limit, and no holder with less could get more without another getting less.
    #[test]
    fn the_level_is_that_of_water_filling() {
        for (wants, limit, expected) in [
            (&[][..], 10, WaterLevel::Enough),
            (&[3, 4], 10, WaterLevel::Enough),
            (&[5, 5], 10, WaterLevel::Enough),
            (&[8, 8], 10, WaterLevel::At { level: 5, spare: 0 }),
            (&[2, 8, 8], 11, WaterLevel::At { level: 4, spare: 1 }),
            (&[1, 1, 1], 2, WaterLevel::At { level: 0, spare: 2 }),
            (&[u32::MAX, 1, 0], 100, WaterLevel::At { level: 99, spare: 0 }),
        ] {
            assert_eq!(histogram(wants).level(limit), expected, "{wants:?} of {limit}");
        }
    }

    /// A histogram from which every holder was removed is empty.
    #[test]
    fn removed_wants_leave_no_cell() {
        let mut histogram = histogram(&[7, 7, 900]);
        assert!(!histogram.replace(900, 910), "both are 896");
        for wants in [7, 7, 910] {
            assert!(histogram.replace(wants, 0));
        }
        assert_eq!(histogram, WantsHistogram::default());
    }
}
