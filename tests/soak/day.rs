//! The day that all lanes live through, its trace and its dice.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The day of all lanes.
pub(super) struct Day {
    pub(super) start: Instant,
    pub(super) trace: Mutex<Trace>,
}

impl Day {
    pub(super) fn is_on(&self) -> bool {
        self.start.elapsed() < DAY
    }

    /// From 0 at midnight to 1000 at noon and back.
    pub(super) fn rush(&self) -> u64 {
        let minute = self.start.elapsed().as_secs() / 60 % 1440;
        minute.min(1440 - minute) * 1000 / 720
    }
}

/// Everything that happened, in order (FNV-1a).
pub(super) struct Trace {
    pub(super) hash: u64,
    pub(super) events: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0 }
    }
}

impl Trace {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// xorshift64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    /// This on average, mostly less, and now and then eight times as much.
    pub(super) fn about(&mut self, mean: u64) -> u64 {
        let scale = if self.below(16) == 0 { 8 * mean } else { mean };
        1 + (self.below(scale) + self.below(scale)) * 2 / 3
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}

/// Who was let in last: at this instant, and at any before. Callers have their numbers in the order in which they come.
#[derive(Default)]
pub(super) struct Order {
    instant: Option<Instant>,
    now: u64,
    before: u64,
}

impl Order {
    /// Whoever is let in came after all who were let in at an earlier instant, for each of them would have stood behind.
    /// At the same instant it is the runtime who says which of them goes on first.
    pub(super) fn let_in(&mut self, id: u64, instant: Instant) {
        if self.instant.replace(instant) != Some(instant) {
            self.before = self.before.max(self.now);
        }
        assert!(id > self.before, "{id} was passed by {}", self.before);
        self.now = self.now.max(id);
    }
}

/// 2^64 / phi: seeds far apart.
pub(super) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
