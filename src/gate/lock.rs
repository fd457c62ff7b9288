//! A lock that is given back by a plain store.
//!
//! A gate's lock is held for some nanoseconds, most of which are its own atomic changes: one to take it, and with most
//! locks one to give it back. That one tells whether somebody sleeps who is to be called. Here a plain store gives the lock
//! back, and a look at a flag tells; on most machines the look may be over before others see the store. So of who falls
//! asleep in those few nanoseconds nobody knows. Therefore sleepers look again by themselves, after 50 µs at first, and then
//! after about as long as they have waited already: no longer have they slept in vain at worst. Whoever gives the lock back
//! later has seen the flag.

use std::mem;
use std::ptr;
use std::sync::PoisonError;
use std::time::Duration;

use super::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, spin_loop};

/// Whether somebody is where one may be at a time, and those who wait for that.
#[derive(Default)]
pub(super) struct Lock {
    is_held: AtomicBool,
    /// Whether somebody sleeps and is to be called. Changes with `beds` locked.
    has_sleepers: AtomicBool,
    beds: Mutex<Beds>,
    call: Condvar,
}

#[derive(Default)]
struct Beds {
    asleep: u32,
    /// Called, and not awake yet.
    called: u32,
}

/// Has the lock, and gives it back when dropped.
pub(super) struct Held<'a>(&'a Lock);

impl Lock {
    #[inline]
    pub(super) fn take(&self) -> Held<'_> {
        self.try_take().unwrap_or_else(|| self.take_slowly())
    }

    #[inline]
    pub(super) fn try_take(&self) -> Option<Held<'_>> {
        // Acquire: what was done by whoever had it before happens before what is done now.
        let was_held = self.is_held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        was_held.is_ok().then(|| Held(self))
    }

    #[cold]
    #[inline(never)]
    fn take_slowly(&self) -> Held<'_> {
        let mut patience = FIRST_SLEEP;
        loop {
            for _ in 0..SPINS {
                // A look first, which takes the lock's cache line from nobody.
                let held = if self.is_held.load(Ordering::Relaxed) { None } else { self.try_take() };
                if let Some(held) = held {
                    return held;
                }
                spin_loop();
            }
            if let Some(held) = self.sleep(patience) {
                return held;
            }
            patience = patience.saturating_mul(2).min(LAST_SLEEP);
        }
    }

    /// Sleeps until it is called, or for so long at most; not at all if the lock is to be had by now.
    fn sleep(&self, patience: Duration) -> Option<Held<'_>> {
        let mut beds = self.beds();
        self.has_sleepers.store(true, Ordering::Relaxed);
        let held = self.try_take();
        if held.is_none() {
            beds.asleep = beds.asleep.saturating_add(1);
            (beds, _) = self.call.wait_timeout(beds, patience).unwrap_or_else(PoisonError::into_inner);
            // Whose call it was does not matter: who wakes up by himself takes it from one who then sleeps on.
            let counted = if beds.called > 0 { &mut beds.called } else { &mut beds.asleep };
            *counted = counted.saturating_sub(1);
        }
        self.has_sleepers.store(beds.asleep > 0, Ordering::Relaxed);
        held
    }

    /// Calls one who sleeps, if anybody does: for whoever [gave it back](Held::give_back).
    #[cold]
    #[inline(never)]
    pub(super) fn call(&self) {
        let mut beds = self.beds();
        if let Some(asleep) = beds.asleep.checked_sub(1) {
            beds.asleep = asleep;
            beds.called = beds.called.saturating_add(1);
            self.has_sleepers.store(asleep > 0, Ordering::Relaxed);
            self.call.notify_one();
        }
    }

    /// Nothing panics under this lock.
    fn beds(&self) -> MutexGuard<'_, Beds> {
        self.beds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Held<'a> {
    /// Whether this is the lock that it has.
    #[inline]
    pub(super) fn is_of(&self, lock: &Lock) -> bool {
        ptr::eq(self.0, lock)
    }

    /// Gives the lock back. Where somebody sleeps, whom the caller is to [call](Lock::call), that is what it gets.
    #[inline]
    pub(super) fn give_back(self) -> Option<&'a Lock> {
        let lock = self.0;
        mem::forget(self);
        // Release: what was done under it happens before what is done by whoever has it next.
        lock.is_held.store(false, Ordering::Release);
        lock.has_sleepers.load(Ordering::Relaxed).then_some(lock)
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(lock) = Self(self.0).give_back() {
            lock.call();
        }
    }
}

/// Some microseconds: whoever has the lock and runs is long done by then.
const SPINS: u32 = if cfg!(any(gate_loom, gate_shuttle)) { 1 } else { 100 };
const FIRST_SLEEP: Duration = Duration::from_micros(50);
const LAST_SLEEP: Duration = Duration::from_millis(10);

#[cfg(test)]
#[cfg(not(gate_loom))]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// However many threads take it, one has it at a time, and what each has done the next finds done.
    #[test]
    fn one_has_it_at_a_time() {
        const THREADS: u64 = 8;
        const TIMES: u64 = if cfg!(miri) { 20 } else { 20_000 };
        let (lock, count) = (Lock::default(), AtomicU64::new(0));
        thread::scope(|scope| {
            for nth in 0..THREADS {
                let (lock, count) = (&lock, &count);
                scope.spawn(move || {
                    for time in 0..TIMES {
                        let held = lock.take();
                        // No atomic change: two at once would lose one.
                        let before = count.load(Ordering::Relaxed);
                        if time % 1000 == nth {
                            thread::yield_now();
                        }
                        count.store(before.saturating_add(1), Ordering::Relaxed);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), THREADS * TIMES);
        let beds = lock.beds();
        assert_eq!((beds.asleep, beds.called, lock.has_sleepers.load(Ordering::Relaxed)), (0, 0, false));
    }

    /// Whoever sleeps is called as soon as the lock is given back, however it is, and those who sleep beside it one by one.
    #[test]
    fn sleepers_are_called() {
        const SLEEPERS: u32 = 3;
        let lock = Lock::default();
        for calls_itself in [true, false] {
            let held = lock.take();
            assert!(lock.try_take().is_none());
            thread::scope(|scope| {
                for _ in 0..SLEEPERS {
                    scope.spawn(|| drop(lock.take()));
                }
                let began = Instant::now();
                while lock.beds().asleep < SLEEPERS {
                    assert!(began.elapsed() < Duration::from_secs(60));
                    thread::yield_now();
                }
                if calls_itself {
                    held.give_back().unwrap().call();
                } else {
                    drop(held);
                }
            });
            assert!(lock.take().give_back().is_none());
        }
    }
}
