//! The state of a gate, and the rules of the exchange.

use std::sync::Arc;
use std::time::Duration;

use crate::plan::Limit;

use super::ask::{Ask, Claim, Fence, Grant, LedgerServer, LimitVersion, Replayed};
use super::entries::{Entries, HolderEntry};
use super::status::{HolderStatus, LedgerStatus};
use super::water::{WantsHistogram, WaterLevel};

/// The state of one gate in a ledger: its limit, its clock, and one entry for each holder.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::Limit;
/// use concurrency_governor::fleet::{Ask, Claim, LeaseTerms, LedgerServer, LedgerState, LimitVersion};
///
/// let [ttl, grace, guard] = [10, 5, 5].map(Duration::from_secs);
/// let terms = LeaseTerms::from_parts(ttl, grace, guard)?;
/// let limit = LimitVersion::configured(Limit::new(24));
/// let ask = |seq| Ask { holder: "a", seq, epoch: 0, held: 0, wants: 30, claim: Claim::Current, terms, limit };
///
/// let mut state = LedgerState::new();
/// // A ledger without state first learns: there may be leases that it has lost.
/// let grant = state.exchange(&ask(1), LedgerServer { now_ms: 0, run: "r1" }).map_err(|_| "replayed")?;
/// assert_eq!((grant.cap, grant.learning), (0, terms.span()));
/// // At each exchange, the clock of the leases advances by at most the guard of 5 s. So the span of 20 s takes four more exchanges.
/// for seq in 2..6 {
///     let now_ms = (seq - 1) * 5000;
///     state.exchange(&ask(seq), LedgerServer { now_ms, run: "r1" }).map_err(|_| "replayed")?;
/// }
/// let grant = state.exchange(&ask(6), LedgerServer { now_ms: 25_000, run: "r1" }).map_err(|_| "replayed")?;
/// assert_eq!(grant.cap, 24);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerState {
    /// 0 if the ledger has no state for the gate.
    epoch: u64,
    /// The server's run when the epoch began.
    run: String,
    /// The server's clock at the last exchange.
    server_ms: u64,
    /// The lease clock, in milliseconds. [`advance_clock`](Self::advance_clock) derives it from the server's clock.
    clock: u64,
    /// The instant of the lease clock until which the ledger learns.
    learning_until: u64,
    /// The longest span, and the shortest guard, of all holders so far.
    span_ms: u64,
    guard_ms: u64,
    limit: Option<LimitVersion>,
    set_by: String,
    /// The number of exchanges.
    exchanges: u64,
    /// The sum of what the entries have granted and reserved.
    granted: u64,
    wants: WantsHistogram,
    entries: Entries,
}

impl LedgerState {
    /// The most entries that one exchange drops, so that a crash of thousands of holders delays no exchange by much.
    pub const MAX_DROPPED: usize = 64;

    /// The most holders for which one exchange reserves permits.
    pub const MAX_SERVED: usize = 8;

    /// Creates the state of a gate that the ledger does not know.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the state of a gate for which no process can have a lease. So the ledger need not learn, and grants immediately.
    #[must_use]
    pub fn without_leases(server: LedgerServer<'_>) -> Self {
        Self {
            epoch: server.now_ms.max(1),
            run: server.run.to_owned(),
            server_ms: server.now_ms,
            guard_ms: u64::MAX,
            ..Self::default()
        }
    }

    /// Makes one exchange at the present time of the server.
    ///
    /// # Errors
    ///
    /// [`Replayed`] if the number of the exchange is not above the last one of this holder. Then nothing has changed.
    pub fn exchange(&mut self, ask: &Ask<'_>, server: LedgerServer<'_>) -> Result<Grant, Replayed> {
        if let Some(entry) = self.entries.get(ask.holder).filter(|entry| ask.seq <= entry.seq) {
            return Err(Replayed { last: entry.seq });
        }
        self.advance_clock(ask, server);
        let limit = self.take_limit(ask.limit);
        self.drop_expired();
        self.exchanges = self.exchanges.saturating_add(1);

        let mut entry = self.entries.get(ask.holder).cloned().unwrap_or_default();
        self.wants.replace(entry.wants, ask.wants);
        let level = self.wants.level(limit.limit.get());
        let full = level.full_share(ask.wants);

        // Subtract the holder's own permits, so that the sum counts the other holders. `room` is what they leave of the limit.
        self.granted = self.granted.saturating_sub(entry.granted.saturating_add(entry.reserved));
        let room = u64::from(limit.limit.get()).saturating_sub(self.granted);
        let held = u64::from(ask.held);
        let mut cap = held.min(room);
        if self.is_learning() {
            // A holder that the ledger does not know could have a lease, so no cap is above its report. After the lapse of this holder, the
            // ledger may have granted its permits to such a holder, so this holder may admit none.
            if ask.claim == Claim::Lapsed {
                cap = 0;
            }
        } else {
            // `room` includes the permits that are reserved for this holder. The holder gets the rest of its share from the queue.
            let unmet = full.saturating_sub(cap).min(room.saturating_sub(cap));
            cap = cap.saturating_add(entry.reserved.min(unmet));
            if cap >= full {
                entry.ticket = 0;
            } else if entry.ticket == 0 {
                entry.ticket = self.exchanges;
            }
        }
        entry.granted = held.max(cap);
        entry.reserved = 0;
        entry.wants = ask.wants;
        entry.seq = ask.seq;
        entry.order = self.exchanges;
        entry.expiry = self.clock.saturating_add(self.span_ms);
        self.granted = self.granted.saturating_add(entry.granted);
        self.entries.store(ask.holder, entry.clone());

        if !self.is_learning() {
            self.serve_queue(level, limit.limit);
            // If this holder was at the head of the queue, it has a reservation now, and receives it with this answer.
            entry = self.entries.get(ask.holder).cloned().unwrap_or(entry);
            cap = cap.saturating_add(entry.reserved);
            entry.granted = entry.granted.saturating_add(std::mem::take(&mut entry.reserved));
        }
        if cap > held {
            entry.grown = self.clock;
        }
        let target = self.target(&entry, level, cap, ask.terms.turn_ms());
        self.entries.store(ask.holder, entry);
        Ok(Grant {
            cap: saturating_u32(cap),
            target: saturating_u32(target),
            fence: Fence { epoch: self.epoch, seq: self.exchanges },
            learning: Duration::from_millis(self.learning_until.saturating_sub(self.clock)),
            limit,
            granted: self.granted,
            holders: u64::try_from(self.entries.len()).unwrap_or(u64::MAX),
        })
    }

    /// Sets the limit for all holders, with a version above the one that the ledger knows. `by` names the operator or the program. Returns
    /// the limit with its version.
    pub fn set_limit(&mut self, limit: Limit, by: &str, server: LedgerServer<'_>) -> LimitVersion {
        let version = self.limit.map_or(0, |limit| limit.version).saturating_add(1).max(server.now_ms);
        let limit = LimitVersion { limit, version };
        self.limit = Some(limit);
        by.clone_into(&mut self.set_by);
        limit
    }

    /// Returns what the ledger knows, for people to read.
    #[must_use]
    pub fn status(&self) -> LedgerStatus {
        let holders = self.entries.iter().map(|(holder, entry)| HolderStatus {
            holder: holder.to_owned(),
            granted: entry.granted,
            reserved: entry.reserved,
            wants: entry.wants,
            seq: entry.seq,
            expires_ms: entry.expiry.saturating_sub(self.clock),
            short_since: entry.ticket,
        });
        LedgerStatus {
            epoch: self.epoch,
            limit: self.limit,
            set_by: self.set_by.clone(),
            learning_ms: self.learning_until.saturating_sub(self.clock),
            exchanges: self.exchanges,
            granted: self.granted,
            holders: holders.collect(),
        }
    }

    /// Returns `true` while the ledger may not know all leases.
    fn is_learning(&self) -> bool {
        self.clock < self.learning_until
    }

    /// Advances the lease clock, takes the terms of the holder, and begins an epoch if the server was restarted or has lost state.
    fn advance_clock(&mut self, ask: &Ask<'_>, server: LedgerServer<'_>) {
        let is_new = self.epoch == 0;
        let growth = ask.terms.span_ms().saturating_sub(self.span_ms);
        self.span_ms = self.span_ms.saturating_add(growth);
        self.guard_ms = if is_new { ask.terms.guard_ms() } else { self.guard_ms.min(ask.terms.guard_ms()) };
        // Only differences of the server's clock count. So a step of that clock, however far, moves the lease clock by at most the
        // guard, once, and a step backwards does not move it.
        let passed = if is_new { 0 } else { server.now_ms.saturating_sub(self.server_ms) };
        self.clock = self.clock.saturating_add(passed.min(self.guard_ms));
        self.server_ms = server.now_ms;
        if is_new || self.run != server.run || ask.epoch > self.epoch {
            // The time of the server makes epochs rise even if the state, and with it the last epoch, was lost. If the clock has also
            // stepped back, the epoch rises once a holder reports a later one.
            self.epoch = self.epoch.max(ask.epoch).saturating_add(1).max(server.now_ms);
            server.run.clone_into(&mut self.run);
            self.learning_until = self.clock.saturating_add(self.span_ms);
        } else if self.is_learning() {
            // A lease that the ledger does not know may have this longer span.
            self.learning_until = self.learning_until.saturating_add(growth);
        }
    }

    /// Sets the limit in force to the newer one of the ledger's and the holder's, and returns it.
    fn take_limit(&mut self, offered: LimitVersion) -> LimitVersion {
        let limit = self.limit.filter(|limit| limit.version >= offered.version).unwrap_or(offered);
        self.limit = Some(limit);
        limit
    }

    /// Drops entries that have expired, oldest first. While the ledger learns, no entry expires: the holder could have renewed its lease
    /// in a state that was lost.
    fn drop_expired(&mut self) {
        for _ in 0..Self::MAX_DROPPED {
            let Some(holder) = self.entries.oldest().map(Arc::clone) else { return };
            let is_expired = |entry: &HolderEntry| entry.expiry <= self.clock;
            if self.is_learning() || !self.entries.get(&holder).is_some_and(is_expired) {
                return;
            }
            if let Some((_, entry)) = self.entries.remove(&holder) {
                self.wants.replace(entry.wants, 0);
                self.granted = self.granted.saturating_sub(entry.granted.saturating_add(entry.reserved));
            }
        }
    }

    /// Reserves the available permits for the holders that have been short of permits for longest.
    fn serve_queue(&mut self, level: WaterLevel, limit: Limit) {
        for _ in 0..Self::MAX_SERVED {
            let room = u64::from(limit.get()).saturating_sub(self.granted);
            let Some(holder) = self.entries.queue_head().filter(|_| room > 0).map(Arc::clone) else { return };
            let Some(entry) = self.entries.get(&holder) else { return };
            let unmet =
                level.full_share(entry.wants).saturating_sub(entry.granted.saturating_add(entry.reserved));
            let given = unmet.min(room);
            let (reserved, ticket) = (entry.reserved.saturating_add(given), entry.ticket);
            self.granted = self.granted.saturating_add(given);
            self.entries.reserve(&holder, reserved, if given == unmet { 0 } else { ticket });
        }
    }

    /// Returns the permits that a holder should have. A permit above the level is kept for one turn, and longer only if no holder is
    /// short.
    fn target(&self, entry: &HolderEntry, level: WaterLevel, cap: u64, turn_ms: u64) -> u64 {
        let full = level.full_share(entry.wants);
        match level {
            WaterLevel::At { level, .. }
                if cap > level
                    && self.entries.queue_head().is_some()
                    && self.clock.saturating_sub(entry.grown) >= turn_ms =>
            {
                full.min(level)
            }
            _ => full,
        }
    }
}

fn saturating_u32(permits: u64) -> u32 {
    u32::try_from(permits).unwrap_or(u32::MAX)
}
