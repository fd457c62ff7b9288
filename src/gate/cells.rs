//! What became of each place in line, readable without the lock.

use std::sync::OnceLock;

use super::sync::{AtomicU32, Ordering};

/// One cell a place. Cells are made in chunks, each twice the size of the one before, and never move or go: so a
/// request can look at its cell while others come and go.
pub(super) struct Cells {
    /// The first chunk is always there: most gates never outgrow it, and it is found at once.
    first: [AtomicU32; FIRST],
    more: [OnceLock<Box<[AtomicU32]>>; CHUNKS],
}

/// What became of a place. The holder of the lock gives a place to a request and decides what becomes of it; the
/// request then vacates it, and need not take the lock for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody's.
    Vacant,
    /// In line.
    Waiting,
    /// Its permits are out in its name.
    Admitted,
    /// The gate was closed.
    Closed,
    /// The limit was lowered below its weight.
    TooLarge,
}

impl Cells {
    pub(super) fn new() -> Self {
        let vacant = |_| AtomicU32::new(Fate::Vacant as u32);
        Self { first: std::array::from_fn(vacant), more: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// Makes sure that there is a cell for this place: by the holder of the lock, before anybody has the place.
    pub(super) fn provide(&self, place: u32) {
        if let Some((chunk, _)) = locate(place) {
            let cells = || (0..FIRST << 1 << chunk).map(|_| AtomicU32::new(Fate::Vacant as u32)).collect();
            if let Some(chunk) = self.more.get(chunk) {
                chunk.get_or_init(cells);
            }
        }
    }

    /// What became of a place.
    ///
    /// Acquire: whoever finds itself admitted sees what was done under the permits that came back for it.
    #[inline]
    pub(super) fn fate(&self, place: u32) -> Fate {
        match self.cell(place).load(Ordering::Acquire) {
            WAITING => Fate::Waiting,
            ADMITTED => Fate::Admitted,
            CLOSED => Fate::Closed,
            TOO_LARGE => Fate::TooLarge,
            _ => Fate::Vacant,
        }
    }

    /// Decides a place's fate, or vacates it.
    ///
    /// Release: what led to it happens before whoever reads it. That holds for vacating, too: the place is given to
    /// somebody else by a holder of the lock who has seen it vacant.
    #[inline]
    pub(super) fn decide(&self, place: u32, fate: Fate) {
        self.cell(place).store(fate as u32, Ordering::Release);
    }

    #[inline]
    fn cell(&self, place: u32) -> &AtomicU32 {
        match self.first.get(place as usize) {
            Some(cell) => cell,
            None => self.cell_among_more(place),
        }
    }

    fn cell_among_more(&self, place: u32) -> &AtomicU32 {
        let cell = locate(place).and_then(|(chunk, at)| {
            self.more.get(chunk).and_then(OnceLock::get).and_then(|chunk| chunk.get(at))
        });
        cell.expect("a place was provided with its cell before it was given away")
    }
}

/// Where a place's cell is that is not in the first chunk: the chunk after it, and where in that.
#[inline]
fn locate(place: u32) -> Option<(usize, usize)> {
    let nth = (place as usize).saturating_add(FIRST);
    let octave = nth.ilog2();
    let chunk = octave.checked_sub(FIRST.ilog2())?.checked_sub(1)?;
    Some((chunk as usize, nth ^ (1 << octave)))
}

const WAITING: u32 = Fate::Waiting as u32;
const ADMITTED: u32 = Fate::Admitted as u32;
const CLOSED: u32 = Fate::Closed as u32;
const TOO_LARGE: u32 = Fate::TooLarge as u32;

/// Cells in the first chunk: a quarter of a kilobyte, which most gates never outgrow. A model checker pays for each cell
/// in every run.
const FIRST: usize = if cfg!(gate_loom) { 2 } else { 64 };
/// Enough for 2^32 places.
const CHUNKS: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;

    /// Each place has a cell of its own, and chunks follow each other without a gap.
    #[test]
    fn each_place_has_its_own_cell() {
        let mut expected = (0, 0);
        for place in 0..100_000 {
            if place < 64 {
                assert_eq!(locate(place), None);
                continue;
            }
            assert_eq!(locate(place), Some(expected), "{place}");
            expected.1 += 1;
            if expected.1 == 128 << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert_eq!(locate(u32::MAX).map(|(chunk, _)| chunk), Some(CHUNKS - 1));
    }
}
