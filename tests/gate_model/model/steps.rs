//! The steps. Each step acts on the gate and on the oracle, and compares the results. A step returns `false`
//! if there was nothing to act on.

use std::task::Poll;
use std::time::Duration;

use concurrency_governor::Limit;
use tokio::time::Instant;

use super::driver::StepDriver;
use super::oracle::{DRAINED_SLOTS, PollOutcome, PollWaker, REQUEST_SLOTS, RequestTerms};
use super::slots::AnyPermit;
use super::wakers::RecordingWaker;
use super::{Environment, Event, MAX_PERMITS};

impl<'g> StepDriver<'g, '_, '_> {
    /// Creates a request: borrowed or owned, light or heavy, with or without a deadline. Mostly polls it,
    /// too.
    pub(super) fn acquire(&mut self) -> bool {
        if self.permits.len() >= MAX_PERMITS {
            return false;
        }
        let free = !self.occupied & ((1 << REQUEST_SLOTS) - 1);
        let Some(slot) = self.environment.decisions.pick_bit(free) else { return false };
        // Decide on the terms.
        let weight = self.decide_weight();
        let flags = self.environment.decisions.below(256);
        let mut wait = || u64::from(self.environment.decisions.below(6));
        let (deadline, max_wait) = match flags % 8 {
            0 => (Some(wait()), None),
            1 => (None, Some(wait())),
            2 => (Some(wait()), Some(wait())),
            _ => (None, None),
        };
        let deadline = deadline.map(|ms| (self.environment.now + ms).saturating_sub(1));
        // Create the future.
        let mut request = self.gate.request().weight(weight);
        if let Some(ms) = deadline {
            request = request.deadline(self.environment.start + Duration::from_millis(ms));
        }
        if let Some(ms) = max_wait {
            request = request.max_wait(Duration::from_millis(ms));
        }
        // A quarter of the requests are strict, and half of these wait for the limit, too.
        let is_strict = flags / 64 == 2;
        let waits_for_limit = flags / 64 == 3 || is_strict && flags / 16 % 2 == 1;
        if is_strict {
            request = request.strict_deadline();
        }
        if waits_for_limit {
            request = request.wait_for_limit();
        }
        let entry = &mut self.requests[slot];
        if flags / 8 % 2 == 0 {
            entry.future.put(request.acquire());
        } else {
            entry.future.put_owned(request.acquire_owned());
        }
        entry.terms = RequestTerms { weight, deadline, max_wait, is_strict, waits_for_limit };
        entry.is_polled = false;
        self.occupied |= 1 << slot;
        if flags / 16 % 4 != 3 {
            self.poll(slot, PollWaker::New);
        }
        true
    }

    /// Decides on a weight: mostly a low one, sometimes the whole limit, one more than the limit, or 0.
    fn decide_weight(&mut self) -> u32 {
        let limit = self.oracle.limit();
        match self.environment.decisions.below(32) {
            0..=13 => 1,
            14..=19 => limit.min(2),
            20..=25 => 1 + self.environment.decisions.below(limit.saturating_add(1).min(12)),
            26..=28 => limit.min(12),
            29 => limit.saturating_sub(1).clamp(1, 12),
            30 => limit + 1,
            _ => 0,
        }
    }

    pub(super) fn try_acquire(&mut self) -> bool {
        if self.permits.len() >= MAX_PERMITS {
            return false;
        }
        let weight = self.decide_weight();
        let actual = match self.environment.decisions.below(4) {
            0 if weight == 1 => self.gate.try_acquire().map(AnyPermit::Borrowed),
            1 if weight == 1 => self.gate.try_acquire_owned().map(AnyPermit::Owned),
            2 => self.gate.try_acquire_many_owned(weight).map(AnyPermit::Owned),
            _ => self.gate.try_acquire_many(weight).map(AnyPermit::Borrowed),
        };
        let others_wait = self.oracle.waiting() > 0;
        let fits = self.oracle.in_use() + weight <= self.oracle.limit();
        match (self.oracle.try_acquire(weight), actual) {
            (Ok(()), Ok(permit)) => {
                self.oracle.coverage.record(Event::TryAdmitted);
                self.keep(permit);
            }
            (Err(expected), Err(actual)) => {
                assert_eq!(expected, actual);
                let coverage = &mut self.oracle.coverage;
                coverage.record_if(weight > 0 && !fits && !others_wait, Event::TryRejected);
                coverage.record_if(weight > 0 && fits && others_wait, Event::TryRejectedBehindQueue);
            }
            (expected, actual) => panic!("try_acquire: expected {expected:?}, got {actual:?}"),
        }
        true
    }

    /// Calls `acquire_blocking`, but only where it need not wait: no other thread could end the wait.
    pub(super) fn acquire_blocking(&mut self) -> bool {
        let weight = self.decide_weight();
        let deadline_has_passed = self.environment.decisions.below(2) == 0;
        let would_block = self.oracle.would_wait(weight) && !deadline_has_passed;
        if self.permits.len() >= MAX_PERMITS || would_block {
            return false;
        }
        let request = self.gate.request().weight(weight);
        let terms = RequestTerms { weight, ..RequestTerms::default() };
        // The request never waits, so the oracle does not use the slot number.
        let (actual, expected) = if deadline_has_passed {
            let request = request.deadline(self.environment.start);
            let actual = request.acquire_owned_blocking().map(AnyPermit::Owned);
            (actual, self.oracle.first_poll(0, RequestTerms { deadline: Some(0), ..terms }))
        } else {
            let actual = request.acquire_blocking().map(AnyPermit::Borrowed);
            (actual, self.oracle.first_poll(0, terms))
        };
        match (expected, actual) {
            (PollOutcome::Admitted, Ok(permit)) => {
                self.oracle.coverage.record(Event::BlockingAdmitted);
                self.keep(permit);
            }
            (PollOutcome::Rejected(expected), Err(actual)) => {
                assert_eq!(expected, actual);
                self.oracle.coverage.record(Event::BlockingRejected);
            }
            (expected, actual) => panic!("acquire_blocking: expected {expected:?}, got {actual:?}"),
        }
        true
    }

    /// Polls a request: mostly one that was woken, as an executor does.
    pub(super) fn poll_request(&mut self, waker: PollWaker) -> bool {
        let decided = self.decided();
        let polls_decided = self.environment.decisions.below(4) > 0 && decided != 0;
        let candidates = if polls_decided { decided } else { self.occupied };
        let Some(slot) = self.environment.decisions.pick_bit(candidates) else { return false };
        self.poll(slot, waker);
        true
    }

    fn poll(&mut self, slot: usize, waker: PollWaker) {
        let entry = &mut self.requests[slot];
        let expected = if entry.is_polled {
            self.oracle.poll(slot, waker)
        } else {
            self.oracle.first_poll(slot, entry.terms)
        };
        if waker == PollWaker::New {
            entry.latest_waker ^= 1;
        }
        entry.is_polled = true;
        let wakers = &self.environment.wakers[slot];
        let (latest, replaced) = (&wakers[entry.latest_waker], &wakers[entry.latest_waker ^ 1]);
        let actual = entry.future.poll(latest.as_waker());
        match (expected, actual) {
            (PollOutcome::Pending, Poll::Pending) => {
                assert_eq!(replaced.retained_clones(), 0, "a replaced waker is retained");
            }
            (PollOutcome::Admitted, Poll::Ready(Ok(permit))) => {
                assert_eq!(permit.weight(), entry.terms.weight);
                self.free_slot(slot);
                self.keep(permit);
            }
            (PollOutcome::Rejected(expected), Poll::Ready(Err(actual))) => {
                assert_eq!(expected, actual);
                self.free_slot(slot);
            }
            (expected, actual) => panic!("poll of request {slot}: expected {expected:?}, got {actual:?}"),
        }
    }

    /// Frees the slot of a request that has ended, and checks that the gate retains no waker of it.
    fn free_slot(&mut self, slot: usize) {
        self.occupied &= !(1 << slot);
        let retained = self.environment.wakers[slot].each_ref().map(RecordingWaker::retained_clones);
        assert_eq!(retained, [0, 0], "wakers of a request that has ended are retained");
    }

    fn keep(&mut self, permit: AnyPermit<'g>) {
        self.held += permit.weight();
        self.permits.push(permit);
    }

    /// Cancels the head of the queue, a request that was woken, or any request.
    pub(super) fn cancel_request(&mut self) -> bool {
        let candidates = match self.environment.decisions.below(4) {
            0 => self.oracle.head().map_or(0, |(head, _)| 1 << head),
            1 => self.decided(),
            _ => self.occupied,
        };
        let candidates = if candidates == 0 { self.occupied } else { candidates };
        let Some(slot) = self.environment.decisions.pick_bit(candidates) else { return false };
        self.cancel(slot);
        true
    }

    pub(super) fn cancel(&mut self, slot: usize) {
        self.requests[slot].future.clear();
        self.oracle.cancel(slot);
        self.free_slot(slot);
    }

    pub(super) fn release(&mut self) -> bool {
        if self.permits.is_empty() {
            return false;
        }
        let at = self.environment.decisions.below(self.permits.len() as u32) as usize;
        let permit = self.permits.swap_remove(at);
        let weight = permit.weight();
        self.held -= weight;
        drop(permit);
        self.oracle.release(weight);
        true
    }

    /// Changes the limit, mostly to a value at a boundary: below what is in use, exactly what is in use, or
    /// where the head just fits or just does not fit.
    pub(super) fn resize(&mut self) -> bool {
        let (in_use, head) = (self.oracle.in_use(), self.oracle.head().map_or(1, |(_, weight)| weight));
        let to = match self.environment.decisions.below(16) {
            0 => Limit::MAX.get(),
            1 | 2 => in_use / 2,
            3 => in_use,
            4 | 5 => in_use + head,
            6 => (in_use + head).saturating_sub(1),
            7 | 8 => head.saturating_sub(1),
            9 => self.oracle.limit(),
            _ => 1 + self.environment.decisions.below(8),
        };
        let (from, to) = (self.gate.limit(), Limit::new(to.clamp(1, Limit::MAX.get())));
        assert_eq!(from.get(), self.oracle.limit());
        let change = self.gate.resize(to);
        self.oracle.resize(to.get());
        assert_eq!((change.from, change.to, change.debt), (from, to, self.oracle.debt()));
        true
    }

    /// Advances the clock, mostly to the exact deadline of a waiter. This ends the waiters whose deadline has
    /// passed. It wakes these waiters and those that are admitted because of it, and no other.
    pub(super) fn advance_time(&mut self) -> bool {
        let ms = match (self.environment.decisions.below(8), self.oracle.next_deadline()) {
            (0..=3, Some(deadline)) => {
                self.oracle.coverage.record(Event::AdvancedToDeadline);
                deadline - self.environment.now
            }
            (ms, _) => u64::from(ms),
        };
        let Environment { clock, start, now, .. } = &mut *self.environment;
        *now += ms;
        self.expired = self.oracle.advance_time_to(*now);
        clock.block_on(tokio::time::advance(Duration::from_millis(ms)));
        assert_eq!(Instant::now(), *start + Duration::from_millis(*now), "only the steps advance the clock");
        true
    }

    /// Polls a `drained` future for the first time or again, or cancels it.
    pub(super) fn poll_or_cancel_drained(&mut self) -> bool {
        let slot = self.environment.decisions.below(DRAINED_SLOTS as u32) as usize;
        let choice = self.environment.decisions.below(4);
        let entry = &mut self.drained[slot];
        if entry.is_occupied && choice == 0 {
            self.cancel_drained(slot);
            return true;
        }
        let expected = if entry.is_occupied {
            self.oracle.coverage.record_if(choice == 1, Event::DrainedPolledWithNewWaker);
            self.oracle.poll_drained(slot)
        } else {
            entry.future.put(self.gate.drained());
            self.oracle.first_poll_drained(slot)
        };
        if choice == 1 {
            entry.latest_waker ^= 1;
        }
        let waker = &self.environment.wakers[REQUEST_SLOTS + slot][entry.latest_waker];
        let is_ready = entry.future.poll(waker.as_waker()).is_ready();
        assert_eq!(is_ready, expected, "drained");
        entry.is_occupied = !is_ready;
        true
    }

    pub(super) fn cancel_drained(&mut self, slot: usize) {
        self.drained[slot].future.clear();
        self.drained[slot].is_occupied = false;
        self.oracle.cancel_drained(slot);
    }

    /// Clones a handle, creates one from a permit, or drops one.
    pub(super) fn change_handles(&mut self) -> bool {
        if self.handles.len() < 2 && self.environment.decisions.below(2) == 0 {
            self.handles.push(self.gate.clone());
        } else if let Some(permit) = self.permits.first() {
            self.handles.truncate(1);
            self.handles.push(match permit {
                AnyPermit::Borrowed(permit) => permit.gate().clone(),
                AnyPermit::Owned(permit) => permit.gate().clone(),
            });
        } else {
            self.handles.pop();
        }
        true
    }

    /// Pauses the gate, or resumes it. Doing either twice changes nothing.
    pub(super) fn pause_or_resume(&mut self) -> bool {
        let repeats = self.environment.decisions.below(8) == 0;
        if self.oracle.is_paused() == repeats {
            self.gate.pause();
            self.oracle.pause();
        } else {
            self.gate.resume();
            self.oracle.resume();
        }
        assert_eq!(self.gate.is_paused(), self.oracle.is_paused());
        assert_eq!(self.gate.limit().get(), self.oracle.limit());
        true
    }

    /// Closes the gate, but only towards the end of the bytes: a closed gate reaches few states.
    pub(super) fn close(&mut self) -> bool {
        let closes = self.environment.decisions.is_almost_empty();
        if closes {
            self.gate.close();
            self.oracle.close();
            assert!(self.gate.is_closed());
        }
        closes
    }
}
