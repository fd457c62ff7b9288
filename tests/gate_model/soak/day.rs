//! The virtual day that all workloads share, its event trace, and random numbers.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::runner::GOLDEN_RATIO;

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The day of all workloads.
pub(super) struct VirtualDay {
    pub(super) start: Instant,
    pub(super) trace: Mutex<EventTrace>,
}

impl VirtualDay {
    pub(super) fn is_running(&self) -> bool {
        self.start.elapsed() < DAY
    }

    /// Returns the load at this time of day: 0 at midnight, 1000 at noon, linear in between.
    pub(super) fn load(&self) -> u64 {
        let minute = self.start.elapsed().as_secs() / 60 % 1440;
        minute.min(1440 - minute) * 1000 / 720
    }
}

/// The hash of all events in their order (FNV-1a), and their number.
pub(super) struct EventTrace {
    pub(super) hash: u64,
    pub(super) events: u64,
}

impl Default for EventTrace {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0 }
    }
}

impl EventTrace {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// A xorshift64 generator.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(GOLDEN_RATIO) | 1) // the state must not be 0
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    /// Returns a random number with about this mean. One time in 16 its range is eight times as wide.
    pub(super) fn about(&mut self, mean: u64) -> u64 {
        let scale = if self.below(16) == 0 { 8 * mean } else { mean };
        1 + (self.below(scale) + self.below(scale)) * 2 / 3
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

/// Checks that callers are admitted in the order of their numbers, which is the order of their arrival.
#[derive(Default)]
pub(super) struct AdmissionOrder {
    /// The instant of the latest admission.
    instant: Option<Instant>,
    /// The largest number admitted at that instant.
    largest_now: u64,
    /// The largest number admitted before that instant.
    largest_before: u64,
}

impl AdmissionOrder {
    /// Checks that a caller arrived after every caller that was admitted at an earlier instant. Callers that
    /// are admitted at the same instant may resume in any order, which the runtime decides.
    pub(super) fn check_admitted(&mut self, id: u64, instant: Instant) {
        if self.instant.replace(instant) != Some(instant) {
            self.largest_before = self.largest_before.max(self.largest_now);
        }
        assert!(
            id > self.largest_before,
            "caller {id} was admitted later than caller {}, which arrived after it",
            self.largest_before
        );
        self.largest_now = self.largest_now.max(id);
    }
}
