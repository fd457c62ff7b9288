//! A clock that does not stop while the host sleeps.

use std::time::Duration;

/// Returns the time since the host was started. `std::time::Instant` stops on Linux while the host sleeps, but a lease must end also then.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(fleet_turmoil)))]
pub(super) fn now() -> Duration {
    use nix::time::{ClockId, clock_gettime};

    // Linux has had this clock since 2.6.39. If reading it fails, no lease can be trusted: `Duration::MAX` ends every lease.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}

/// Returns the same time in nanoseconds. Each admission calls it.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(fleet_turmoil)))]
#[inline]
pub(super) fn now_nanos() -> u64 {
    use nix::time::{ClockId, clock_gettime};

    let nanos = |now: nix::sys::time::TimeSpec| {
        let seconds = u64::try_from(now.tv_sec()).ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(now.tv_nsec()).ok()?)
    };
    clock_gettime(ClockId::CLOCK_BOOTTIME).ok().and_then(nanos).unwrap_or(u64::MAX)
}

/// Returns the same time in nanoseconds.
#[cfg(any(fleet_turmoil, not(any(target_os = "linux", target_os = "android"))))]
pub(super) fn now_nanos() -> u64 {
    u64::try_from(now().as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the time since the first call.
#[cfg(not(any(target_os = "linux", target_os = "android", fleet_turmoil)))]
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
