//! A gate as its handles, permits and futures share it.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::Waker;
use std::thread;

use super::abort::abort_if;
use super::answer::{Arrival, Refusal, TryRefusal, Turn};
use super::bells::{Bell, Bells};
use super::chain::{Locked, Node};
use super::clock;
use super::drains::Ticket;
use super::engine::{Joining, State};
use super::front::{Change, Front};
use super::sync::{AtomicUsize, Held, Lock, Ordering};
use super::tally::{Count, Tally};
use super::wait::Fate;
use super::wake::{self, Calls};
use super::word::Word;
use super::{GateStatus, Resize, vacant};
use crate::plan::{GateName, Limit};

/// One gate.
///
/// What may take a lock is a step of the engine under it; what that gives back is the caller's to own before it
/// [makes](Calls::make) the wakers, which by then are outside the lock.
///
/// A gate is never freed, only used again: permits that own no handle hold it by a plain reference, at no cost to them.
/// It goes back to the vacant ones when the last handle is gone and no permit is out, whichever comes last; the word
/// says which, because both are changes of it. Whoever still comes for the lock then finds nothing to do, or does what
/// the next gate in this place would do by itself.
///
/// What a wait changes stands in the first two cache lines, the word and the lock in the first: cores that share a gate
/// have to send each other every line that both change, which takes them longer than all else there is to do.
#[repr(C, align(64))]
pub(super) struct Inner {
    pub(super) front: Front,
    body: Locked<Body>,
    handles: AtomicUsize,
    tally: Tally,
}

/// What is behind the lock.
#[repr(C)] // in this order, for the sake of where it stands in a gate
pub(super) struct Body {
    pub(super) state: State,
    bells: Bells,
    profile: Profile,
}

/// Has the lock of a gate, and so what is behind it.
pub(super) struct Guard<'a> {
    body: &'a Locked<Body>,
    held: Held<'a>,
}

impl Guard<'_> {
    #[inline]
    pub(super) fn get(&mut self) -> &mut Body {
        self.body.get(&mut self.held)
    }
}

impl Body {
    /// Whether anybody is to be told of a change of the limit.
    #[inline]
    fn heeds(&mut self, change: Change) -> bool {
        self.state.heeds(change) || !self.bells.is_empty()
    }

    fn heed_limit(&mut self, front: &Front, limit: Limit) -> Calls {
        let mut calls = Calls::default();
        self.state.heed_limit(front, limit, clock::now, &mut calls);
        self.bells.ring(&mut calls);
        calls
    }
}

/// What a gate is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    pub(super) name: GateName,
    /// No request waits longer than so many nanoseconds, whatever it asks for; [`NEVER`](clock::NEVER) if it may.
    pub(super) max_wait: i64,
    /// Whether it measures how long requests wait.
    pub(super) measures_waits: bool,
}

impl Inner {
    /// A gate with one handle.
    pub(super) fn open(profile: Profile, limit: Limit, bound: usize) -> &'static Self {
        let look = profile.measures_waits.then(clock::look);
        let body = Body { profile, state: State::new(bound, look), bells: Bells::default() };
        let Some(inner) = vacant::take() else {
            let front = Front::new(Word::of_limit(limit.get()));
            let (handles, body) = (AtomicUsize::new(1), Locked::new(body));
            return Box::leak(Box::new(Self { front, tally: Tally::default(), handles, body }));
        };
        let former = {
            let mut place = inner.lock();
            inner.front.set(Word::of_limit(limit.get()));
            inner.tally.clear();
            inner.handles.store(1, Ordering::Release);
            mem::replace(place.get(), body)
        };
        // The wakers of futures that were leaked, outside the lock. Whoever makes a gate has nothing to do with them.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(former)));
        inner
    }

    /// Counts a handle made from a handle.
    pub(super) fn add_handle(&self) {
        // Relaxed: there is a handle, so nothing hangs on this.
        end_at_too_many(self.handles.fetch_add(1, Ordering::Relaxed));
    }

    /// Counts a handle made from a permit, which may be the first one again.
    pub(super) fn add_handle_of_permit(&'static self) -> Profile {
        end_at_too_many(self.handles.fetch_add(1, Ordering::AcqRel));
        self.settle_handles();
        self.lock().get().profile
    }

    pub(super) fn drop_handle(&'static self) {
        // Release and Acquire: what was done by any handle happens before the place is given away.
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settle_handles();
        }
    }

    #[cold]
    fn settle_handles(&'static self) {
        let mut body = self.lock();
        let has_handles = self.handles.load(Ordering::Acquire) > 0;
        body.get().state.settle_handles(&self.front, has_handles);
        self.vacate(body);
    }

    /// Gives the gate's place back, if it has become vacant.
    fn vacate(&'static self, mut body: Guard<'_>) {
        if body.get().state.vacates(&self.front) {
            drop(body);
            vacant::put(self);
        }
    }

    /// Admits a request if there is room and nothing stands against it.
    #[inline]
    pub(super) fn admit(&self, weight: u32) -> bool {
        let admits = weight > 0 && self.front.admit(weight);
        if admits {
            self.tally.count(Count::Admitted);
        }
        admits
    }

    /// Refuses a request for one permit that would have to wait. Whether a greater one is too large is behind the lock.
    #[inline]
    pub(super) fn refuse(&self, weight: u32) -> bool {
        let refuses = weight == 1 && self.front.refuses_one();
        if refuses {
            self.tally.count(Count::Refused);
        }
        refuses
    }

    #[inline]
    pub(super) fn give_back(&'static self, weight: u32) {
        if self.front.give_back(weight) {
            self.hand_on();
        }
    }

    /// Has who waits for permits that have come back get them. The gate may be another by now, whose place this one had;
    /// then there is nothing to do.
    #[cold]
    #[inline(never)]
    fn hand_on(&'static self) {
        // Whatever is not the short way ends in a call, so that this has nothing to keep across one.
        if thread::panicking() {
            return self.hand_on_anyhow();
        }
        let Some(mut body) = self.try_lock() else { return self.hand_on_anyhow() };
        let Some(waker) = body.get().state.hand_over(&self.front) else { return self.hand_on_by(body) };
        match body.held.give_back() {
            Some(lock) => call_and_wake(lock, waker),
            None => waker.wake(),
        }
    }

    #[cold]
    #[inline(never)]
    fn hand_on_anyhow(&'static self) {
        self.hand_on_by(self.lock());
    }

    #[cold]
    #[inline(never)]
    fn hand_on_by(&'static self, mut body: Guard<'_>) {
        match body.get().state.hand_over_measured(&self.front, clock::now) {
            Some(waker) => {
                drop(body);
                wake::wake(waker);
            }
            None => self.settle(body),
        }
    }

    #[cold]
    #[inline(never)]
    fn settle(&'static self, mut body: Guard<'_>) {
        let mut calls = Calls::default();
        body.get().state.settle(&self.front, 0, clock::now, &mut calls);
        self.vacate(body);
        calls.make();
    }

    pub(super) fn try_take(&self, weight: u32) -> Result<(), TryRefusal> {
        self.lock().get().state.try_take(&self.front, weight)
    }

    pub(super) fn arrive(&self, weight: u32) -> Arrival {
        self.lock().get().state.arrive(&self.front, weight)
    }

    pub(super) fn refuse_late(&self) -> Refusal {
        self.lock().get().state.refuse_late()
    }

    /// Puts a request at the end of the line by the short way; else gives back the lock, if it was free, and the waker.
    #[expect(clippy::inline_always, reason = "as a call of its own it would pass all of it through memory")]
    #[inline(always)]
    pub(super) fn join_at_once(
        &'static self,
        node: Pin<&mut Node>,
        weight: u32,
        waker: Waker,
    ) -> Result<(), (Option<Guard<'static>>, Waker)> {
        let Some(mut body) = self.try_lock() else { return Err((None, waker)) };
        match body.get().state.join_at_once(&self.front, node, weight, waker) {
            Ok(()) => Ok(()),
            Err(waker) => Err((Some(body), waker)),
        }
    }

    /// Puts a request at the end of the line, unless it need not or may not wait any more.
    pub(super) fn join(
        &'static self,
        body: Option<Guard<'static>>,
        joining: Joining<'_>,
        since: Option<i64>,
    ) -> Result<(), (Turn, Waker)> {
        let mut body = body.unwrap_or_else(|| self.lock());
        body.get().state.join(&self.front, joining, since, clock::now)
    }

    pub(super) fn rewake(&self, node: Pin<&mut Node>, waker: Waker) {
        let mut calls = Calls::default(); // made as it goes out of scope, where it stands
        self.lock().get().state.rewake(node, Fate::Waiting, waker, &mut calls);
    }

    /// Takes a request that was given up out of line by the short way; else gives back the lock, if it was free.
    #[expect(
        clippy::inline_always,
        reason = "as a call of its own it would keep what it has across those it makes"
    )]
    #[inline(always)]
    pub(super) fn leave_at_once(&'static self, node: Pin<&mut Node>) -> Result<(), Option<Guard<'static>>> {
        if thread::panicking() {
            return Err(None);
        }
        let Some(mut body) = self.try_lock() else { return Err(None) };
        let Some(waker) = body.get().state.leave_behind(node) else { return Err(Some(body)) };
        match body.held.give_back() {
            Some(lock) => call_and_drop(lock, waker),
            None => drop(waker),
        }
        Ok(())
    }

    #[inline]
    pub(super) fn cancel(
        &'static self,
        body: Option<Guard<'static>>,
        node: Pin<&mut Node>,
        weight: u32,
        calls: &mut Calls,
    ) {
        let mut body = body.unwrap_or_else(|| self.lock());
        body.get().state.cancel(&self.front, node, weight, clock::now, calls);
    }

    /// Puts another limit in force without the lock, if nobody has to be told.
    #[inline]
    pub(super) fn resize_at_once(&self, limit: Limit) -> Option<Resize> {
        let resize = Resize::of(self.front.resize_at_once(limit.get())?, limit);
        if resize.from != limit {
            self.tally.count(Count::Resized);
        }
        Some(resize)
    }

    // What is not the short way ends in a call, so that this has nothing to keep across one.
    #[cold]
    #[inline(never)]
    pub(super) fn resize(&'static self, limit: Limit) -> Resize {
        let Some(mut body) = self.try_lock() else { return self.resize_anyhow(limit) };
        let change = body.get().state.resize(&self.front, limit);
        if body.get().heeds(change) {
            return self.resize_aloud(body, change, limit);
        }
        Resize::of(change, limit)
    }

    #[cold]
    #[inline(never)]
    fn resize_anyhow(&'static self, limit: Limit) -> Resize {
        let (resize, calls) = self.resize_unwoken(limit);
        calls.make();
        resize
    }

    #[cold]
    #[inline(never)]
    fn resize_aloud(&'static self, mut body: Guard<'_>, change: Change, limit: Limit) -> Resize {
        let calls = body.get().heed_limit(&self.front, limit);
        drop(body);
        calls.make();
        Resize::of(change, limit)
    }

    pub(super) fn resize_unwoken(&self, limit: Limit) -> (Resize, Calls) {
        let mut body = self.lock();
        let change = body.get().state.resize(&self.front, limit);
        (Resize::of(change, limit), body.get().heed_limit(&self.front, limit))
    }

    pub(super) fn close(&self) -> Calls {
        let mut body = self.lock();
        let mut calls = body.get().state.close(&self.front, clock::now);
        body.get().bells.ring(&mut calls);
        calls
    }

    pub(super) fn ring_on_change(&self, bell: &Bell) {
        let mut body = self.lock();
        body.get().bells.hang(bell);
        self.front.raise(Word::RINGS);
    }

    pub(super) fn drain(&self, ticket: Option<Ticket>, waker: Waker) -> (Option<Ticket>, Calls) {
        self.lock().get().state.drain(&self.front, ticket, waker)
    }

    pub(super) fn cancel_drain(&self, ticket: Ticket) -> Calls {
        self.lock().get().state.cancel_drain(&self.front, ticket)
    }

    pub(super) fn limit(&self) -> Limit {
        self.front.word().in_force()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.front.word().has(Word::CLOSED)
    }

    pub(super) fn status(&self) -> GateStatus {
        let mut body = self.lock();
        let Body { profile, state, .. } = body.get();
        state.status(&self.front, &self.tally, profile.name)
    }

    #[inline]
    pub(super) fn lock(&self) -> Guard<'_> {
        Guard { body: &self.body, held: self.body.0.take() }
    }

    #[inline]
    fn try_lock(&self) -> Option<Guard<'_>> {
        let body = &self.body;
        body.0.try_take().map(|held| Guard { body, held })
    }
}

#[cold]
#[inline(never)]
fn call_and_wake(lock: &Lock, waker: Waker) {
    lock.call();
    waker.wake();
}

#[cold]
#[inline(never)]
fn call_and_drop(lock: &Lock, waker: Waker) {
    lock.call();
    drop(waker);
}

/// Ends the process long before a count of handles runs over, as `Arc` does: a program that forgets so many would have
/// the place given away while it is used.
#[inline]
fn end_at_too_many(handles: usize) {
    abort_if(handles > usize::MAX / 2);
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;
    use crate::gate::chain::tests::assert_ends_the_process;

    fn open(measures_waits: bool) -> &'static Inner {
        let profile = Profile { name: GateName::new("opened"), max_wait: clock::NEVER, measures_waits };
        Inner::open(profile, Limit::MIN, 0)
    }

    /// Whatever a wait changes is in the first two cache lines, the word and the lock in the first.
    #[test]
    fn what_a_wait_changes_stands_together() {
        let inner = open(true);
        let start = ptr::from_ref(inner).addr();
        let end = |last: *const u8, len: usize| last.addr() + len - start;
        let mut body = inner.lock();
        let lock = end(ptr::from_ref(&inner.body).cast(), size_of::<Lock>());
        let State { line, sampler, .. } = &body.get().state;
        let last =
            end(ptr::from_ref(line).cast(), size_of_val(line)).max(end(ptr::from_ref(sampler).cast(), 2));
        assert_eq!((start % 64, ptr::from_ref(&inner.front).addr()), (0, start));
        assert!(lock <= 64 && last <= 128, "{lock} {last}");
    }

    /// A program that forgets more handles than can be counted ends, whichever way it makes them, and no other does.
    #[test]
    fn too_many_handles_end_the_process() {
        const TEST: &str = "gate::inner::tests::too_many_handles_end_the_process";
        for (part, (by_permit, more)) in
            [(false, 1), (false, 2), (true, 1), (true, 2)].into_iter().enumerate()
        {
            assert_ends_the_process(TEST, part, more > 1, || {
                let inner = open(false);
                inner.handles.store(usize::MAX / 2, Ordering::Relaxed);
                for _ in 0..more {
                    if by_permit {
                        let _ = inner.add_handle_of_permit();
                    } else {
                        inner.add_handle();
                    }
                }
            });
        }
    }
}
