//! The state of a holder's lease: what it may admit and until when, and what it reports.
//!
//! It has no clock and sends nothing. Instants are durations since any fixed moment of a clock that does not stop while the host
//! sleeps, such as `CLOCK_BOOTTIME`.

use std::time::Duration;

use super::step::{Ask, Claim, Fence, Grant, LeaseTerms, LimitVersion};

/// The lease of one holder.
///
/// The caller makes an exchange in this order: read the clock, set the limit of its gate to [`cap`](Self::cap), read the permits in use,
/// call [`begin`](Self::begin), send the [`Ask`], call [`finish`](Self::finish) or [`fail`](Self::fail), and set the limit of its gate to
/// the new cap. So the report counts every permit that was admitted before the deadline.
///
/// The caller admits a request in this order: take the permit, read the clock, and give the permit back if
/// [`is_valid`](Self::is_valid) is `false`.
#[derive(Clone, Debug)]
pub struct Lease {
    holder: String,
    terms: LeaseTerms,
    limit: LimitVersion,
    fence: Fence,
    cap: u32,
    deadline: Duration,
    phase: LeasePhase,
    /// The number of the last exchange, when it was sent, and whether its answer is awaited.
    seq: u64,
    sent: Duration,
    is_in_flight: bool,
    /// The permits that the ledger counts as granted since the last exchange: what it reported, or the cap of its answer.
    reported: u32,
    wanted: u32,
    /// The time to the next exchange while more permits are wanted than the cap, or the ledger does not answer.
    pace: Duration,
    failures: u32,
}

/// The phase of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeasePhase {
    /// The holder has never had an answer. It admits nothing.
    Unleased,
    /// The ledger has granted permits until the deadline.
    Leased,
    /// The ledger does not know all leases yet. It renews leases and grants nothing new.
    Learning,
    /// The deadline has passed without an answer. The holder admits nothing, and its permits in use drain.
    Draining,
}

impl Lease {
    /// The shortest time between two exchanges of a holder, unless a third of the `ttl` is shorter.
    pub const SHORTEST_PACE: Duration = Duration::from_millis(100);

    /// Creates the lease of a holder that has made no exchange yet. `holder` is a text that no other process uses.
    pub fn new(holder: impl Into<String>, terms: LeaseTerms, limit: LimitVersion) -> Self {
        Self {
            holder: holder.into(),
            terms,
            limit,
            fence: Fence::default(),
            cap: 0,
            deadline: Duration::ZERO,
            phase: LeasePhase::Unleased,
            seq: 0,
            sent: Duration::ZERO,
            is_in_flight: false,
            reported: 0,
            wanted: 0,
            pace: Self::SHORTEST_PACE,
            failures: 0,
        }
    }

    /// Returns the number of permits that may be in use until the deadline. It is 0 before the first answer. After a lower grant, it can
    /// be less than the permits in use: then nothing is admitted until enough work has ended. It does not change at the deadline, but
    /// then [`is_valid`](Self::is_valid) is `false`.
    #[must_use]
    pub fn cap(&self) -> u32 {
        self.cap
    }

    /// Returns whether a permit that was taken before `now` counts as admitted.
    #[must_use]
    pub fn is_valid(&self, now: Duration) -> bool {
        now < self.deadline
    }

    /// Returns the instant from which on nothing is admitted: when the last answered exchange was sent, plus the `ttl`, less 1 % and
    /// 10 ms.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Returns the phase at an instant.
    #[must_use]
    pub fn phase(&self, now: Duration) -> LeasePhase {
        if self.phase != LeasePhase::Unleased && !self.is_valid(now) {
            LeasePhase::Draining
        } else {
            self.phase
        }
    }

    /// Returns the fence of the last answer.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Returns the limit of the fleet, as far as the holder knows it.
    #[must_use]
    pub fn limit(&self) -> LimitVersion {
        self.limit
    }

    /// Returns how many exchanges in a row have failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Begins an exchange at `now`. `in_use` is the number of permits in use, read after the clock. `wants` is the demand: the permits in
    /// use, and those of the requests that wait.
    ///
    /// An exchange that is still in flight is given up: its answer will be ignored.
    pub fn begin(&mut self, now: Duration, in_use: u32, wants: u32) -> Ask<'_> {
        let claim = match self.phase(now) {
            LeasePhase::Draining => {
                // Another process may have been granted the permits by now. Only what is still in use is reported.
                self.cap = 0;
                Claim::Lapsed
            }
            _ => Claim::Current,
        };
        self.seq = self.seq.saturating_add(1);
        self.sent = now;
        self.is_in_flight = true;
        self.reported = in_use.max(self.cap);
        self.wanted = wants;
        Ask {
            holder: &self.holder,
            seq: self.seq,
            epoch: self.fence.epoch,
            held: self.reported,
            wants,
            claim,
            terms: self.terms,
            limit: self.limit,
        }
    }

    /// Lowers the cap to `most`, if it is above. The caller must lower the limit of its gate before the next [`begin`](Self::begin), which
    /// reports the difference as returned.
    pub fn lower_cap(&mut self, most: u32) {
        self.cap = self.cap.min(most);
    }

    /// Gives up the lease: the next exchange returns all permits but those in use.
    pub fn give_up(&mut self) {
        self.cap = 0;
        self.deadline = Duration::ZERO;
    }

    /// Applies the answer to the exchange with the number `seq`. Returns `false`, and changes nothing, if a later exchange has begun or
    /// this one has already ended.
    pub fn finish(&mut self, seq: u64, grant: &Grant) -> bool {
        if seq != self.seq || !self.is_in_flight {
            return false;
        }
        self.is_in_flight = false;
        self.failures = 0;
        // A lower cap takes effect now, before the next exchange reports it. Until that report, the ledger counts the permits as granted.
        let cap = grant.cap.min(grant.target);
        // The interval grows after an exchange that leaves the holder short and does not raise the cap. It also grows once the holder has
        // its fair share, because more is granted only after other holders want less. Otherwise, when a ledger has learnt, all holders of
        // a fleet would make several exchanges in the same seconds. A holder that has what it wants does not use the interval, so the
        // first exchange after a failure must follow soon.
        let grows_further = cap > self.cap && cap < grant.target;
        let is_short = self.wanted > cap;
        self.pace = if is_short && !grows_further { self.slower_pace() } else { Self::SHORTEST_PACE };
        self.cap = cap;
        self.reported = self.reported.max(grant.cap);
        self.fence = grant.fence;
        self.limit = grant.limit;
        self.deadline = self.sent.saturating_add(self.terms.ttl()).saturating_sub(self.margin());
        self.phase = if grant.learning.is_zero() { LeasePhase::Leased } else { LeasePhase::Learning };
        true
    }

    /// Notes that the exchange with the number `seq` has failed or has taken too long. The lease stays valid until its deadline.
    pub fn fail(&mut self, seq: u64) {
        if seq == self.seq && self.is_in_flight {
            self.is_in_flight = false;
            self.failures = self.failures.saturating_add(1);
            self.pace = self.slower_pace();
        }
    }

    /// Returns the instant at which the next exchange is due, for these permits in use and this demand. Returns `None` while an exchange
    /// is in flight.
    ///
    /// The first exchange is due immediately. Each later one is due a third of the `ttl` after the one before, and earlier in two cases:
    ///
    /// - If permits can be returned, or the demand is above the cap and has risen, the interval is
    ///   [`SHORTEST_PACE`](Self::SHORTEST_PACE), or a third of the `ttl` if that is shorter.
    /// - Otherwise, if the demand is above the cap or the last exchange has failed, the interval starts at the same value. It doubles after
    ///   each exchange that fails, that does not raise the cap, or that grants the whole fair share. It starts again once the cap covers
    ///   the demand.
    #[must_use]
    pub fn next_exchange(&self, in_use: u32, wants: u32) -> Option<Duration> {
        if self.is_in_flight {
            return None;
        }
        let returns = in_use.max(self.cap) < self.reported;
        let wait = if self.seq == 0 {
            Duration::ZERO
        } else if returns || (wants > self.wanted && wants > self.cap) {
            Self::SHORTEST_PACE.min(self.longest_pace())
        } else if wants > self.cap || self.failures > 0 {
            self.pace.min(self.longest_pace())
        } else {
            self.longest_pace()
        };
        Some(self.sent.saturating_add(wait))
    }

    fn longest_pace(&self) -> Duration {
        self.terms.ttl().checked_div(3).unwrap_or_default()
    }

    fn slower_pace(&self) -> Duration {
        self.pace.saturating_mul(2).min(self.longest_pace()).max(Self::SHORTEST_PACE)
    }

    /// Returns by how much the deadline comes before the end of the `ttl`: clocks of two hosts differ in rate, and the ledger counts
    /// whole milliseconds.
    fn margin(&self) -> Duration {
        self.terms.ttl().checked_div(100).unwrap_or_default().saturating_add(Duration::from_millis(10))
    }
}
