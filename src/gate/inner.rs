//! A gate as its handles, permits and futures share it.

use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Arrival, Refusal, TryRefusal, Turn};
use super::cells::Fate;
use super::drains::Ticket;
use super::engine::{Front, State};
use super::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};
use super::wake::Calls;
use super::word::Word;
use super::{GateStatus, Resize};
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
pub(super) struct Inner {
    front: Front,
    handles: AtomicUsize,
    body: Mutex<Body>,
}

/// What is behind the lock.
struct Body {
    profile: Profile,
    state: State,
}

/// What a gate is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    pub(super) name: GateName,
    /// No request waits longer than this, whatever it asks for.
    pub(super) max_wait: Option<Duration>,
}

impl Inner {
    /// A gate with one handle.
    pub(super) fn open(profile: Profile, limit: Limit, bound: usize) -> &'static Self {
        let body = Body { profile, state: State::new(limit, bound) };
        let Some(inner) = vacant::take() else {
            let front = Front::new(Word::of_limit(limit.get()));
            return Box::leak(Box::new(Self { front, handles: AtomicUsize::new(1), body: Mutex::new(body) }));
        };
        let former = {
            let mut place = inner.lock();
            inner.front.set(Word::of_limit(limit.get()));
            inner.handles.store(1, Ordering::Release);
            std::mem::replace(&mut *place, body)
        };
        drop(former); // the wakers of futures that were leaked, outside the lock
        inner
    }

    /// Counts a handle made from a handle.
    pub(super) fn add_handle(&self) {
        // Relaxed: there is a handle, so nothing hangs on this.
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a handle made from a permit, which may be the first one again.
    pub(super) fn add_handle_of_permit(&'static self) -> Profile {
        self.handles.fetch_add(1, Ordering::AcqRel);
        self.settle_handles();
        self.lock().profile
    }

    pub(super) fn drop_handle(&'static self) {
        // Release and Acquire: what was done by any handle happens before the place is given away.
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settle_handles();
        }
    }

    /// Brings the word in line with whether there is a handle. Of those who come here at once, the first does it and
    /// the others find it done.
    #[cold]
    fn settle_handles(&'static self) {
        let body = self.lock();
        let limit = body.state.limit().get();
        let is_orphaned = self.front.word().has(Word::ORPHANED);
        let has_handles = self.handles.load(Ordering::Acquire) > 0;
        let vacates = match (is_orphaned, has_handles) {
            // Nobody is there to admit, so the word need not say what is available: under a limit of 0 it says
            // what is out.
            (false, false) => {
                let change = Word::resizing(limit, 0).wrapping_add(Word::ORPHANED);
                self.front.add(change).out(limit) == 0
            }
            // Whoever makes a handle of a permit holds that permit: the place is not vacant.
            (true, true) => {
                self.front.add(Word::resizing(0, limit).wrapping_sub(Word::ORPHANED));
                false
            }
            (true, false) | (false, true) => false,
        };
        drop(body);
        if vacates {
            vacant::put(self);
        }
    }

    /// Admits a request if there is room and nothing stands against it.
    #[inline]
    pub(super) fn admit(&self, weight: u32) -> bool {
        weight > 0 && self.front.admit(weight)
    }

    #[inline]
    pub(super) fn give_back(&'static self, weight: u32) {
        let before = self.front.give_back(weight);
        if before.calls_release() {
            self.given_back(before, weight);
        }
    }

    #[cold]
    fn given_back(&'static self, before: Word, weight: u32) {
        if before.has(Word::ORPHANED) {
            if before.out(0) == weight {
                // These were the last. Acquire: what the others did under theirs happens before the place is given away.
                let _ = self.front.word();
                vacant::put(self);
            }
            return;
        }
        // Somebody waits, as a rule: read before the lock is taken, so that nobody waits for the clock.
        let now = Instant::now();
        let mut calls = Calls::default(); // made as it goes out of scope, where it stands
        self.lock().state.settle(&self.front, || now, &mut calls);
    }

    /// What became of a place in line.
    #[inline]
    pub(super) fn fate(&self, place: u32) -> Fate {
        self.front.cells.fate(place)
    }

    /// Gives up a place whose fate has been decided.
    #[inline]
    pub(super) fn vacate(&self, place: u32) {
        self.front.cells.decide(place, Fate::Vacant);
    }

    pub(super) fn try_take(&self, weight: u32) -> Result<(), TryRefusal> {
        self.lock().state.try_take(&self.front, weight)
    }

    pub(super) fn arrive(&self, weight: u32) -> Arrival {
        self.lock().state.arrive(&self.front, weight)
    }

    pub(super) fn refuse_late(&self) -> Refusal {
        self.lock().state.refuse_late()
    }

    pub(super) fn join(&self, weight: u32, waker: Waker, now: Instant) -> Result<u32, (Turn, Waker)> {
        self.lock().state.join(&self.front, weight, waker, now)
    }

    pub(super) fn conclude(&self, place: u32) -> Option<Turn> {
        self.lock().state.conclude(&self.front, place)
    }

    pub(super) fn rewake(&self, place: u32, waker: Waker, calls: &mut Calls) -> Option<Turn> {
        self.lock().state.rewake(&self.front, place, waker, calls)
    }

    pub(super) fn expire(&self, place: u32, now: Instant, calls: &mut Calls) -> Turn {
        self.lock().state.expire(&self.front, place, now, calls)
    }

    pub(super) fn cancel(&self, place: u32, weight: u32) {
        let mut calls = Calls::default(); // made as it goes out of scope, where it stands
        self.lock().state.cancel(&self.front, place, weight, Instant::now, &mut calls);
    }

    pub(super) fn resize(&self, limit: Limit, calls: &mut Calls) -> Resize {
        self.lock().state.resize(&self.front, limit, Instant::now, calls)
    }

    pub(super) fn close(&self) -> Calls {
        self.lock().state.close(&self.front, Instant::now)
    }

    pub(super) fn drain(&self, ticket: Option<Ticket>, waker: Waker) -> (Option<Ticket>, Calls) {
        self.lock().state.drain(&self.front, ticket, waker)
    }

    pub(super) fn cancel_drain(&self, ticket: Ticket) -> Calls {
        self.lock().state.cancel_drain(&self.front, ticket)
    }

    pub(super) fn limit(&self) -> Limit {
        self.lock().state.limit()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.front.word().has(Word::CLOSED)
    }

    pub(super) fn status(&self) -> GateStatus {
        let body = self.lock();
        body.state.status(&self.front, body.profile.name)
    }

    /// Nothing panics under this lock, so a poisoned one would hold whole books all the same.
    fn lock(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of gates that are gone, to be used again.
#[cfg(not(gate_loom))]
mod vacant {
    use std::sync::{Mutex, PoisonError};

    use super::Inner;

    static VACANT: Mutex<Vec<&'static Inner>> = Mutex::new(Vec::new());

    pub(super) fn take() -> Option<&'static Inner> {
        VACANT.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(super) fn put(inner: &'static Inner) {
        VACANT.lock().unwrap_or_else(PoisonError::into_inner).push(inner);
    }
}

/// The same for a model checker, whose runs share nothing. Each run ends with the question whether every place was
/// given back, once.
#[cfg(gate_loom)]
mod vacant {
    use std::ptr;
    use std::sync::PoisonError;

    use super::super::sync::Mutex;
    use super::Inner;

    loom::lazy_static! {
        static ref PLACES: Mutex<Places> = Mutex::new(Places::default());
    }

    #[derive(Default)]
    struct Places {
        made: usize,
        vacant: Vec<&'static Inner>,
    }

    pub(super) fn take() -> Option<&'static Inner> {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.vacant.pop();
        if taken.is_none() {
            places.made = places.made.saturating_add(1);
        }
        taken
    }

    pub(super) fn put(inner: &'static Inner) {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places.vacant.iter().any(|vacant| ptr::eq(*vacant, inner));
        assert!(!known, "a gate's place was given back twice");
        places.vacant.push(inner);
    }

    impl Drop for Places {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                assert_eq!(self.vacant.len(), self.made, "a gate's place was not given back");
            }
        }
    }
}
