//! What is counted without the lock: by each thread for itself, so that no count costs an atomic change or takes a cache
//! line from another thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    Admitted = 0,
    Refused = 1,
    Resized = 2,
}

/// The counts of one gate.
///
/// Each thread has a seat, and writes the row of that seat alone. Whoever has no seat shares the last row.
#[derive(Default)]
pub(super) struct Tally {
    rows: [Row; SEATS],
    shared: Row,
}

/// One thread's counts, on a cache line of their own.
#[derive(Default)]
#[repr(align(64))]
struct Row([AtomicU64; 3]);

impl Tally {
    #[inline]
    pub(super) fn count(&self, what: Count) {
        match self.rows.get(SEAT.get()) {
            Some(Row(counts)) => {
                // Not an atomic change: nobody else writes it.
                let count = &counts[what as usize];
                count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            }
            None => self.count_seated(what),
        }
    }

    /// Counts for a thread that has looked for a seat by then.
    #[cold]
    #[inline(never)]
    fn count_seated(&self, what: Count) {
        if SEAT.get() == UNKNOWN {
            SEAT.set(take_seat());
            return self.count(what);
        }
        self.shared.0[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What all threads have counted, of those that are not counting just now.
    pub(super) fn sum(&self, what: Count) -> u64 {
        let rows = self.rows.iter().chain([&self.shared]);
        rows.fold(0, |sum, Row(counts)| sum.wrapping_add(counts[what as usize].load(Ordering::Relaxed)))
    }

    /// Forgets everything: for a gate that nobody has yet.
    pub(super) fn clear(&self) {
        let rows = self.rows.iter().chain([&self.shared]);
        rows.flat_map(|Row(counts)| counts).for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

thread_local! {
    /// This thread's seat, or one of the two that are no row.
    static SEAT: Cell<usize> = const { Cell::new(UNKNOWN) };
    /// Gives the seat back when the thread ends.
    static HOLD: Hold = const { Hold };
}

/// Of a thread that has not counted yet.
const UNKNOWN: usize = usize::MAX;
/// Of a thread that has no seat.
const NO_SEAT: usize = usize::MAX - 1;

/// Enough for the threads of most programs, at two kilobytes a gate.
const SEATS: usize = 32;

/// Which seats are taken, as bits.
static TAKEN: AtomicU64 = AtomicU64::new(0);

fn take_seat() -> usize {
    // That is all it takes to be dropped at the end of the thread. After that the thread has no seat, and looks for none.
    let _ = HOLD.try_with(|_| {});
    // Acquire: what whoever had it before has written is there.
    let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| {
        let seat = taken.trailing_ones() as usize;
        (seat < SEATS).then_some(taken | 1 << seat)
    });
    taken.map_or(NO_SEAT, |before| before.trailing_ones() as usize)
}

struct Hold;

impl Drop for Hold {
    fn drop(&mut self) {
        let seat = SEAT.replace(NO_SEAT);
        if seat < SEATS {
            // Release: what was written from it is there for whoever has it next.
            TAKEN.fetch_and(!(1 << seat), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
    use std::thread;

    use super::*;

    /// One test with many threads at a time, since there are no more seats than there are.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// However many threads count at once, with seats and without, no count is lost.
    #[test]
    fn nothing_is_lost_between_threads() {
        const THREADS: u64 = 80;
        let _alone = alone();
        let tally = Tally::default();
        for round in 1..=3 {
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        for _ in 0..1000 {
                            tally.count(Count::Admitted);
                            tally.count(Count::Resized);
                        }
                        tally.count(Count::Refused);
                    });
                }
            });
            let sums = [Count::Admitted, Count::Refused, Count::Resized].map(|what| tally.sum(what));
            assert_eq!(sums, [1000, 1, 1000].map(|each| each * THREADS * round));
        }
        tally.clear();
        assert_eq!(tally.sum(Count::Admitted), 0);
    }

    /// A thread that finds no seat shares the last row, and a seat is free again once its thread has ended.
    #[test]
    fn seats_are_given_back() {
        const THREADS: usize = 100;
        let _alone = alone();
        for _ in 0..2 {
            let (tally, all_here) = (Tally::default(), Barrier::new(THREADS));
            let take_one = || {
                tally.count(Count::Admitted);
                all_here.wait();
                SEAT.get()
            };
            let mut seats: Vec<usize> = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(take_one)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            seats.retain(|seat| *seat != NO_SEAT);
            let seated = seats.len();
            assert!((SEATS / 2..=SEATS).contains(&seated), "{seated}: a few are other tests'");
            seats.sort_unstable();
            seats.dedup();
            assert_eq!(seats.len(), seated, "no two in one seat");
            assert_eq!(tally.shared.0[0].load(Ordering::Relaxed), (THREADS - seated) as u64);
            assert_eq!(tally.sum(Count::Admitted), THREADS as u64);
        }
    }

    /// A thread that ends gives back its own seat, and nobody else's.
    #[test]
    fn seats_are_kept_until_the_end() {
        let _alone = alone();
        let (tally, all_here) = (Tally::default(), Barrier::new(SEATS));
        let take_one = || {
            tally.count(Count::Admitted);
            SEAT.get()
        };
        let mine = take_one();
        thread::scope(|scope| scope.spawn(take_one).join().unwrap());
        let take_and_stay = || {
            let seat = take_one();
            all_here.wait();
            seat
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..SEATS).map(|_| scope.spawn(take_and_stay)).collect();
            for thread in threads {
                assert!(thread.join().unwrap() != mine || mine == NO_SEAT, "{mine} was another's, too");
            }
        });
    }

    /// What counts while its thread ends, after the seat was given back, is counted all the same.
    #[test]
    fn the_end_of_a_thread_is_counted() {
        struct Late(&'static Tally);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.count(Count::Refused);
            }
        }
        thread_local! {
            static LATE: Cell<Option<Late>> = const { Cell::new(None) };
        }
        let tally: &Tally = Box::leak(Box::new(Tally::default()));
        for counts_first in [true, false] {
            let ending = thread::spawn(move || {
                // What is first used is last dropped.
                LATE.set(Some(Late(tally)));
                if counts_first {
                    tally.count(Count::Admitted);
                }
            });
            ending.join().unwrap();
        }
        assert_eq!((tally.sum(Count::Admitted), tally.sum(Count::Refused)), (1, 2));
    }
}
