//! The steps: each does a thing to the gate and to the oracle, and holds what comes of it. Each says whether there was
//! anything to do it to.

use std::task::Poll;
use std::time::Duration;

use concurrency_governor::Limit;
use tokio::time::Instant;

use super::hands::{Bell, Held};
use super::oracle::{Answer, DRAINS, PLACES};
use super::run::Run;
use super::{Event, PERMITS, World};

impl<'g> Run<'g, '_, '_> {
    /// A new request: borrowed or owned, light or heavy, perhaps with a deadline, perhaps not polled yet.
    pub(super) fn ask(&mut self) -> bool {
        if self.permits.len() >= PERMITS {
            return false;
        }
        let Some(at) = self.world.input.pick(!self.taken & ((1 << PLACES) - 1)) else { return false };
        let weight = self.weight();
        let flags = self.world.input.below(64);
        let mut wait = || u64::from(self.world.input.below(6));
        let (deadline, max_wait) = match flags % 8 {
            0 => (Some(wait()), None),
            1 => (None, Some(wait())),
            2 => (Some(wait()), Some(wait())),
            _ => (None, None),
        };
        let deadline = deadline.map(|ms| (self.world.now + ms).saturating_sub(1));
        let mut request = self.gate.request().weight(weight);
        if let Some(ms) = deadline {
            request = request.deadline(self.world.start + Duration::from_millis(ms));
        }
        if let Some(ms) = max_wait {
            request = request.max_wait(Duration::from_millis(ms));
        }
        let place = &mut self.requests[at];
        if flags / 8 % 2 == 0 {
            place.future.put(request.acquire());
        } else {
            place.future.put_owned(request.acquire_owned());
        }
        (place.weight, place.deadline, place.max_wait) = (weight, deadline, max_wait);
        place.is_polled = false;
        self.taken |= 1 << at;
        if flags / 16 != 3 {
            self.poll(at, true);
        }
        true
    }

    /// Mostly little; now and then all there is, a bit more than that, or nothing.
    fn weight(&mut self) -> u32 {
        let limit = self.oracle.limit();
        match self.world.input.below(32) {
            0..=13 => 1,
            14..=19 => limit.min(2),
            20..=25 => 1 + self.world.input.below(limit.saturating_add(1).min(12)),
            26..=28 => limit.min(12),
            29 => limit.saturating_sub(1).clamp(1, 12),
            30 => limit + 1,
            _ => 0,
        }
    }

    pub(super) fn try_ask(&mut self) -> bool {
        if self.permits.len() >= PERMITS {
            return false;
        }
        let weight = self.weight();
        let given = match self.world.input.below(4) {
            0 if weight == 1 => self.gate.try_acquire().map(Held::Borrowed),
            1 if weight == 1 => self.gate.try_acquire_owned().map(Held::Owned),
            2 => self.gate.try_acquire_many_owned(weight).map(Held::Owned),
            _ => self.gate.try_acquire_many(weight).map(Held::Borrowed),
        };
        let has_line = self.oracle.waiting() > 0;
        let has_room = self.oracle.in_use() + weight <= self.oracle.limit();
        match (self.oracle.try_take(weight), given) {
            (Ok(()), Ok(permit)) => {
                self.oracle.seen.note(Event::Tried);
                self.keep(permit);
            }
            (Err(expected), Err(given)) => {
                assert_eq!(expected, given);
                self.oracle.seen.note_if(weight > 0 && !has_room && !has_line, Event::TriedInVain);
                self.oracle.seen.note_if(weight > 0 && has_room && has_line, Event::TriedPastTheLine);
            }
            (expected, given) => panic!("try: expected {expected:?}, was given {given:?}"),
        }
        true
    }

    /// Asks on a blocked thread, where it need not wait: nobody else is there to let it go on.
    pub(super) fn block(&mut self) -> bool {
        let weight = self.weight();
        let is_late = self.world.input.below(2) == 0;
        if self.permits.len() >= PERMITS || (self.oracle.would_wait(weight) && !is_late) {
            return false;
        }
        let request = self.gate.request().weight(weight);
        let (given, expected) = if is_late {
            let given = request.deadline(self.world.start).acquire_blocking_owned().map(Held::Owned);
            (given, self.oracle.arrive(0, weight, Some(0), None))
        } else {
            (request.acquire_blocking().map(Held::Borrowed), self.oracle.arrive(0, weight, None, None))
        };
        match (expected, given) {
            (Answer::Admitted, Ok(permit)) => {
                self.oracle.seen.note(Event::Blocked);
                self.keep(permit);
            }
            (Answer::Refused(expected), Err(given)) => {
                assert_eq!(expected, given);
                self.oracle.seen.note(Event::BlockedInVain);
            }
            (expected, given) => panic!("blocked: expected {expected:?}, was given {given:?}"),
        }
        true
    }

    /// Mostly polls those who were told something, as an executor does.
    pub(super) fn poll_some(&mut self, anew: bool) -> bool {
        let told = self.told();
        let told = if self.world.input.below(4) > 0 && told != 0 { told } else { self.taken };
        let Some(at) = self.world.input.pick(told) else { return false };
        self.poll(at, anew);
        true
    }

    fn poll(&mut self, at: usize, anew: bool) {
        let request = &mut self.requests[at];
        let expected = if request.is_polled {
            self.oracle.poll(at, anew)
        } else {
            self.oracle.arrive(at, request.weight, request.deadline, request.max_wait)
        };
        if anew {
            request.latest ^= 1;
        }
        request.is_polled = true;
        let [latest, old] = [request.latest, request.latest ^ 1].map(|which| &self.world.bells[at][which]);
        let given = request.future.poll(latest);
        match (expected, given) {
            (Answer::Waits, Poll::Pending) => assert_eq!(old.kept(), 0, "a replaced waker was kept"),
            (Answer::Admitted, Poll::Ready(Ok(permit))) => {
                assert_eq!(permit.weight(), request.weight);
                self.leave(at);
                self.keep(permit);
            }
            (Answer::Refused(expected), Poll::Ready(Err(given))) => {
                assert_eq!(expected, given);
                self.leave(at);
            }
            (expected, given) => panic!("poll of {at}: expected {expected:?}, was given {given:?}"),
        }
    }

    /// Whoever waits no more keeps no waker.
    fn leave(&mut self, at: usize) {
        self.taken &= !(1 << at);
        let kept = self.world.bells[at].each_ref().map(Bell::kept);
        assert_eq!(kept, [0, 0], "wakers kept of a request that is gone");
    }

    fn keep(&mut self, permit: Held<'g>) {
        self.held += permit.weight();
        self.permits.push(permit);
    }

    /// Gives up the head, one that was told something, or any.
    pub(super) fn cancel(&mut self) -> bool {
        let among = match self.world.input.below(4) {
            0 => self.oracle.head().map_or(0, |(head, _)| 1 << head),
            1 => self.told(),
            _ => self.taken,
        };
        let Some(at) = self.world.input.pick(if among == 0 { self.taken } else { among }) else {
            return false;
        };
        self.give_up(at);
        true
    }

    pub(super) fn give_up(&mut self, at: usize) {
        self.requests[at].future.clear();
        self.oracle.cancel(at);
        self.leave(at);
    }

    pub(super) fn release(&mut self) -> bool {
        if self.permits.is_empty() {
            return false;
        }
        let permit = self.permits.swap_remove(self.world.input.below(self.permits.len() as u32) as usize);
        let weight = permit.weight();
        self.held -= weight;
        drop(permit);
        self.oracle.release(weight);
        true
    }

    /// Mostly to where it matters: below what is out, to just that, or to where the head just fits or just does not.
    pub(super) fn resize(&mut self) -> bool {
        let (out, head) = (self.oracle.in_use(), self.oracle.head().map_or(1, |(_, weight)| weight));
        let to = match self.world.input.below(16) {
            0 => Limit::MAX.get(),
            1 | 2 => out / 2,
            3 => out,
            4 | 5 => out + head,
            6 => (out + head).saturating_sub(1),
            7 | 8 => head.saturating_sub(1),
            9 => self.oracle.limit(),
            _ => 1 + self.world.input.below(8),
        };
        let (from, to) = (self.gate.limit(), Limit::new(to.clamp(1, Limit::MAX.get())));
        assert_eq!(from.get(), self.oracle.limit());
        let change = self.gate.resize(to);
        self.oracle.resize(to.get());
        assert_eq!((change.from, change.to, change.debt), (from, to, self.oracle.debt()));
        true
    }

    /// Moves the clock, mostly to the very deadline of the next. That ends who is due, and wakes nobody but them and who
    /// gets in for it.
    pub(super) fn pass_time(&mut self) -> bool {
        let ms = match (self.world.input.below(8), self.oracle.next_deadline()) {
            (0..=3, Some(deadline)) => {
                self.oracle.seen.note(Event::PassedExactly);
                deadline - self.world.now
            }
            (some, _) => u64::from(some),
        };
        let World { clock, start, now, .. } = &mut *self.world;
        *now += ms;
        self.expired = self.oracle.pass_time_to(*now);
        clock.block_on(tokio::time::advance(Duration::from_millis(ms)));
        assert_eq!(Instant::now(), *start + Duration::from_millis(*now), "the clock has run on its own");
        true
    }

    /// Asks whether the gate is drained, for the first time or again, or gives that up.
    pub(super) fn drain(&mut self) -> bool {
        let which = self.world.input.below(DRAINS as u32) as usize;
        let choice = self.world.input.below(4);
        let drain = &mut self.drains[which];
        if drain.waits && choice == 0 {
            self.cancel_drain(which);
            return true;
        }
        let expected = if drain.waits { self.oracle.poll_drain(which) } else { self.oracle.drain(which) };
        if !drain.waits {
            drain.future.put(self.gate.drained());
        } else if choice == 1 {
            self.oracle.seen.note(Event::DrainPolledAnew);
        }
        if choice == 1 {
            drain.latest ^= 1;
        }
        let bells = &self.world.bells[PLACES + which];
        let is_ready = drain.future.poll(&bells[drain.latest]).is_ready();
        assert_eq!(is_ready, expected, "drained");
        drain.waits = !is_ready;
        true
    }

    pub(super) fn cancel_drain(&mut self, which: usize) {
        self.drains[which].future.clear();
        self.drains[which].waits = false;
        self.oracle.cancel_drain(which);
    }

    /// Makes another handle, or drops one.
    pub(super) fn handle(&mut self) -> bool {
        if self.handles.len() < 2 && self.world.input.below(2) == 0 {
            self.handles.push(self.gate.clone());
        } else if let Some(permit) = self.permits.first() {
            self.handles.truncate(1);
            self.handles.push(match permit {
                Held::Borrowed(permit) => permit.gate().clone(),
                Held::Owned(permit) => permit.gate(),
            });
        } else {
            self.handles.pop();
        }
        true
    }

    /// Only towards the end: not much happens after.
    pub(super) fn close(&mut self) -> bool {
        let closes = self.world.input.is_almost_empty();
        if closes {
            self.gate.close();
            self.oracle.close();
            assert!(self.gate.is_closed());
        }
        closes
    }
}
