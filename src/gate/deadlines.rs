//! Deadlines in order.

use std::collections::{BTreeMap, VecDeque};

/// Deadlines, and how many waits end at each.
///
/// They mostly come in the order in which they pass, as requests mostly wait equally long at most: those stand in a
/// queue, and take constant time. Whatever comes or goes out of order takes the logarithm of how many there are.
pub(super) struct Deadlines {
    /// In order. One that goes from the middle keeps its place, with no waits, until it is first or last, or half of
    /// all are such.
    queue: VecDeque<(i64, usize)>,
    /// The last of those; `i64::MIN` where there is none.
    last: i64,
    /// How many have no waits.
    idle: usize,
    /// Those that came out of order.
    others: BTreeMap<i64, usize>,
}

impl Deadlines {
    pub(super) const fn new() -> Self {
        Self { queue: VecDeque::new(), last: i64::MIN, idle: 0, others: BTreeMap::new() }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.others.is_empty()
    }

    /// The earliest.
    #[inline]
    pub(super) fn first(&self) -> Option<i64> {
        let first = self.queue.front().map(|(deadline, _)| *deadline);
        match self.others.first_key_value() {
            None => first,
            Some((&other, _)) => Some(first.map_or(other, |first| first.min(other))),
        }
    }

    /// One wait more that ends then.
    #[inline]
    pub(super) fn add(&mut self, deadline: i64) {
        if self.last < deadline {
            self.last = deadline;
            self.queue.push_back((deadline, 1));
        } else {
            self.add_among(deadline);
        }
    }

    /// One that is not behind the last.
    #[inline(never)]
    fn add_among(&mut self, deadline: i64) {
        match self.queue.back_mut() {
            Some((last, waits)) if *last == deadline => more(waits),
            _ => more(self.others.entry(deadline).or_insert(0)),
        }
    }

    /// One less; says whether there was one.
    #[inline]
    pub(super) fn remove(&mut self, deadline: i64) -> bool {
        match self.queue.front_mut() {
            Some((first, waits)) if *first == deadline && *waits > 1 => less(waits),
            Some((first, _)) if *first == deadline => {
                self.queue.pop_front();
                if self.idle > 0 || self.queue.is_empty() {
                    self.tidy();
                }
            }
            _ => return self.remove_later(deadline),
        }
        true
    }

    #[cold]
    fn remove_later(&mut self, deadline: i64) -> bool {
        let at = self.queue.binary_search_by_key(&deadline, |(deadline, _)| *deadline).ok();
        let known = at.and_then(|at| self.queue.get_mut(at)).map(|(_, waits)| waits);
        if let Some(waits) = known.filter(|waits| **waits > 0) {
            less(waits);
            if *waits == 0 {
                self.idle = self.idle.saturating_add(1);
                self.tidy();
            }
            return true;
        }
        let Some(waits) = self.others.get_mut(&deadline) else { return false };
        less(waits);
        if *waits == 0 {
            self.others.remove(&deadline);
        }
        true
    }

    /// Less all that end by then; says how many.
    pub(super) fn remove_due(&mut self, now: i64) -> usize {
        let passed = self.queue.partition_point(|(deadline, _)| *deadline <= now);
        let places = self.queue.range(..passed);
        if self.idle > 0 {
            let idle = places.clone().filter(|place| is_idle(place)).count();
            self.idle = self.idle.saturating_sub(idle);
        }
        let mut due = places.fold(0_usize, |due, (_, waits)| due.wrapping_add(*waits)); // there are not as many
        self.queue.drain(..passed);
        while let Some(other) = self.others.first_entry().filter(|other| *other.key() <= now) {
            due = due.wrapping_add(other.remove());
        }
        self.tidy();
        due
    }

    /// Gives up places without waits where they are in the way.
    #[cold]
    fn tidy(&mut self) {
        while self.queue.front().is_some_and(is_idle) {
            self.queue.pop_front();
            self.idle = self.idle.saturating_sub(1);
        }
        while self.queue.back().is_some_and(is_idle) {
            self.queue.pop_back();
            self.idle = self.idle.saturating_sub(1);
        }
        if self.idle > KEPT.max(self.queue.len() / 2) {
            self.queue.retain(|place| !is_idle(place));
            self.idle = 0;
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        self.last = self.queue.back().map_or(i64::MIN, |(last, _)| *last);
    }
}

fn is_idle((_, waits): &(i64, usize)) -> bool {
    *waits == 0
}

fn more(waits: &mut usize) {
    *waits = waits.saturating_add(1);
}

fn less(waits: &mut usize) {
    *waits = waits.saturating_sub(1);
}

/// So many places are not worth giving back.
const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes and goes in any order is counted as in a plain list.
    #[test]
    fn counts_as_a_plain_list_does() {
        let (mut deadlines, mut plain) = (Deadlines::new(), Vec::new());
        let mut random = 0x9e37_79b9_u32;
        for step in 0..20_000_i64 {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let (what, at) = (random % 8, random as usize / 8);
            if at % 64 == 0 {
                let now = step / 4;
                let before = plain.len();
                plain.retain(|deadline| *deadline > now);
                assert_eq!(deadlines.remove_due(now), before - plain.len());
            }
            match what {
                // In bursts of one kind, so that the list grows and shrinks.
                0..=3 if step / 1000 % 2 == 0 => plain.push(step / 3),
                4 => plain.push(step / 3 - i64::from(random % 100)),
                _ if plain.is_empty() => continue,
                5 => {
                    let gone = plain.remove(0);
                    assert!(deadlines.remove(gone));
                    continue;
                }
                _ => {
                    let gone = plain.swap_remove(at % plain.len());
                    assert!(deadlines.remove(gone));
                    continue;
                }
            }
            deadlines.add(*plain.last().unwrap());
            assert_eq!(deadlines.first(), plain.iter().min().copied());
            assert_eq!(deadlines.is_empty(), plain.is_empty());
            assert_eq!(deadlines.last, deadlines.queue.back().map_or(i64::MIN, |(last, _)| *last));
            assert_eq!(deadlines.idle, deadlines.queue.iter().filter(|place| is_idle(place)).count());
            assert!(deadlines.idle <= KEPT.max(deadlines.queue.len() / 2));
        }
        for gone in plain {
            assert!(deadlines.remove(gone));
        }
        assert!(deadlines.is_empty() && !deadlines.remove(0));
        assert!(deadlines.queue.capacity() <= KEPT, "what it took has been given back");
    }
}
