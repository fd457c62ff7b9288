//! The gate's lock by itself, from its own source: as part of each model of the gate it would take too many steps.
//!
//! Who sleeps for it is called, or looks again after a while. The model checker knows no while, so there are two worlds:
//! one where every sleep ends by itself, whenever it likes; and one where none does, but where nobody overlooks that
//! somebody falls asleep, which is what a while is for.

use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use super::scene::{Threads, check_once};

/// Runs threads that each write once, for which they take the lock of their world in turns.
macro_rules! write_in_turns {
    () => {
        pub(super) fn write_in_turns(threads: super::Threads, others: usize) {
            super::check_once(threads, move || {
                let shared = super::Arc::new((lock::Lock::default(), super::AtomicUsize::new(0)));
                let write = |(lock, count): &(lock::Lock, super::AtomicUsize)| {
                    let held = lock.take();
                    assert!(held.is_of(lock) && lock.try_take().is_none(), "one has it");
                    // Relaxed, and no atomic change: nothing but the lock makes what one wrote known to the next.
                    count.store(count.load(super::Relaxed) + 1, super::Relaxed);
                    drop(held);
                };
                let others: Vec<_> = (0..others)
                    .map(|_| {
                        let shared = super::Arc::clone(&shared);
                        super::thread::spawn(move || write(&shared))
                    })
                    .collect();
                let all = others.len() + 1;
                write(&shared);
                for other in others {
                    other.join().unwrap();
                }
                let held = shared.0.take();
                assert_eq!(shared.1.load(super::Relaxed), all);
                assert!(held.give_back().is_none(), "nobody is left asleep");
            });
        }
    };
}

/// Where every sleep ends by itself.
#[path = "."] // where the paths in it begin
mod restless {
    mod sync {
        use std::sync::LockResult;
        use std::time::Duration;

        pub(super) use loom::hint::spin_loop;
        pub(super) use loom::sync::atomic::{AtomicBool, Ordering};
        use loom::thread;

        #[derive(Default)]
        pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

        pub(super) type MutexGuard<'a, T> = Guard<'a, T>;

        pub(super) struct Guard<'a, T> {
            of: &'a Mutex<T>,
            guard: loom::sync::MutexGuard<'a, T>,
        }

        #[derive(Default)]
        pub(super) struct Condvar;

        pub(super) struct TimedOut;

        impl<T> Mutex<T> {
            #[expect(clippy::unnecessary_wraps, reason = "the interface of a real one")]
            pub(super) fn lock(&self) -> LockResult<Guard<'_, T>> {
                Ok(Guard { of: self, guard: self.0.lock().unwrap() })
            }
        }

        impl<T> std::ops::Deref for Guard<'_, T> {
            type Target = T;
            fn deref(&self) -> &T {
                &self.guard
            }
        }

        impl<T> std::ops::DerefMut for Guard<'_, T> {
            fn deref_mut(&mut self) -> &mut T {
                &mut self.guard
            }
        }

        impl Condvar {
            #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the interface of a real one")]
            pub(super) fn wait_timeout<'a, T>(
                &self,
                guard: Guard<'a, T>,
                _: Duration,
            ) -> LockResult<(Guard<'a, T>, TimedOut)> {
                let mutex = guard.of;
                drop(guard);
                thread::yield_now();
                Ok((mutex.lock().unwrap(), TimedOut))
            }

            #[expect(clippy::unused_self, reason = "the interface of a real one")]
            pub(super) fn notify_one(&self) {}
        }
    }

    #[path = "../../src/gate/lock.rs"]
    mod lock;

    write_in_turns!();
}

/// Where who sleeps has to be called, and nobody overlooks it.
#[path = "."]
mod asleep {
    mod sync {
        pub(super) use loom::hint::spin_loop;
        use loom::sync::atomic;
        pub(super) use loom::sync::atomic::Ordering;
        pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};

        /// Seen by whoever looks after it was written.
        #[derive(Default)]
        pub(super) struct AtomicBool(atomic::AtomicBool);

        impl AtomicBool {
            pub(super) fn load(&self, order: Ordering) -> bool {
                atomic::fence(Ordering::SeqCst);
                self.0.load(order)
            }

            pub(super) fn store(&self, is: bool, order: Ordering) {
                self.0.store(is, order);
                atomic::fence(Ordering::SeqCst);
            }

            pub(super) fn compare_exchange(
                &self,
                from: bool,
                to: bool,
                on_success: Ordering,
                on_failure: Ordering,
            ) -> Result<bool, bool> {
                self.0.compare_exchange(from, to, on_success, on_failure)
            }
        }
    }

    #[expect(clippy::duplicate_mod, reason = "each world has its own")]
    #[path = "../../src/gate/lock.rs"]
    mod lock;

    write_in_turns!();
}

/// One has the lock at a time, and finds what was done by those before, however long each sleeps.
#[test]
fn one_writes_at_a_time() {
    restless::write_in_turns(Threads::Two, 1);
}

/// Who falls asleep is called when the lock is given back, if that is not overlooked.
#[test]
fn who_sleeps_is_called() {
    asleep::write_in_turns(Threads::Two, 1);
}

/// The same of two sleepers, who are called one after the other.
#[test]
fn all_who_sleep_are_called() {
    asleep::write_in_turns(Threads::Three, 2);
}
