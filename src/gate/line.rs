//! The line: who waits, in order of arrival, each place of which can be given up at once.

use std::collections::VecDeque;
use std::task::Waker;

use tokio::time::Instant;

use super::cells::{Cells, Fate};
use crate::plan::Limit;

/// A doubly linked list whose nodes live in one `Vec`: joining, leaving and being admitted take constant time and, once
/// the `Vec` has grown, no allocation.
///
/// A node leaves the line when it is admitted or refused, by the holder of the lock. Its place is used again once the
/// request that owns it has looked, and vacated its [cell](Cells), for which it does not take the lock.
#[derive(Debug, Default)]
pub(super) struct Line {
    nodes: Vec<Node>,
    head: Option<u32>,
    tail: Option<u32>,
    len: usize,
    /// Nobody in line asks for more than this.
    heaviest: u32,
    /// Places that were given up under the lock.
    vacant: Vec<u32>,
    /// Places whose fate is decided; each is vacant once its cell says so.
    decided: VecDeque<u32>,
}

#[derive(Debug)]
struct Node {
    weight: u32,
    before: Option<u32>,
    after: Option<u32>,
    /// When it joined.
    since: Instant,
    /// Whom to wake; taken when its fate is decided.
    waker: Option<Waker>,
    /// The limit that it was too large for, where that is its fate.
    limit: Limit,
}

impl Line {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a request at the end and gives it a place; gives the waker back if there are 2^32 - 1 places taken.
    #[inline]
    pub(super) fn join(
        &mut self,
        cells: &Cells,
        weight: u32,
        waker: Waker,
        since: Instant,
    ) -> Result<u32, Waker> {
        self.tidy(cells);
        let vacated = self.vacated(cells);
        let next = u32::try_from(self.nodes.len()).ok();
        let Some(place) = vacated.or(next) else { return Err(waker) };
        let node =
            Node { weight, before: self.tail, after: None, since, waker: Some(waker), limit: Limit::MAX };
        if let Some(vacant) = self.nodes.get_mut(place as usize) {
            *vacant = node;
        } else {
            cells.provide(place);
            self.nodes.push(node);
        }
        cells.decide(place, Fate::Waiting);
        match self.tail {
            Some(last) => self.node(last).after = Some(place),
            None => self.head = Some(place),
        }
        self.tail = Some(place);
        self.len = self.len.saturating_add(1);
        self.heaviest = self.heaviest.max(weight);
        Ok(place)
    }

    /// Who is first in line.
    pub(super) const fn first(&self) -> Option<u32> {
        self.head
    }

    /// Who comes after.
    pub(super) fn after(&mut self, place: u32) -> Option<u32> {
        self.node(place).after
    }

    /// What a request asks for.
    pub(super) fn weight(&mut self, place: u32) -> u32 {
        self.node(place).weight
    }

    /// Nobody in line asks for more than this. Whoever asked for as much may have gone.
    pub(super) const fn heaviest(&self) -> u32 {
        self.heaviest
    }

    /// Notes that nobody in line asks for more than this.
    pub(super) fn lighten(&mut self, heaviest: u32) {
        self.heaviest = self.heaviest.min(heaviest);
    }

    /// Takes a request out of line, decides its fate and gives back whom to wake and when it joined.
    #[inline]
    pub(super) fn decide(&mut self, cells: &Cells, place: u32, fate: Fate) -> (Option<Waker>, Instant) {
        self.unlink(place);
        self.decided.push_back(place);
        let node = self.node(place);
        let decided = (node.waker.take(), node.since);
        // Last: from here on the place is its owner's to vacate.
        cells.decide(place, fate);
        decided
    }

    /// Notes the limit that a request is about to be refused for.
    pub(super) fn note_limit(&mut self, place: u32, limit: Limit) {
        self.node(place).limit = limit;
    }

    /// What a request asked for that was refused, and the limit it was refused for.
    pub(super) fn too_large(&mut self, place: u32) -> (u32, Limit) {
        let &mut Node { weight, limit, .. } = self.node(place);
        (weight, limit)
    }

    /// Takes a request out of line that gives up its place; gives back its waker and when it joined.
    #[inline]
    pub(super) fn leave(&mut self, cells: &Cells, place: u32) -> (Option<Waker>, Instant) {
        self.unlink(place);
        let node = self.node(place);
        let left = (node.waker.take(), node.since);
        self.vacant.push(place);
        cells.decide(place, Fate::Vacant);
        left
    }

    /// Wakes a waiting request by another waker from now on; gives back the old one.
    pub(super) fn rewake(&mut self, place: u32, waker: Waker) -> Option<Waker> {
        self.node(place).waker.replace(waker)
    }

    /// A place that can be given away again. Looks at two of the decided ones at most: those that were not looked at
    /// by their owners yet go to the back, so that one which never is does not stand before the others.
    #[inline]
    fn vacated(&mut self, cells: &Cells) -> Option<u32> {
        if let Some(place) = self.vacant.pop() {
            return Some(place);
        }
        for _ in 0..2 {
            let place = self.decided.pop_front()?;
            if cells.fate(place) == Fate::Vacant {
                return Some(place);
            }
            self.decided.push_back(place);
        }
        None
    }

    /// Lets go of a great crowd's memory once the last of it has gone.
    #[inline]
    fn tidy(&mut self, cells: &Cells) {
        if self.len == 0 && self.nodes.len() > KEPT {
            self.let_go(cells);
        }
    }

    #[cold]
    fn let_go(&mut self, cells: &Cells) {
        if self.decided.iter().all(|place| cells.fate(*place) == Fate::Vacant) {
            *self = Self::default();
        }
    }

    #[inline]
    fn unlink(&mut self, place: u32) {
        let node = self.node(place);
        let (before, after) = (node.before.take(), node.after.take());
        match before {
            Some(before) => self.node(before).after = after,
            None => self.head = after,
        }
        match after {
            Some(after) => self.node(after).before = before,
            None => self.tail = before,
        }
        self.len = self.len.saturating_sub(1);
        if self.len == 0 {
            self.heaviest = 0;
        }
    }

    #[inline]
    fn node(&mut self, place: u32) -> &mut Node {
        self.nodes.get_mut(place as usize).expect("a place has a node")
    }
}

/// Nodes that an empty line keeps for its next crowd: 64 KiB.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        line: Line,
        cells: Cells,
    }

    impl Fixture {
        fn new() -> Self {
            Self { line: Line::default(), cells: Cells::new() }
        }

        fn join(&mut self, weight: u32) -> u32 {
            self.line.join(&self.cells, weight, Waker::noop().clone(), Instant::now()).unwrap()
        }

        fn leave(&mut self, place: u32) {
            assert!(self.line.leave(&self.cells, place).0.is_some());
        }

        fn admit(&mut self, place: u32) {
            assert!(self.line.decide(&self.cells, place, Fate::Admitted).0.is_some());
        }

        fn vacate(&mut self, place: u32) {
            self.cells.decide(place, Fate::Vacant);
        }

        fn weights(&mut self) -> Vec<u32> {
            let mut weights = Vec::new();
            let mut at = self.line.first();
            while let Some(place) = at {
                weights.push(self.line.weight(place));
                at = self.line.after(place);
            }
            assert_eq!(weights.len(), self.line.len());
            weights
        }
    }

    /// Order of arrival survives places given up at the head, in the middle and at the end, and places used again.
    #[test]
    fn order_survives_departures() {
        let mut fixture = Fixture::new();
        let places: Vec<_> = (0..6).map(|weight| fixture.join(weight)).collect();
        for leaving in [3, 0, 5] {
            fixture.leave(places[leaving]);
        }
        let late = fixture.join(6);
        assert!(late < 6, "a vacant place is used again");
        assert_eq!(fixture.weights(), [1, 2, 4, 6]);
        fixture.leave(late);
        assert_eq!(fixture.weights(), [1, 2, 4]);
    }

    /// A place whose fate is decided is its owner's until the owner has looked, and somebody else's only then.
    #[test]
    fn decided_places_wait_for_their_owners() {
        let mut fixture = Fixture::new();
        let (first, second) = (fixture.join(1), fixture.join(2));
        fixture.admit(first);
        assert_eq!((fixture.weights(), fixture.cells.fate(first)), (vec![2], Fate::Admitted));
        let third = fixture.join(3);
        assert!(third != first && third != second);
        fixture.vacate(first);
        assert_eq!(fixture.join(4), first);
        assert_eq!(fixture.weights(), [2, 3, 4]);
    }

    /// A great crowd's memory goes once the last of it has, and not before.
    #[test]
    fn crowd_leaves_no_memory_behind() {
        let mut fixture = Fixture::new();
        let places: Vec<_> = (0..2000).map(|weight| fixture.join(weight)).collect();
        for place in &places {
            fixture.admit(*place);
        }
        for place in &places[1..] {
            fixture.vacate(*place);
        }
        let next = fixture.join(1);
        assert_eq!(fixture.line.nodes.len(), 2000, "one has not looked yet");
        fixture.leave(next);
        fixture.vacate(places[0]);
        fixture.join(1);
        assert_eq!(fixture.line.nodes.len(), 1);
    }

    /// One that is never looked at does not keep the others from being used again.
    #[test]
    fn forgotten_place_holds_up_no_other() {
        let mut fixture = Fixture::new();
        let forgotten = fixture.join(1);
        fixture.admit(forgotten);
        for _ in 0..1000 {
            let place = fixture.join(1);
            fixture.admit(place);
            fixture.vacate(place);
        }
        assert!(fixture.line.nodes.len() < 8, "{}", fixture.line.nodes.len());
    }
}
