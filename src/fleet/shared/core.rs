//! What the handles of a shared gate share with the thread that renews its lease.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::mem;
use std::pin::pin;
use std::sync::atomic::{self, AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::gate::{Gate, Histogram, Resize, WakeList};
use crate::plan::{LeaseState, Limit, Unreachable};

use super::block_return::BlockReturn;
use super::leased_items::LeasedItems;
use super::status::{SharedStatus, Unleased};
use crate::fleet::boot_clock;
use crate::fleet::lease::{Lease, LeasePhase};
use crate::fleet::ledger::LedgerError;
use crate::fleet::step::{Ask, Fence, Grant, LeaseTerms, LimitVersion};

/// What the handles share with the thread that renews the lease.
pub(in crate::fleet) struct SharedCore {
    /// The local gate, which may have children and keys. Its limit is the block. A limit is at least 1, so the gate is paused while the block
    /// is 0.
    gate: Gate,
    /// The name of the gate in the ledger.
    name: String,
    /// The block, for the items of pools.
    block: AtomicU32,
    /// The lower one of the limit of the fleet, as far as it is known, and the local limit.
    weight_bound: AtomicU32,
    /// The weights of the requests that wait.
    waiting: AtomicU64,
    /// The deadline of the lease in nanoseconds of the boot clock.
    deadline: AtomicU64,
    policy: Unreachable,
    /// Whether permits may be in use without a lease now, by the policy.
    is_free: AtomicBool,
    /// How many.
    free: AtomicU32,
    /// Whether the ledger waits for permits that this process still uses.
    wants_returns: AtomicBool,
    is_stopped: AtomicBool,
    /// Wakes the thread.
    kick: Notify,
    /// How often a lease has ended, and a notification of it.
    lapses: AtomicU64,
    lapsed: Notify,
    /// Notified when the ledger has confirmed that it has the block back for good.
    left: Notify,
    /// Notified when the state of the lease or the limit of the fleet has changed. The shares of a governor have it together.
    changes: Arc<Notify>,
    state: Mutex<SharedState>,
}

struct SharedState {
    lease: Lease,
    /// The most permits that this process asks for.
    local_limit: Limit,
    /// Items that count as held, also while no permit is in use for them.
    items: Vec<Weak<dyn LeasedItems>>,
    leave: LeavePhase,
    /// Whether the end of the lease has been noted.
    has_lapsed: bool,
    /// Whether an operator has paused the gate.
    is_paused: bool,
    /// Whether the local gate is paused: by an operator, or because the block is 0.
    has_paused_gate: bool,
    /// What the last exchange asked for.
    wanted: u32,
    exchanges: u64,
    failed_exchanges: u64,
    /// How long the exchanges took that were answered.
    exchange_times: Histogram,
    last_error: Option<String>,
    /// Since when there are no permits from the ledger, on the boot clock. `None` if there are some.
    unleased_since: Option<Duration>,
    /// What `changes` was notified of last.
    announced: (LeaseState, LimitVersion),
    /// The last leases that have ended, by their number, each with its last fence.
    ended: VecDeque<(u64, Fence)>,
}

/// How far the process has left its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeavePhase {
    Staying,
    /// The gate is closed. The block is returned once nothing is in use.
    Leaving,
    /// The exchange with this number returns the block. If it fails, there is another one.
    Returning(u64),
    /// The ledger has the block.
    Left,
}

/// What the next exchange reports.
struct Demand {
    /// The permits in use, or the live items if there are more, without what is reserved.
    held: u32,
    wants: u32,
    /// Whether the exchange returns the block for good.
    returns_all: bool,
}

impl SharedCore {
    /// Puts a gate on a share. The gate is new, and the root of its tree if it has one. Its limit becomes the local limit: the most that
    /// this process asks for. It has no lease yet.
    pub(in crate::fleet) fn new(
        gate: Gate,
        name: String,
        terms: LeaseTerms,
        limit: Limit,
        policy: Unreachable,
        changes: Arc<Notify>,
    ) -> Self {
        let local_limit = gate.resize(Limit::MIN).from;
        let lease = Lease::new(holder_name(), terms, LimitVersion::configured(limit));
        let core = Self {
            policy,
            is_free: AtomicBool::new(false),
            free: AtomicU32::new(0),
            gate,
            name,
            block: AtomicU32::new(0),
            weight_bound: AtomicU32::new(limit.min(local_limit).get()),
            waiting: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            wants_returns: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            kick: Notify::new(),
            lapses: AtomicU64::new(0),
            lapsed: Notify::new(),
            left: Notify::new(),
            changes,
            state: Mutex::new(SharedState {
                lease,
                local_limit,
                items: Vec::new(),
                leave: LeavePhase::Staying,
                has_lapsed: false,
                is_paused: false,
                has_paused_gate: false,
                wanted: 0,
                exchanges: 0,
                failed_exchanges: 0,
                exchange_times: Histogram::default(),
                last_error: None,
                unleased_since: Some(boot_clock::now()),
                announced: (LeaseState::Starting, LimitVersion::configured(limit)),
                ended: VecDeque::new(),
            }),
        };
        // What is reserved needs no answer of the ledger. The gate is new, so no request waits.
        let mut state = core.lock();
        let wake_lists = [core.apply_block(&mut state), core.free_if_allowed(&mut state)];
        drop(state);
        drop(wake_lists);
        core
    }

    /// Returns the local gate.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Returns the largest weight that a gate of the lease can admit, as far as it is known. Relaxed: a limit that is about to change could
    /// as well change after the request that asks.
    pub(super) fn weight_bound_at(&self, gate: &Gate) -> Limit {
        let bound = Limit::saturating(self.weight_bound.load(Ordering::Relaxed).into());
        // The caps of keys follow the block, and so does the limit of the gate of the lease itself.
        if gate.as_key().is_some() || gate.name() == self.gate.name() {
            bound
        } else {
            bound.min(gate.limit())
        }
    }

    /// Returns the most permits that this process asks for.
    pub(super) fn local_limit(&self) -> Limit {
        self.lock().local_limit
    }

    /// Sets the most permits that this process asks for. Permits above it are returned to the ledger as work ends. The caller drops the
    /// list after it has released its locks.
    pub(super) fn set_local_limit(&self, limit: Limit) -> (Resize, WakeList) {
        let mut state = self.lock();
        let from = mem::replace(&mut state.local_limit, limit);
        state.lease.lower_cap(limit.get().saturating_sub(self.reserved()));
        // A local limit is at least 1, so a block stays 0, or stays above it: the gate is neither paused nor resumed.
        let BlockWakeups { resize: wake_list, .. } = self.apply_block(&mut state);
        let debt = self.in_use().saturating_sub(limit.get());
        drop(state);
        // The thread asks for more, or returns the rest.
        self.kick();
        (Resize { from, to: limit, debt }, wake_list)
    }

    pub(super) fn status(&self) -> SharedStatus {
        let state = self.lock();
        let (local, now) = (self.gate.status(), boot_clock::now());
        let in_use = local.in_use;
        SharedStatus {
            gate: local.name,
            name: self.name.clone(),
            in_use,
            waiting: local.waiting,
            local_limit: state.local_limit,
            cap: if state.lease.is_valid(now) { state.lease.cap() } else { 0 },
            state: lease_state(&state, in_use, now),
            remaining: state.lease.deadline().saturating_sub(now),
            without_lease: if self.is_free.load(Ordering::Relaxed) {
                self.free.load(Ordering::Relaxed)
            } else {
                self.reserved()
            },
            limit: state.lease.limit(),
            fence: state.lease.fence(),
            exchanges: state.exchanges,
            failed_exchanges: state.failed_exchanges,
            exchange_times: state.exchange_times.clone(),
            failures: state.lease.failures(),
            last_error: state.last_error.clone(),
        }
    }

    /// Pauses the gate until [`resume`](Self::resume), also with a lease.
    pub(super) fn pause(&self) {
        self.set_pause(|state| state.is_paused = true);
    }

    /// Ends a pause by [`pause`](Self::pause). The gate stays paused while the block is 0.
    pub(super) fn resume(&self) {
        self.set_pause(|state| state.is_paused = false);
        self.kick(); // the thread asks for what waits
    }

    fn set_pause(&self, change: impl FnOnce(&mut SharedState)) {
        let mut state = self.lock();
        change(&mut state);
        let wake_lists = self.apply_block(&mut state);
        drop(state);
        drop(wake_lists);
    }

    /// Wakes the thread.
    pub(super) fn kick(&self) {
        self.kick.notify_one();
    }

    /// Tells the thread that the gate ends. Relaxed: the notification orders it before the thread reads it.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.kick();
    }

    /// Notes that a permit was returned, and wakes the thread for the first one after an exchange: it then reports all of them, as soon as
    /// the next exchange may be made. Relaxed: a missed flag delays its report to the next renewal.
    #[inline]
    pub(super) fn note_return(&self) {
        if self.wants_returns.load(Ordering::Relaxed) && self.wants_returns.swap(false, Ordering::Relaxed) {
            self.kick();
        }
    }

    /// Counts items as held from now on, until they are dropped.
    pub(super) fn add_items(&self, items: Weak<dyn LeasedItems>) {
        let mut state = self.lock();
        state.items.retain(|items| items.strong_count() > 0);
        state.items.push(items);
        drop(state);
        self.kick();
    }

    /// Notes that items were dropped, or that others are wanted.
    pub(super) fn note_items(&self) {
        self.kick();
    }

    /// Returns how many items may be live now: the permits of the block, and none without a lease.
    pub(super) fn item_limit(&self) -> u32 {
        // SeqCst: the caller counts an item first, and then looks here. `apply_block` and `demand` do it the other way round, so either the
        // report counts the item, or the caller sees the lower block.
        let block = self.block.load(Ordering::SeqCst);
        if self.allows_no_lease() || self.is_valid() { block } else { self.reserved().min(block) }
    }

    /// Closes the gate, and has the thread return the block once nothing is in use.
    pub(super) fn begin_leave(&self) {
        // First: what is not in use once nothing waits is then not in use for good.
        self.gate.close_after_queue();
        let mut state = self.lock();
        if state.leave == LeavePhase::Staying {
            state.leave = LeavePhase::Leaving;
        }
        drop(state);
        self.kick();
    }

    /// Waits until the ledger has confirmed that it has the block back for good.
    pub(super) async fn wait_until_left(&self) {
        loop {
            // Registered before the state is read, so that no notification is missed.
            let mut notified = pin!(self.left.notified());
            notified.as_mut().enable();
            if self.has_left() {
                return;
            }
            notified.await;
        }
    }

    fn has_left(&self) -> bool {
        self.lock().leave == LeavePhase::Left
    }

    /// Returns what has become of the block.
    pub(super) fn block_return(&self) -> BlockReturn {
        let state = self.lock();
        let permits = self.in_use().max(live_items(&state));
        match state.leave {
            LeavePhase::Left => BlockReturn::Confirmed,
            _ if permits > 0 => BlockReturn::InUse { permits },
            _ => BlockReturn::Unconfirmed { problem: state.last_error.clone() },
        }
    }

    /// Returns how often a lease has ended.
    #[inline]
    pub(super) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Acquire)
    }

    /// Returns the last fence of a lease, by the number of leases that had ended before it.
    pub(super) fn fence_of(&self, lapses: u64) -> Fence {
        let state = self.lock();
        match state.ended.iter().find(|(number, _)| *number == lapses) {
            Some((_, fence)) => *fence,
            None if self.lapses() == lapses => state.lease.fence(),
            // It ended so long ago that any other fence is higher.
            None => Fence::default(),
        }
    }

    /// Waits until a lease has ended.
    pub(super) async fn wait_for_lapse(&self, lapses: u64) {
        loop {
            // Registered before the count is read, so that no notification is missed.
            let mut notified = pin!(self.lapsed.notified());
            notified.as_mut().enable();
            if self.lapses() != lapses {
                return;
            }
            notified.await;
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns `true` if the thread has nothing more to do: the last handle and permit are gone, or the process has left its fleet.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopped() || self.has_left()
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Waits until a handle has something for the thread.
    pub(super) async fn kicked(&self) {
        self.kick.notified().await;
    }

    /// Returns how long the thread may sleep: until the next exchange, or until the lease ends.
    pub(super) fn idle_time(&self) -> Duration {
        let state = self.lock();
        let (Demand { held, wants, .. }, now) = (self.demand(&state), boot_clock::now());
        let next = state.lease.next_exchange(held, wants).unwrap_or(now);
        let deadline = state.lease.deadline();
        let next = if deadline > now { next.min(deadline) } else { next };
        next.saturating_sub(now)
    }

    /// Begins an exchange if one is due. At the end of the gate the last exchange returns everything.
    pub(super) fn begin(&self) -> Option<PendingExchange> {
        let mut state = self.lock();
        let now = boot_clock::now();
        atomic::fence(Ordering::SeqCst);
        let Demand { mut held, wants, returns_all } = self.demand(&state);
        let next = state.lease.next_exchange(held, wants)?;
        // The block is returned at once, if that does not repeat an exchange that has failed.
        let is_due = next <= now || returns_all && !matches!(state.leave, LeavePhase::Returning(_));
        if !is_due {
            return None;
        }
        state.wanted = wants;
        if returns_all {
            state.lease.give_up();
            // A pool may begin to create an item until it sees the end of the lease, and counts the item before it looks.
            self.deadline.store(0, Ordering::SeqCst);
            atomic::fence(Ordering::SeqCst);
            held = self.demand(&state).held;
        }
        let ask = PendingExchange::of(&state.lease.begin(now, held, wants));
        if returns_all && held == 0 && state.leave != LeavePhase::Staying {
            state.leave = LeavePhase::Returning(ask.seq());
        }
        Some(ask)
    }

    /// Returns what an exchange would report now.
    fn demand(&self, state: &SharedState) -> Demand {
        // First: the gate of a process that leaves is closed, so nothing more is admitted once nothing waits.
        let may_return = state.leave != LeavePhase::Staying && self.gate.waiting() == 0;
        let in_use = self.in_use();
        let used = in_use.max(live_items(state));
        let returns_all = self.is_stopped() || may_return && used == 0;
        let wants = if returns_all { 0 } else { self.wants(state, in_use) };
        Demand { held: used.saturating_sub(self.reserved()), wants, returns_all }
    }

    /// Takes the answer of the ledger, which has come after `took`.
    pub(super) fn finish(&self, seq: u64, answer: Result<Grant, LedgerError>, took: Duration) {
        // Wakers are called after the lock is released.
        let mut wake_lists = Vec::new();
        let mut state = self.lock();
        match answer {
            Ok(grant) => {
                if !state.lease.finish(seq, &grant) {
                    return;
                }
                if state.leave == LeavePhase::Returning(seq) {
                    state.leave = LeavePhase::Left;
                }
                // The local limit may have fallen since the exchange has begun.
                let local_limit = state.local_limit;
                state.lease.lower_cap(local_limit.get().saturating_sub(self.reserved()));
                // Before the block is applied: a request that finds the gate free no longer counts as admitted by the policy.
                self.is_free.store(false, Ordering::Release);
                state.exchanges = state.exchanges.saturating_add(1);
                state.exchange_times.record(took);
                state.last_error = None;
                state.has_lapsed = false;
                let cap = state.lease.cap();
                state.unleased_since = match cap {
                    0 => state.unleased_since.or_else(|| Some(boot_clock::now())),
                    _ => None,
                };
                // A lower block counts before the deadline is extended, and a higher one after it.
                if self.block(&state) < self.gate.limit().get() {
                    wake_lists.push(self.apply_block(&mut state));
                }
                let deadline = u64::try_from(state.lease.deadline().as_nanos()).unwrap_or(u64::MAX);
                // Release pairs with the Acquire in `is_valid`: a request that sees the deadline sees the lower block.
                self.deadline.store(deadline, Ordering::Release);
                wake_lists.push(self.apply_block(&mut state));
                let Demand { held, .. } = self.demand(&state);
                self.wants_returns.store(held > cap || grant.target < grant.cap, Ordering::Relaxed);
            }
            Err(error) => {
                state.lease.fail(seq);
                state.failed_exchanges = state.failed_exchanges.saturating_add(1);
                state.last_error = Some(format!("{error:?}"));
                wake_lists.push(self.free_if_allowed(&mut state));
            }
        }
        self.announce_changes(&mut state);
        let has_left = state.leave == LeavePhase::Left;
        drop(state);
        drop(wake_lists);
        if has_left {
            self.left.notify_waiters();
        }
    }

    /// Pauses the gate if the lease has ended.
    pub(super) fn lapse_if_due(&self) {
        let mut state = self.lock();
        let has_returned = matches!(state.leave, LeavePhase::Returning(_) | LeavePhase::Left);
        if state.has_lapsed || has_returned || state.lease.phase(boot_clock::now()) != LeasePhase::Draining {
            return;
        }
        state.has_lapsed = true;
        state.unleased_since = state.unleased_since.or(Some(state.lease.deadline()));
        let mut wake_lists = vec![self.apply_block(&mut state)];
        // Permits in use should be reported as they return.
        self.wants_returns.store(true, Ordering::Relaxed);
        let fence = state.lease.fence();
        // Under the lock, so that the number of a lease and its fence belong together. AcqRel pairs with the loads of permits.
        let number = self.lapses.fetch_add(1, Ordering::AcqRel);
        state.ended.push_back((number, fence));
        if state.ended.len() > ENDED_LEASES {
            state.ended.pop_front();
        }
        // After the count: a permit that the policy allows is not one of the lease that has ended.
        wake_lists.push(self.free_if_allowed(&mut state));
        self.announce_changes(&mut state);
        drop(state);
        self.lapsed.notify_waiters();
        drop(wake_lists);
    }

    /// Returns whether a permit that was taken before counts as admitted.
    #[inline]
    pub(super) fn is_valid(&self) -> bool {
        boot_clock::now_nanos() < self.deadline.load(Ordering::Acquire)
    }

    /// Returns whether a permit that was taken before counts as admitted by the policy for a ledger that cannot be reached. What is in use
    /// was read after the permit was taken, so it includes it.
    pub(super) fn is_free(&self) -> bool {
        // Acquire pairs with the Release that ends it: the request that reads `false` waits anew.
        let in_use = self.gate.in_use();
        self.is_free.load(Ordering::Acquire) && in_use <= self.free.load(Ordering::Relaxed)
    }

    /// Returns whether a permit without a lease is one that the policy allows, and not one of a lease that has ended.
    pub(super) fn allows_no_lease(&self) -> bool {
        self.is_free.load(Ordering::Acquire)
    }

    /// Returns `true` if there are no permits now, and notes the end of the lease if that is the reason.
    pub(super) fn has_no_block(&self) -> bool {
        if !self.allows_no_lease() && !self.is_valid() {
            self.lapse_if_due();
        }
        // Relaxed: a block that has just changed could as well have changed later.
        self.block.load(Ordering::Relaxed) == 0
    }

    /// Returns whether the gate has permits: from the ledger, or by the policy.
    pub(super) fn is_leased(&self) -> bool {
        self.allows_no_lease() || self.is_valid() && self.lock().lease.cap() > 0
    }

    /// Returns the error of a gate without permits from the ledger.
    pub(super) fn unleased(&self) -> Unleased {
        let (state, now) = (self.lock(), boot_clock::now());
        let reason = match (&state.last_error, state.lease.phase(now)) {
            (Some(error), _) => error.clone(),
            (None, LeasePhase::Unleased) => "the ledger has not answered yet".into(),
            (None, LeasePhase::Learning) => "the ledger learns which leases exist".into(),
            (None, LeasePhase::Draining) => "the lease has ended".into(),
            (None, _) => "other processes have all permits".into(),
        };
        // The thread may not have noted yet that the lease has ended.
        let since = state.unleased_since.unwrap_or_else(|| state.lease.deadline());
        let paused_for = now.saturating_sub(since);
        Unleased { gate: self.gate.name(), name: self.name.clone(), paused_for, reason }
    }

    /// Returns the permits that the process has without the ledger.
    const fn reserved(&self) -> u32 {
        match self.policy {
            Unreachable::Reserved { permits, .. } => permits,
            Unreachable::Closed | Unreachable::Local => 0,
        }
    }

    /// Lets permits be in use without a lease, if there is none and the policy allows it.
    fn free_if_allowed(&self, state: &mut SharedState) -> BlockWakeups {
        let is_lost = !state.lease.is_valid(boot_clock::now());
        let free = match self.policy {
            Unreachable::Reserved { permits, .. } if is_lost => permits.min(state.local_limit.get()),
            // A lease can also end because this process was stopped. Then the ledger answers at once.
            Unreachable::Local if is_lost && state.lease.failures() > 0 => state.local_limit.get(),
            _ => return BlockWakeups::default(),
        };
        // Before the gate admits more, so that no request that it admits is turned away.
        self.free.store(free, Ordering::Relaxed);
        self.is_free.store(free > 0, Ordering::Release);
        self.apply_block(state)
    }

    /// Gives the local gate its block. The caller drops what is returned after it has released its locks.
    fn apply_block(&self, state: &mut SharedState) -> BlockWakeups {
        let fleet_limit = state.lease.limit().limit.get().saturating_add(self.reserved());
        self.weight_bound.store(state.local_limit.get().min(fleet_limit), Ordering::Relaxed);
        let block = self.block(state);
        if self.block.swap(block, Ordering::SeqCst) != block {
            // A task of a pool, so no foreign code runs here.
            state.items.iter().filter_map(Weak::upgrade).for_each(|items| items.limit_has_changed());
        }
        let must_pause = block == 0 || state.is_paused;
        let has_paused = mem::replace(&mut state.has_paused_gate, must_pause);
        let mut wakeups = BlockWakeups::default();
        // The gate is paused before its limit is set, and resumed after that: the limit stays at least 1.
        if must_pause && !has_paused {
            wakeups.pause = self.gate.pause_without_waking();
        }
        wakeups.resize = self.gate.resize_without_waking(Limit::saturating(block.into())).1;
        if has_paused && !must_pause {
            wakeups.resume = self.gate.resume_without_waking();
        }
        wakeups
    }

    /// Returns the permits that may be in use: what is leased, reserved or free, at most the local limit.
    fn block(&self, state: &SharedState) -> u32 {
        let leased = if state.has_lapsed { 0 } else { state.lease.cap() };
        let free = if self.allows_no_lease() { self.free.load(Ordering::Relaxed) } else { 0 };
        leased.saturating_add(self.reserved()).max(free).min(state.local_limit.get())
    }

    /// Notifies `changes` if the state of the lease or the limit of the fleet is another one than before. What is notified is a task of
    /// a governor, so no foreign code runs here.
    fn announce_changes(&self, state: &mut SharedState) {
        let present = (lease_state(state, self.in_use(), boot_clock::now()), state.lease.limit());
        if mem::replace(&mut state.announced, present) != present {
            self.changes.notify_one();
        }
    }

    fn in_use(&self) -> u32 {
        self.gate.status().in_use
    }

    /// Returns what this process could use: the permits in use and those of the requests that wait, at most the local limit, and at least
    /// 1, so that an idle process can admit a request at once. It falls by a quarter with each exchange, because demand comes in bursts.
    fn wants(&self, state: &SharedState, in_use: u32) -> u32 {
        // While an operator has paused the gate, what waits could not use permits.
        let waiting = if state.is_paused { 0 } else { self.waiting.load(Ordering::Relaxed) };
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let faded = state.wanted.saturating_sub(state.wanted.div_ceil(4));
        // What is reserved is used first.
        let reserved = self.reserved();
        let most = state.local_limit.get().saturating_sub(reserved);
        let demand = in_use.saturating_add(waiting).saturating_sub(reserved);
        // Items that are live, or should be, are wanted until their pool drops them.
        let items = sum_of_items(state, |items| items.live().max(items.wanted()));
        let demand = demand.max(items.saturating_sub(reserved));
        demand.max(faded).min(most).max(u32::from(reserved == 0))
    }

    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the number of items that are live in pools on the gate.
fn live_items(state: &SharedState) -> u32 {
    sum_of_items(state, |items| items.live())
}

fn sum_of_items(state: &SharedState, count: impl Fn(&dyn LeasedItems) -> usize) -> u32 {
    let items = state.items.iter().filter_map(Weak::upgrade);
    let sum = items.fold(0_usize, |sum, items| sum.saturating_add(count(&*items)));
    u32::try_from(sum).unwrap_or(u32::MAX)
}

fn lease_state(state: &SharedState, in_use: u32, now: Duration) -> LeaseState {
    match state.lease.phase(now) {
        _ if state.leave == LeavePhase::Left => LeaseState::Left,
        LeasePhase::Unleased if state.lease.failures() == 0 => LeaseState::Starting,
        LeasePhase::Leased => LeaseState::Leased,
        LeasePhase::Learning => LeaseState::Learning,
        LeasePhase::Draining if in_use > 0 => LeaseState::Draining,
        LeasePhase::Unleased | LeasePhase::Draining => LeaseState::Unreachable,
    }
}

/// The waiters that a change of the block has admitted: dropping it wakes them.
#[derive(Default)]
#[must_use = "dropped after the locks are released"]
struct BlockWakeups {
    pause: WakeList,
    resize: WakeList,
    resume: WakeList,
}

/// How many leases that have ended are remembered, for the fences of permits that are still in use.
const ENDED_LEASES: usize = 16;

/// An exchange that has begun. It owns its ask, because the lease is behind a lock.
pub(super) struct PendingExchange {
    holder: String,
    ask: Ask<'static>,
}

impl PendingExchange {
    fn of(ask: &Ask<'_>) -> Self {
        Self { holder: ask.holder.to_owned(), ask: Ask { holder: "", ..*ask } }
    }

    pub(super) fn ask(&self) -> Ask<'_> {
        Ask { holder: &self.holder, ..self.ask }
    }

    pub(super) fn seq(&self) -> u64 {
        self.ask.seq
    }
}

/// The weight of a request, while it waits.
pub(super) struct WaitingWeight<'a> {
    core: &'a SharedCore,
    weight: u32,
}

impl<'a> WaitingWeight<'a> {
    /// Counts the request, and wakes the thread to ask for more.
    pub(super) fn add(core: &'a SharedCore, weight: u32) -> Self {
        core.waiting.fetch_add(weight.into(), Ordering::Relaxed);
        core.kick.notify_one();
        Self { core, weight }
    }
}

impl Drop for WaitingWeight<'_> {
    fn drop(&mut self) {
        self.core.waiting.fetch_sub(self.weight.into(), Ordering::Relaxed);
    }
}

/// Returns a name that no other holder has: the host, the process, and 64 random bits.
fn holder_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(64).collect();
    let host = if host.is_empty() { "host" } else { &*host };
    format!("{host}:{}:{:016x}", std::process::id(), RandomState::new().hash_one(0_u8))
}
