//! Counters that are incremented without the lock. Up to 32 threads at a time each count in a shard of their own, so a count needs no
//! atomic read-modify-write and moves no cache line between threads. Further threads share one shard.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "fleet")]
use super::status::GateTotals;

/// What is counted without the lock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    Admitted = 0,
    NoPermits = 1,
    Resized = 2,
    /// Admitted requests whose owner has taken the permits, after a wait or a postponement.
    Claimed = 3,
    /// Requests admitted on arrival whose future stayed pending, because the budget of the task was spent.
    Postponed = 4,
    /// Requests that borrowed permits of the work that they are part of.
    Borrowed = 5,
}

/// The fast-path counters of one gate.
///
/// A thread takes a shard number for all gates when it counts for the first time. Threads without a number share one shard.
#[derive(Default)]
#[repr(C)] // in this order a count takes one instruction less: rows `try` and `await` of `.ci/run bench-count`
pub(super) struct ShardedCounters {
    shared: CounterShard,
    shards: [CounterShard; SHARDS],
    /// Not sharded: a rejection takes the slow path.
    #[cfg(feature = "fleet")]
    unleased: UnleasedCounts,
}

/// The rejections of a gate whose lease had no permits.
#[cfg(feature = "fleet")]
#[derive(Default)]
struct UnleasedCounts {
    tries: AtomicU64,
    arrivals: AtomicU64,
    waits: AtomicU64,
}

/// A rejection because the lease of the gate had no permits.
#[cfg(feature = "fleet")]
#[derive(Clone, Copy, Debug)]
pub(crate) enum UnleasedRejection {
    /// A `try_acquire`, which the gate has not counted.
    Try,
    /// A request whose deadline had passed on arrival, which the gate has counted as expired.
    Arrival,
    /// A request whose deadline passed in the queue, which the gate has counted as expired.
    Wait,
}

/// The counts of one thread, on a cache line of their own.
#[derive(Default)]
#[repr(align(64))]
struct CounterShard([AtomicU64; 6]);

impl ShardedCounters {
    #[inline]
    pub(super) fn increment(&self, counter: Counter) {
        match self.shards.get(SHARD.get()) {
            Some(CounterShard(counts)) => {
                // A load and a store are enough: no other thread writes this shard.
                let count = &counts[counter as usize];
                count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            }
            None => self.increment_slow(counter),
        }
    }

    /// Takes a shard number, or counts in the shared shard if there is none.
    #[cold]
    #[inline(never)]
    fn increment_slow(&self, counter: Counter) {
        if SHARD.get() == UNASSIGNED {
            SHARD.set(take_shard());
            return self.increment(counter);
        }
        self.shared.0[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(feature = "fleet")]
    pub(super) fn count_unleased(&self, rejection: UnleasedRejection) {
        let UnleasedCounts { tries, arrivals, waits } = &self.unleased;
        let count = match rejection {
            UnleasedRejection::Try => tries,
            UnleasedRejection::Arrival => arrivals,
            UnleasedRejection::Wait => waits,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Moves the rejections for lack of permits in the lease from `expired` to `unleased`, and adds the rejected tries.
    #[cfg(feature = "fleet")]
    pub(super) fn separate_unleased(&self, totals: &mut GateTotals) {
        let UnleasedCounts { tries, arrivals, waits } = &self.unleased;
        let (queue, rejected) = (&mut totals.queue, &mut totals.rejected);
        // The gate counts a rejection before the lease does. Relaxed: this thread may see the second count without the first, hence `min`.
        let arrivals = arrivals.load(Ordering::Relaxed).min(rejected.expired);
        queue.unleased = waits.load(Ordering::Relaxed).min(queue.expired);
        queue.expired = queue.expired.saturating_sub(queue.unleased);
        rejected.expired = rejected.expired.saturating_sub(arrivals);
        rejected.unleased = tries.load(Ordering::Relaxed).saturating_add(arrivals);
    }

    /// Returns the sum over all threads. It can lack an increment that another thread is making at the same time.
    pub(super) fn sum(&self, counter: Counter) -> u64 {
        let shards = self.shards.iter().chain([&self.shared]);
        shards.fold(0, |sum, CounterShard(counts)| {
            sum.wrapping_add(counts[counter as usize].load(Ordering::Relaxed))
        })
    }
}

/// Returns the shard number of this thread, or [`SHARDS`] if it has none and uses a shared shard.
#[inline]
pub(super) fn shard_number() -> usize {
    match SHARD.get() {
        UNASSIGNED => assign_shard(),
        shard => shard.min(SHARDS),
    }
}

#[cold]
#[inline(never)]
fn assign_shard() -> usize {
    SHARD.set(take_shard());
    SHARD.get().min(SHARDS)
}

thread_local! {
    /// The shard number of this thread, [`UNASSIGNED`] or [`SHARED`].
    static SHARD: Cell<usize> = const { Cell::new(UNASSIGNED) };
    /// Gives the shard number back at the end of the thread.
    static SHARD_GUARD: ShardGuard = const { ShardGuard };
}

/// The thread has not counted yet.
const UNASSIGNED: usize = usize::MAX;
/// The thread uses the shared shard.
const SHARED: usize = usize::MAX - 1;

/// Enough for the threads of most programs, at two kilobytes per gate.
pub(super) const SHARDS: usize = 32;

/// The shard numbers in use, one bit each.
static SHARDS_IN_USE: AtomicU64 = AtomicU64::new(0);

fn take_shard() -> usize {
    // The first access registers the guard. At the end of the thread the guard returns the shard, and sets `SHARED`.
    let _ = SHARD_GUARD.try_with(|_| {});
    // Acquire: the counts of the previous owner of the number are visible.
    let in_use = SHARDS_IN_USE.fetch_update(Ordering::Acquire, Ordering::Relaxed, |in_use| {
        let shard = in_use.trailing_ones() as usize;
        (shard < SHARDS).then_some(in_use | 1 << shard)
    });
    in_use.map_or(SHARED, |before| before.trailing_ones() as usize)
}

struct ShardGuard;

impl Drop for ShardGuard {
    fn drop(&mut self) {
        let shard = SHARD.replace(SHARED);
        if shard < SHARDS {
            // Release: the counts are visible to the next owner of the number.
            SHARDS_IN_USE.fetch_and(!(1 << shard), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
    use std::thread;

    use super::*;

    /// Serializes the tests that use many threads, because the number of shards is limited.
    fn serialize() -> MutexGuard<'static, ()> {
        static LOCK: Mutex<()> = Mutex::new(());
        LOCK.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No increment is lost, however many threads count at once, with a shard of their own or without.
    #[test]
    fn no_increment_is_lost() {
        const THREADS: u64 = 80;
        let _serialized = serialize();
        let counters = ShardedCounters::default();
        for round in 1..=3 {
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        for _ in 0..1000 {
                            counters.increment(Counter::Admitted);
                            counters.increment(Counter::Resized);
                        }
                        counters.increment(Counter::NoPermits);
                    });
                }
            });
            let sums = [Counter::Admitted, Counter::NoPermits, Counter::Resized]
                .map(|counter| counters.sum(counter));
            assert_eq!(sums, [1000, 1, 1000].map(|each| each * THREADS * round));
        }
    }

    /// A thread that finds no free shard uses the shared one, and a shard is free again when its thread has ended.
    #[test]
    fn shards_are_returned() {
        const THREADS: usize = 100;
        let _serialized = serialize();
        for _ in 0..2 {
            let (counters, all_here) = (ShardedCounters::default(), Barrier::new(THREADS));
            let take_one = || {
                counters.increment(Counter::Admitted);
                all_here.wait();
                SHARD.get()
            };
            let mut shards: Vec<usize> = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take_one)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            shards.retain(|shard| *shard != SHARED);
            let owners = shards.len();
            assert!((SHARDS / 2..=SHARDS).contains(&owners), "{owners}: other tests have a few");
            shards.sort_unstable();
            shards.dedup();
            assert_eq!(shards.len(), owners, "no two threads have one shard");
            assert_eq!(counters.shared.0[0].load(Ordering::Relaxed), (THREADS - owners) as u64);
            assert_eq!(counters.sum(Counter::Admitted), THREADS as u64);
        }
    }

    /// A thread that ends returns its own shard and no other.
    #[test]
    fn a_shard_is_kept_until_its_thread_ends() {
        let _serialized = serialize();
        let (counters, all_here) = (ShardedCounters::default(), Barrier::new(SHARDS));
        let take_one = || {
            counters.increment(Counter::Admitted);
            SHARD.get()
        };
        let own = take_one();
        thread::scope(|scope| scope.spawn(take_one).join().unwrap());
        let take_and_stay = || {
            let shard = take_one();
            all_here.wait();
            shard
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..SHARDS).map(|_| scope.spawn(take_and_stay)).collect();
            for thread in threads {
                assert!(thread.join().unwrap() != own || own == SHARED, "two threads have shard {own}");
            }
        });
    }

    /// An increment by the destructor of a thread local counts, even after the shard was returned.
    #[test]
    fn increments_at_the_end_of_a_thread_count() {
        struct Late(&'static ShardedCounters);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.increment(Counter::NoPermits);
            }
        }
        thread_local! {
            static LATE: Cell<Option<Late>> = const { Cell::new(None) };
        }
        let counters: &ShardedCounters = Box::leak(Box::default());
        for counts_first in [true, false] {
            let ending = thread::spawn(move || {
                // The thread local that is used first is dropped last.
                LATE.set(Some(Late(counters)));
                if counts_first {
                    counters.increment(Counter::Admitted);
                }
            });
            ending.join().unwrap();
        }
        assert_eq!((counters.sum(Counter::Admitted), counters.sum(Counter::NoPermits)), (1, 2));
    }
}
