//! A clock that is read once per tick of the kernel.

use super::clock;

/// A clock that returns the present instant, or one that is at most one kernel tick older.
///
/// Reading the coarse clock of the kernel, which shows the tick, is several times cheaper than reading the clock: benchmark row `tracked`.
/// On systems other than Linux each call reads the clock.
#[derive(Debug, Default)]
pub(super) struct RecentClock {
    now: i64,
    /// The tick in which `now` was read, or `None` if it must not be used again.
    tick: Option<Tick>,
}

impl RecentClock {
    #[inline]
    pub(super) fn now(&mut self) -> i64 {
        let tick = current_tick();
        if tick.is_none() || tick != self.tick {
            self.read(tick);
        }
        self.now
    }

    #[cold]
    fn read(&mut self, tick: Option<Tick>) {
        let (now, is_virtual) = clock::now_and_whether_virtual();
        // A test may advance a paused clock by hours within one tick.
        (self.now, self.tick) = (now, tick.filter(|_| !is_virtual));
    }
}

/// The time of the last kernel tick. A tick takes 1 to 10 ms, depending on the configuration of the kernel.
#[cfg(target_os = "linux")]
type Tick = nix::sys::time::TimeSpec;

#[cfg(target_os = "linux")]
#[inline]
fn current_tick() -> Option<Tick> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE).ok()
}

#[cfg(not(target_os = "linux"))]
type Tick = ();

#[cfg(not(target_os = "linux"))]
const fn current_tick() -> Option<Tick> {
    None
}

#[cfg(test)]
#[cfg(not(any(gate_loom, gate_shuttle)))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// The instants never decrease, and none is old. A tick takes 10 ms at most, but the CPU that counts it may be suspended by a
    /// hypervisor, so the bound is a second.
    #[test]
    fn no_instant_is_old() {
        let mut recent = RecentClock::default();
        let (start, mut last) = (Instant::now(), i64::MIN);
        while start.elapsed() < Duration::from_millis(50) {
            let before = clock::now();
            let now = recent.now();
            assert!(
                now >= last && now >= before.saturating_sub(1_000_000_000),
                "{now} after {before}, {last}"
            );
            last = now;
        }
    }

    /// A paused clock is read each time, because it can be advanced by any duration.
    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_is_read_each_time() {
        let mut recent = RecentClock::default();
        std::thread::sleep(Duration::from_millis(1)); // so the real clock differs from the paused one
        for _ in 0..1000 {
            assert_eq!(recent.now(), clock::now());
            tokio::time::advance(Duration::from_secs(31)).await;
        }
    }
}
