//! Max-min water filling from a histogram of the wants.
//!
//! The *wants* of a holder are its demand in permits. Its fair share is its wants, but at most the water level: the level at which the
//! shares add up to the limit. To find the level, a histogram is enough: the number of holders, and the sum of their wants, for each cell
//! of wants. Its number of cells is bounded, because wants that differ only below their 5 most significant bits have the same cell. So
//! finding the level costs the same for 100 holders and for 10 000.

use std::collections::BTreeMap;

/// The holders for each cell of wants. The key of a cell is the largest wants in it. Holders that want nothing are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WantsHistogram {
    cells: BTreeMap<u32, WantsCell>,
}

/// The holders whose wants are in one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WantsCell {
    holders: u64,
    /// The exact sum of their wants.
    sum: u64,
}

impl WantsHistogram {
    /// Replaces the wants of one holder.
    pub(super) fn replace(&mut self, old: u32, new: u32) {
        if old == new {
            return;
        }
        if let Some(cell) = self.cells.get_mut(&most_in_cell(old)) {
            cell.holders = cell.holders.saturating_sub(1);
            cell.sum = cell.sum.saturating_sub(old.into());
            if cell.holders == 0 {
                self.cells.remove(&most_in_cell(old));
            }
        }
        if new > 0 {
            let cell = self.cells.entry(most_in_cell(new)).or_default();
            cell.holders = cell.holders.saturating_add(1);
            cell.sum = cell.sum.saturating_add(new.into());
        }
    }

    /// Returns the water level for a limit, by one pass over the cells in ascending order.
    pub(super) fn level(&self, limit: u32) -> WaterLevel {
        let mut rest = u64::from(limit);
        let mut holders = self.cells.values().fold(0_u64, |sum, cell| sum.saturating_add(cell.holders));
        for (&most, cell) in &self.cells {
            // Each holder of a later cell wants more than `most`. If the rest covers that and the wants of this cell, the level is at least
            // `most`. Otherwise it is below `most`, and the holders of this cell and of the later ones get an equal part of the rest.
            let others = holders.saturating_sub(cell.holders);
            if cell.sum.saturating_add(u64::from(most).saturating_mul(others)) > rest {
                let level = rest.checked_div(holders).unwrap_or(0);
                return WaterLevel::At { level, spare: rest.saturating_sub(level.saturating_mul(holders)) };
            }
            rest = rest.saturating_sub(cell.sum);
            holders = others;
        }
        WaterLevel::Enough
    }
}

/// The result of the water filling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WaterLevel {
    /// The limit covers the wants of all holders.
    #[default]
    Enough,
    /// The limit does not cover the wants. Each holder gets at most `level`, and `spare` permits are left over. The holders that want more
    /// than the level take turns with them. The level can be too low if it is within a cell, because the histogram does not have the wants
    /// of each holder. It is too low by less than a sixteenth.
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
                u64::from(wants).min(most)
            }
        }
    }
}

/// Returns the largest wants in the cell of these wants. They have the same 5 most significant bits, so they are higher by less than a
/// sixteenth. Wants below 32 have a cell of their own.
fn most_in_cell(wants: u32) -> u32 {
    let significant_bits = 32_u32.saturating_sub(wants.leading_zeros());
    let lower_bits = significant_bits.saturating_sub(5);
    wants | (1_u32 << lower_bits).saturating_sub(1)
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

    /// Wants below 32 have a cell of their own. Above, a cell is narrower than a sixteenth, and the number of cells stays small.
    #[test]
    fn a_cell_is_narrower_than_a_sixteenth() {
        let mut cells = std::collections::BTreeSet::new();
        for wants in (0..100_000).chain([u32::MAX - 1, u32::MAX, 1 << 30]) {
            let most = most_in_cell(wants);
            assert!(
                most >= wants && u64::from(most) * 16 < (u64::from(wants) + u64::from(wants == 0)) * 17,
                "{wants}: {most}"
            );
            assert!(wants >= 32 || most == wants, "{wants}: {most}");
            cells.insert(most);
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
            (&[67, 67, 67], 201, WaterLevel::Enough),
            (&[67, 67, 67], 200, WaterLevel::At { level: 66, spare: 2 }),
            (&[1, 1000], 1000, WaterLevel::At { level: 999, spare: 0 }),
        ] {
            assert_eq!(histogram(wants).level(limit), expected, "{wants:?} of {limit}");
        }
    }

    /// The shares fit the limit, and the level is that of the exact wants, or lower by less than a sixteenth.
    #[test]
    fn the_level_is_nearly_exact() {
        let mut state = 1_u64;
        let mut random = |most: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % most
        };
        for round in 0..20_000 {
            let range = 1 << random(12);
            let wants: Vec<u32> =
                (0..=random(12)).map(|_| u32::try_from(random(range + 1)).unwrap()).collect();
            let limit = u32::try_from(1 + random(12 * range)).unwrap();
            let needed = |level: u64| wants.iter().map(|wants| u64::from(*wants).min(level)).sum::<u64>();
            let exact =
                (0..=u64::from(limit) + 1).rev().find(|level| needed(*level) <= limit.into()).unwrap();
            match histogram(&wants).level(limit) {
                WaterLevel::Enough => {
                    assert!(needed(u64::MAX) <= limit.into(), "{round}: {wants:?} of {limit}");
                }
                WaterLevel::At { level, spare } => {
                    assert!(needed(u64::MAX) > limit.into(), "{round}: {wants:?} of {limit}");
                    assert!(
                        level <= exact && exact * 16 < (level + 1) * 17,
                        "{round}: {wants:?} of {limit}: {level}, not {exact}"
                    );
                    assert!(needed(level) + spare <= limit.into(), "{round}: {wants:?} of {limit}");
                }
            }
        }
    }

    /// A histogram from which every holder was removed is empty.
    #[test]
    fn removed_wants_leave_no_cell() {
        let mut histogram = histogram(&[7, 7, 900]);
        histogram.replace(900, 910);
        assert_eq!(histogram.level(923), WaterLevel::At { level: 909, spare: 0 }, "910 are wanted exactly");
        for wants in [7, 7, 910] {
            histogram.replace(wants, 0);
        }
        assert_eq!(histogram, WantsHistogram::default());
    }
}
