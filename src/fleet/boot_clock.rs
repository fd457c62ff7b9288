//! A clock that does not stop while the host sleeps, on Linux, on the systems of Apple and on Windows. On other systems it can stop.

use std::time::Duration;

#[cfg(all(
    any(target_os = "linux", target_os = "android", target_vendor = "apple"),
    not(fleet_turmoil)
))]
use nix::time::{ClockId, clock_gettime};

/// `std::time::Instant` and `CLOCK_MONOTONIC` stop on Linux while the host sleeps, but a lease must end also then.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(fleet_turmoil)))]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;

/// `std::time::Instant` stops on these systems while the host sleeps. `CLOCK_MONOTONIC` does not.
#[cfg(all(target_vendor = "apple", not(fleet_turmoil)))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// Returns the time since the host was started.
#[cfg(all(any(target_os = "linux", target_os = "android", target_vendor = "apple"), not(fleet_turmoil)))]
pub(super) fn now() -> Duration {
    // Linux has had its clock since 2.6.39. If reading it fails, no lease can be trusted: `Duration::MAX` ends every lease.
    clock_gettime(CLOCK).map_or(Duration::MAX, Duration::from)
}

/// Returns the same time in nanoseconds. Each admission calls it.
#[cfg(all(any(target_os = "linux", target_os = "android", target_vendor = "apple"), not(fleet_turmoil)))]
#[inline]
pub(super) fn now_nanos() -> u64 {
    let nanos = |now: nix::sys::time::TimeSpec| {
        let seconds = u64::try_from(now.tv_sec()).ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(now.tv_nsec()).ok()?)
    };
    clock_gettime(CLOCK).ok().and_then(nanos).unwrap_or(u64::MAX)
}

/// Returns the same time in nanoseconds.
#[cfg(any(fleet_turmoil, not(any(target_os = "linux", target_os = "android", target_vendor = "apple"))))]
pub(super) fn now_nanos() -> u64 {
    u64::try_from(now().as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the time since the first call. `Instant` does not stop on Windows while the host sleeps.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", fleet_turmoil)))]
pub(super) fn now() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;

    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}

/// Returns the time of the simulated host. A crashed host has no time: `Duration::MAX` ends every lease.
#[cfg(fleet_turmoil)]
pub(super) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or(Duration::MAX)
}
