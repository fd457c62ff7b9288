//! The work that a step under the lock leaves for after the lock: wakers to wake or drop, timers to drop, listeners to notify.

use std::any::Any;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::thread;

use tokio::sync::Notify;
use tokio::time::Sleep;

/// Collects wakers under the lock, and wakes them after the lock is released.
///
/// A waker of a caller is foreign code: it may call the same gate, own one of its permits, or panic. So none is cloned, woken or
/// dropped under the lock, and no panicking waker keeps another from being woken. Dropping the list wakes the wakers, too:
/// no panic between the lock and [`wake_all`](Self::wake_all) can lose one.
#[derive(Debug, Default)]
#[must_use = "a waiter is lost if its waker is not woken"]
pub(crate) struct WakeList {
    /// Most steps wake one waiter at most. This waker needs no allocation.
    first: Option<Waker>,
    /// A waker to be dropped. No step has more than one.
    unused: Option<Waker>,
    more: Option<Box<MoreWork>>,
}

#[derive(Debug, Default)]
struct MoreWork {
    wakers: Vec<Waker>,
    /// Timers to be dropped after the lock is released, because tokio's timers take locks of their own.
    unused_timers: Vec<Pin<Box<Sleep>>>,
    listeners: Vec<Arc<Notify>>,
}

impl WakeList {
    /// Adds a waker to be woken.
    #[inline]
    pub(super) fn push(&mut self, waker: Waker) {
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.push_more(waker);
        }
    }

    #[cold]
    #[inline(never)]
    fn push_more(&mut self, waker: Waker) {
        self.more().wakers.push(waker);
    }

    /// Reserves room for this many wakers.
    pub(super) fn reserve(&mut self, wakers: usize) {
        if wakers > 1 {
            self.more().wakers.reserve(wakers);
        }
    }

    /// Keeps a waker that is only to be dropped.
    #[inline]
    pub(super) fn set_unused(&mut self, waker: Option<Waker>) {
        debug_assert!(self.unused.is_none(), "no step leaves two unused wakers");
        self.unused = waker;
    }

    /// Adds a timer to be dropped.
    pub(super) fn push_unused_timer(&mut self, timer: Option<Pin<Box<Sleep>>>) {
        if let Some(timer) = timer {
            self.more().unused_timers.push(timer);
        }
    }

    /// Wakes all wakers in order, then notifies the listeners, then drops the rest. The first panic continues after that,
    /// unless the thread is panicking already.
    ///
    /// A permit that the step took for its caller must have an owner before this call, which may unwind.
    #[inline]
    pub(crate) fn wake_all(&mut self) {
        // If there is only one waker, its panic cannot keep another one from being woken, so it may unwind directly.
        let is_single = self.more.is_none() && !thread::panicking();
        match (&self.first, &self.unused) {
            (_, None) if is_single => {
                if let Some(waker) = self.first.take() {
                    waker.wake();
                }
            }
            (None, _) if is_single => self.unused = None,
            _ => self.wake_all_protected(),
        }
    }

    #[cold]
    fn wake_all_protected(&mut self) {
        let mut first_panic = None;
        let MoreWork { wakers, unused_timers, listeners } = *self.more.take().unwrap_or_default();
        for waker in self.first.take().into_iter().chain(wakers) {
            catch_first_panic(&mut first_panic, || waker.wake());
        }
        for listener in listeners {
            catch_first_panic(&mut first_panic, || listener.notify_one());
        }
        catch_first_panic(&mut first_panic, || self.unused = None);
        catch_first_panic(&mut first_panic, || drop(unused_timers));
        match first_panic {
            Some(payload) if thread::panicking() => mem::forget(payload), // its destructor may panic, too
            Some(payload) => panic::resume_unwind(payload),
            None => {}
        }
    }

    fn more(&mut self) -> &mut MoreWork {
        self.more.get_or_insert_default()
    }
}

impl Drop for WakeList {
    #[inline]
    fn drop(&mut self) {
        if self.first.is_some() || self.unused.is_some() || self.more.is_some() {
            self.wake_all();
        }
    }
}

/// Runs `step`, and keeps its panic if it is the first.
fn catch_first_panic(first_panic: &mut Option<Box<dyn Any + Send>>, step: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(step)) {
        if first_panic.is_none() {
            *first_panic = Some(payload);
        } else {
            mem::forget(payload); // its destructor may panic, too
        }
    }
}

/// The listeners that are notified when the limit of a gate is set or the gate is closed. A `Notify` stores one notification.
/// A listener that its owner has dropped is forgotten.
#[derive(Debug, Default)]
pub(super) struct ChangeListeners(Vec<Weak<Notify>>);

impl ChangeListeners {
    pub(super) fn insert(&mut self, listener: &Arc<Notify>) {
        self.0.retain(|listener| listener.strong_count() > 0);
        self.0.push(Arc::downgrade(listener));
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds every listener to the wake list, which notifies it after the lock is released.
    pub(super) fn notify(&self, wake_list: &mut WakeList) {
        for listener in self.0.iter().filter_map(Weak::upgrade) {
            wake_list.more().listeners.push(listener);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    /// Each listener that its owner still holds is notified, and the others are forgotten.
    #[test]
    fn held_listeners_are_notified() {
        let (mut listeners, mut wake_list) = (ChangeListeners::default(), WakeList::default());
        let held = [(); 2].map(|()| Arc::<Notify>::default());
        listeners.insert(&held[0]);
        listeners.insert(&Arc::<Notify>::default());
        listeners.insert(&held[1]);
        assert_eq!(listeners.0.len(), 2);
        listeners.notify(&mut wake_list);
        wake_list.wake_all();
        assert!(held.iter().all(|listener| pin!(listener.notified()).as_mut().enable()));
    }
}
