//! Wakers on their way out of the engine.

use std::any::Any;
use std::mem::{self, ManuallyDrop};
use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;
use std::thread;

use super::bells::Bell;
use super::timers::Alarm as Timer;

/// Calls that a step of the engine leaves to make once the lock is free: wakers to wake, or only to drop.
///
/// A waker is somebody else's code. It may come back to the same gate, own a permit of it, or panic; so none is
/// cloned, woken or dropped while the lock is held, and none can keep another from being woken.
#[derive(Debug, Default)]
#[must_use = "a waker that is not woken is a waiter that is lost"]
pub(crate) struct Calls {
    /// Most steps wake one waiter or none, and so allocate nothing.
    first: Option<Waker>,
    spare: Option<Waker>,
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    wakers: Vec<Waker>,
    /// Timers that are of no use any more. tokio has locks of its own, so not under the gate's.
    timers: Vec<Timer>,
    bells: Vec<Bell>,
}

impl Calls {
    /// Puts `waker` behind those already here.
    #[inline]
    pub(super) fn wake(&mut self, waker: Waker) {
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.rest().wakers.push(waker);
        }
    }

    /// Makes room for so many wakers more, so that a long list need not grow by and by.
    pub(super) fn make_room(&mut self, wakers: usize) {
        if wakers > 1 {
            self.rest().wakers.reserve(wakers);
        }
    }

    /// Keeps `waker` only to drop it. No step of the engine has two of these.
    #[inline]
    pub(super) fn discard(&mut self, waker: Waker) {
        debug_assert!(self.spare.is_none(), "a step of the engine discards at most one waker");
        self.spare = Some(waker);
    }

    /// Keeps a timer only to drop it.
    pub(super) fn dispose(&mut self, timer: Option<Timer>) {
        if let Some(timer) = timer {
            self.rest().timers.push(timer);
        }
    }

    /// Rings `bell` once all wakers are woken.
    pub(super) fn ring(&mut self, bell: Bell) {
        self.rest().bells.push(bell);
    }

    /// Wakes all in order, then rings, then drops what is only to be dropped. The first panic among them goes on once all are
    /// done, unless this thread is unwinding already.
    ///
    /// Whatever the step gave its caller must have an owner by now: a panic from here unwinds through it.
    #[inline]
    pub(crate) fn make(self) {
        ManuallyDrop::new(self).make_all(); // which leaves nothing to drop
    }

    #[inline]
    fn make_all(&mut self) {
        // A panic of the only call there is keeps nobody from being woken, and may go its way.
        let is_alone = self.rest.is_none() && !thread::panicking();
        if is_alone && self.spare.is_none() {
            if let Some(waker) = self.first.take() {
                waker.wake();
            }
        } else if is_alone && self.first.is_none() {
            self.spare = None;
        } else {
            self.make_each();
        }
    }

    #[cold]
    fn make_each(&mut self) {
        let mut panicked = None;
        let Rest { wakers, timers, bells } = self.rest.take().map_or_else(Rest::default, |rest| *rest);
        let all = self.first.take().into_iter().chain(wakers);
        all.for_each(|waker| shield(&mut panicked, || waker.wake()));
        for bell in bells {
            shield(&mut panicked, || bell.notify_one());
        }
        shield(&mut panicked, || self.spare = None);
        shield(&mut panicked, || drop(timers));
        match panicked {
            Some(payload) if thread::panicking() => mem::forget(payload), // its drop may panic, too
            Some(payload) => panic::resume_unwind(payload),
            None => {}
        }
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }
}

/// Drops one that nobody is left to hear from, whatever it does.
pub(super) fn bury(waker: Waker) {
    let mut panicked = None;
    shield(&mut panicked, || drop(waker));
    mem::forget(panicked);
}

/// Wakes one, which is all there is to do.
#[inline]
pub(super) fn wake(waker: Waker) {
    if thread::panicking() {
        let mut calls = Calls::default();
        calls.wake(waker);
        calls.make();
    } else {
        waker.wake();
    }
}

/// Dropping makes the calls, too: no panic on the way to [`make`](Calls::make) may lose a waiter.
impl Drop for Calls {
    fn drop(&mut self) {
        self.make_all();
    }
}

/// Runs `step` and keeps the first panic of several.
fn shield(panicked: &mut Option<Box<dyn Any + Send>>, step: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(step)) {
        if panicked.is_none() {
            *panicked = Some(payload);
        } else {
            mem::forget(payload); // dropping a payload runs its destructor, which may panic in turn
        }
    }
}

/// A waker whose `clone` comes back to the gate finds it unlocked, and one whose `clone` panics costs the request
/// nothing but that poll. Writing one takes `unsafe`, which this crate forbids itself; so it is written here, as a user
/// would write it.
///
/// ```
/// use std::mem::ManuallyDrop;
/// use std::panic::{AssertUnwindSafe, catch_unwind};
/// use std::pin::pin;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
/// use concurrency_governor::{Gate, GateName, Limit};
///
/// static PANICS: AtomicBool = AtomicBool::new(false);
/// static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, drop, |_| {}, drop);
///
/// fn waker(gate: &Gate) -> Waker {
///     let data = Arc::into_raw(Arc::new(gate.clone())).cast(); // unlike that of any other waker, so each is cloned
///     unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) }
/// }
/// unsafe fn clone(data: *const ()) -> RawWaker {
///     let gate = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Gate>()) });
///     meddle(&gate);
///     assert!(!PANICS.load(Ordering::SeqCst), "as it was told to");
///     RawWaker::new(Arc::into_raw(Arc::clone(&gate)).cast(), &VTABLE)
/// }
/// unsafe fn drop(data: *const ()) {
///     let gate = unsafe { Arc::from_raw(data.cast::<Gate>()) };
///     meddle(&gate);
/// }
/// fn meddle(gate: &Gate) {
///     assert!(gate.try_acquire().is_err() || !gate.is_closed());
///     gate.resize(gate.limit());
/// }
///
/// let gate = Gate::new(GateName::new("hostile"), Limit::MIN);
/// let held = gate.try_acquire()?;
/// let mut waiting = pin!(gate.acquire());
/// for _ in 0..3 {
///     let waker = waker(&gate);
///     assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
///     assert!(pin!(gate.drained()).poll(&mut Context::from_waker(&waker)).is_pending());
/// }
/// PANICS.store(true, Ordering::SeqCst);
/// let waker_that_panics = waker(&gate);
/// let mut context = Context::from_waker(&waker_that_panics);
/// let mut newcomer = Box::pin(gate.acquire());
/// for _ in 0..2 {
///     assert!(catch_unwind(AssertUnwindSafe(|| waiting.as_mut().poll(&mut context))).is_err());
///     assert!(catch_unwind(AssertUnwindSafe(|| newcomer.as_mut().poll(&mut context))).is_err());
///     assert_eq!(gate.status().waiting, 1, "one keeps its place, the other has taken none");
/// }
/// PANICS.store(false, Ordering::SeqCst);
/// std::mem::drop(held);
/// let waker = waker(&gate);
/// assert!(matches!(waiting.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(_))));
/// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
/// ```
#[cfg(doctest)]
struct HostileClone;
