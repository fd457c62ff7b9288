//! A first-come-first-served line in which any place can be given up at once.

/// A doubly linked list whose nodes live in one `Vec`: push, pop and unlink take constant time and, once the `Vec` has
/// grown, no allocation.
///
/// A value leaves the *line* when it is popped or unlinked, and leaves the *queue* only when the owner of its
/// [`Ticket`] removes it. In between it holds what was decided for that owner.
#[derive(Debug)]
pub(super) struct Queue<T> {
    slots: Vec<Slot<T>>,
    /// Head of the list of vacant slots.
    vacant: usize,
    head: usize,
    tail: usize,
    /// Values in line.
    len: usize,
    /// Values in the queue, in line or not.
    occupied: usize,
}

/// A place in a [`Queue`], owned by whoever joined: neither `Clone` nor `Copy`, so that nobody can claim a slot twice
/// or look into one that has been given to somebody else.
#[derive(Debug)]
pub(super) struct Ticket(usize);

impl<T> Queue<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), vacant: NIL, head: NIL, tail: NIL, len: 0, occupied: 0 }
    }

    /// How many values are in line.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `value` at the end of the line.
    pub(super) fn push(&mut self, value: T) -> Ticket {
        let slot = Slot { value: Some(value), linked: true, before: self.tail, after: NIL };
        let at = self.vacant;
        let at = if let Some(vacant) = self.slots.get_mut(at) {
            self.vacant = vacant.after;
            *vacant = slot;
            at
        } else {
            self.slots.push(slot);
            self.slots.len().saturating_sub(1)
        };
        match self.slots.get_mut(self.tail) {
            Some(last) => last.after = at,
            None => self.head = at,
        }
        self.tail = at;
        self.len = self.len.saturating_add(1);
        self.occupied = self.occupied.saturating_add(1);
        Ticket(at)
    }

    /// The value that is first in line.
    pub(super) fn front(&self) -> Option<&T> {
        self.slots.get(self.head)?.value.as_ref()
    }

    /// Takes the first value out of the line; it stays in the queue.
    pub(super) fn pop(&mut self) -> Option<&mut T> {
        let at = self.head;
        self.unlink(at);
        self.slots.get_mut(at)?.value.as_mut()
    }

    /// Takes every value that `leaves` picks out of the line, in order; they stay in the queue.
    pub(super) fn unlink_where(&mut self, mut leaves: impl FnMut(&mut T) -> bool) {
        let mut at = self.head;
        while let Some(slot) = self.slots.get_mut(at) {
            let here = at;
            at = slot.after;
            if slot.value.as_mut().is_some_and(&mut leaves) {
                self.unlink(here);
            }
        }
    }

    pub(super) fn get_mut(&mut self, ticket: &Ticket) -> &mut T {
        self.slots.get_mut(ticket.0).and_then(|slot| slot.value.as_mut()).expect(TICKET)
    }

    /// Takes the value out of the queue, and out of the line if it is still there.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket that was claimed must be gone")]
    pub(super) fn remove(&mut self, ticket: Ticket) -> T {
        let at = ticket.0;
        self.unlink(at);
        let slot = self.slots.get_mut(at).expect(TICKET);
        let value = slot.value.take().expect(TICKET);
        slot.after = self.vacant;
        self.vacant = at;
        self.occupied = self.occupied.saturating_sub(1);
        if self.occupied == 0 && self.slots.len() > KEPT {
            self.slots = Vec::new();
            self.vacant = NIL;
        }
        value
    }

    fn unlink(&mut self, at: usize) {
        let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.linked) else { return };
        slot.linked = false;
        let (before, after) = (slot.before, slot.after);
        match self.slots.get_mut(before) {
            Some(slot) => slot.after = after,
            None => self.head = after,
        }
        match self.slots.get_mut(after) {
            Some(slot) => slot.before = before,
            None => self.tail = before,
        }
        self.len = self.len.saturating_sub(1);
    }
}

#[derive(Debug)]
struct Slot<T> {
    /// `None` when vacant.
    value: Option<T>,
    linked: bool,
    before: usize,
    /// The next in line or, when vacant, the next vacant slot.
    after: usize,
}

/// The index of no slot: a `Vec` cannot have this many.
const NIL: usize = usize::MAX;

/// Slots an empty queue keeps for its next crowd; what one great crowd needed beyond that is given back.
const KEPT: usize = 64;

/// Why a ticket's slot is never vacant: only `remove` vacates one, and it consumes the ticket.
const TICKET: &str = "a ticket's slot is occupied";

#[cfg(test)]
mod tests {
    use super::*;

    fn in_line(queue: &mut Queue<u32>) -> Vec<u32> {
        let mut seen = Vec::new();
        queue.unlink_where(|value| {
            seen.push(*value);
            false
        });
        seen
    }

    /// Order of arrival survives places given up at the head, in the middle and at the end, and slots used again.
    #[test]
    fn order_survives_departures() {
        let mut queue = Queue::new();
        let mut tickets: Vec<_> = (0..6).map(|value| Some(queue.push(value))).collect();
        for leaving in [3, 0, 5] {
            let ticket = tickets[leaving].take().unwrap();
            assert_eq!(queue.remove(ticket), u32::try_from(leaving).unwrap());
        }
        let late = queue.push(6);
        assert_eq!(queue.slots.len(), 6, "a vacant slot is used again");
        assert_eq!(in_line(&mut queue), [1, 2, 4, 6]);
        assert_eq!((queue.front(), queue.len()), (Some(&1), 4));
        queue.remove(late);
        assert_eq!(in_line(&mut queue), [1, 2, 4]);
    }

    /// What was popped waits for its owner and is not in line any more.
    #[test]
    fn popped_values_stay_for_their_owner() {
        let mut queue = Queue::new();
        let (first, second) = (queue.push(1), queue.push(2));
        *queue.pop().unwrap() = 10;
        assert_eq!((queue.front(), queue.len()), (Some(&2), 1));
        assert_eq!(queue.remove(first), 10);
        assert_eq!(queue.remove(second), 2);
        assert!(queue.is_empty() && queue.pop().is_none());
    }

    /// Values picked out of the line leave it in order; the others keep theirs.
    #[test]
    fn unlinking_where_keeps_the_rest() {
        let mut queue = Queue::new();
        let tickets: Vec<_> = (0..5).map(|value| queue.push(value)).collect();
        queue.unlink_where(|value| *value % 2 == 0);
        assert_eq!(in_line(&mut queue), [1, 3]);
        let removed: Vec<_> = tickets.into_iter().map(|ticket| queue.remove(ticket)).collect();
        assert_eq!(removed, [0, 1, 2, 3, 4]);
        assert_eq!((queue.head, queue.tail, queue.len), (NIL, NIL, 0));
    }

    /// A crowd's memory goes when the crowd has gone; a few places are kept.
    #[test]
    fn a_crowd_leaves_no_memory_behind() {
        let mut queue = Queue::new();
        let tickets: Vec<_> = (0..1000).map(|value| queue.push(value)).collect();
        for ticket in tickets {
            queue.remove(ticket);
        }
        assert_eq!(queue.slots.capacity(), 0);
        let ticket = queue.push(1);
        assert_eq!(queue.remove(ticket), 1);
        assert_eq!(queue.slots.len(), 1);
    }
}
