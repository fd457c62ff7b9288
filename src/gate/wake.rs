//! Wakers on their way out of the engine.

use std::any::Any;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;
use std::thread;

/// Calls that a step of the engine leaves to make once the lock is free: wakers to wake, or only to drop.
///
/// A waker is somebody else's code. It may come back to the same gate, own a permit of it, or panic; so none is
/// cloned, woken or dropped while the lock is held, and none can keep another from being woken.
#[derive(Debug, Default)]
#[must_use = "a waker that is not woken is a waiter that is lost"]
pub(crate) struct Calls {
    /// Most steps wake one waiter or none, and so allocate nothing.
    first: Option<Waker>,
    more: Vec<Waker>,
    spare: Option<Waker>,
}

impl Calls {
    /// Puts `waker` behind those already here.
    pub(super) fn wake(&mut self, waker: Waker) {
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.more.push(waker);
        }
    }

    /// Keeps `waker` only to drop it. No step of the engine has two of these.
    pub(super) fn discard(&mut self, waker: Waker) {
        debug_assert!(self.spare.is_none(), "a step of the engine discards at most one waker");
        self.spare = Some(waker);
    }

    /// Wakes all in order, then drops what is only to be dropped. The first panic among them goes on once all are
    /// done, unless this thread is unwinding already.
    ///
    /// Whatever the step gave its caller must have an owner by now: a panic from here unwinds through it.
    pub(crate) fn make(self) {
        let mut panicked = None;
        for waker in self.first.into_iter().chain(self.more) {
            shield(&mut panicked, || waker.wake());
        }
        if let Some(spare) = self.spare {
            shield(&mut panicked, || drop(spare));
        }
        match panicked {
            Some(payload) if thread::panicking() => mem::forget(payload), // its drop may panic, too
            Some(payload) => panic::resume_unwind(payload),
            None => {}
        }
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
