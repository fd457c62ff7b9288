//! A gate whose permits are leased from a ledger.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::atomic::{self, AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::gate::{AcquireError, Gate, OwnedPermit, TryAcquireError, WakeList};
use crate::plan::debug_as_display::impl_debug_as_display;
use crate::plan::{GateName, Limit};

use super::boot_clock;
use super::lease::{Lease, LeasePhase};
use super::ledger::LedgerError;
use super::step::{Ask, Fence, Grant, LeaseTerms, LimitVersion};

/// A gate whose limit is a block of permits that is leased from a ledger. [`Share::open`](super::Share::open) creates it.
///
/// Acquiring calls no engine: a thread of the gate renews the lease. Without a lease the gate is *paused*: requests stay in the queue, in
/// their order, and none is admitted. A clone is another handle. The lease ends when the last handle and the last permit are dropped.
#[derive(Clone)]
pub struct SharedGate {
    handle: Arc<SharedHandle>,
}

impl SharedGate {
    /// Creates a gate without a lease.
    pub(super) fn new(gate: GateName, name: String, terms: LeaseTerms, limit: Limit) -> Self {
        let gate = Gate::new(gate, Limit::MIN);
        let plug = gate.try_acquire_owned().ok();
        let lease = Lease::new(holder_name(), terms, LimitVersion::configured(limit));
        let core = SharedCore {
            gate,
            name,
            plug,
            fleet_limit: AtomicU32::new(limit.get()),
            waiting: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            wants_returns: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            kick: Notify::new(),
            lapses: AtomicU64::new(0),
            lapsed: Notify::new(),
            state: Mutex::new(SharedState {
                lease,
                is_paused: false,
                wanted: 0,
                exchanges: 0,
                last_error: None,
                ended: VecDeque::new(),
            }),
        };
        Self { handle: Arc::new(SharedHandle { core: Arc::new(core) }) }
    }

    pub(super) fn core(&self) -> &Arc<SharedCore> {
        &self.handle.core
    }

    /// Returns the name of the gate in this process.
    #[must_use]
    pub fn name(&self) -> GateName {
        self.core().gate.name()
    }

    /// Waits for a permit.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Closed`] if the gate is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue and any permit that it was granted.
    pub async fn acquire(&self) -> Result<SharedPermit, AcquireError> {
        self.acquire_many(1).await
    }

    /// Waits for `weight` permits, as [`acquire`](Self::acquire). The weight may be above the present block, and at most the limit of
    /// the fleet.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the gate is closed, the weight is 0, or it is above the limit of the fleet.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_many(&self, weight: u32) -> Result<SharedPermit, AcquireError> {
        let core = self.core();
        // Relaxed: a limit that is about to change could as well have changed after this request.
        if weight > core.fleet_limit.load(Ordering::Relaxed) {
            let limit = core.lock().lease.limit().limit;
            return Err(AcquireError::TooLarge { gate: self.name(), weight, limit });
        }
        loop {
            // The thread learns of the demand only if there is something to wait for.
            let permit = if let Ok(permit) = core.gate.try_acquire_many_owned(weight) {
                permit
            } else {
                let _waiting = WaitingWeight::add(core, weight);
                core.gate.request().weight(weight).wait_for_limit().acquire_owned().await?
            };
            if let Some(permit) = self.admit(permit) {
                return Ok(permit);
            }
        }
    }

    /// Acquires a permit without waiting.
    ///
    /// # Errors
    ///
    /// [`SharedTryError`] if the gate has no lease, or the gate rejects the request.
    pub fn try_acquire(&self) -> Result<SharedPermit, SharedTryError> {
        self.try_acquire_many(1)
    }

    /// Acquires `weight` permits without waiting.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_many(&self, weight: u32) -> Result<SharedPermit, SharedTryError> {
        let core = self.core();
        match core.gate.try_acquire_many_owned(weight) {
            Ok(permit) => self.admit(permit).ok_or_else(|| core.unleased()),
            Err(error) => {
                core.kick.notify_one();
                let is_leased = core.is_valid() && core.lock().lease.cap() > 0;
                if is_leased
                    || matches!(error, TryAcquireError::Closed { .. } | TryAcquireError::ZeroWeight { .. })
                {
                    Err(SharedTryError::Rejected(error))
                } else {
                    Err(core.unleased())
                }
            }
        }
    }

    /// Waits for a permit, runs the future, and returns the permit when it has ended, also if it panics or is dropped.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the work.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, AcquireError> {
        let _permit = self.acquire().await?;
        Ok(work.await)
    }

    /// Closes the gate in this process: all waiting and future requests are rejected. The other processes are not affected.
    pub fn close(&self) {
        self.core().gate.close();
    }

    /// Returns the state of the gate and of its lease.
    #[must_use]
    pub fn status(&self) -> SharedStatus {
        let core = self.core();
        let state = core.lock();
        let (local, now) = (core.gate.status(), boot_clock::now());
        SharedStatus {
            gate: local.name,
            in_use: local.in_use.saturating_sub(core.plugged()),
            waiting: local.waiting,
            cap: if state.lease.is_valid(now) { state.lease.cap() } else { 0 },
            phase: state.lease.phase(now),
            remaining: state.lease.deadline().saturating_sub(now),
            limit: state.lease.limit(),
            fence: state.lease.fence(),
            exchanges: state.exchanges,
            failures: state.lease.failures(),
            last_error: state.last_error.clone(),
        }
    }

    /// Turns a permit of the local gate into a leased one. Returns `None`, and gives the permit back, if the lease has ended: the clock
    /// is read after the permit was taken, so a permit that counts was in use before the deadline.
    fn admit(&self, permit: OwnedPermit) -> Option<SharedPermit> {
        let core = self.core();
        // Acquire: read before the deadline. If a lease ends in between, the permit belongs to the one that has ended.
        let lapses = core.lapses.load(Ordering::Acquire);
        // Orders the permit before the clock. `begin` has the same fence between the clock and the permits in use: so either the
        // report counts this permit, or this clock is past the deadline.
        atomic::fence(Ordering::SeqCst);
        if core.is_valid() {
            return Some(SharedPermit { permit: Some(permit), lapses, handle: Arc::clone(&self.handle) });
        }
        drop(permit);
        core.lapse_if_due();
        None
    }
}

impl fmt::Debug for SharedGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGate").field("status", &self.status()).finish()
    }
}

/// Permits of a shared gate. Dropping it returns them.
pub struct SharedPermit {
    /// `None` only while it is dropped.
    permit: Option<OwnedPermit>,
    /// How often a lease had ended when the permit was granted.
    lapses: u64,
    handle: Arc<SharedHandle>,
}

impl SharedPermit {
    /// Returns the number of permits.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.permit.as_ref().map_or(0, OwnedPermit::weight)
    }

    /// Returns the fence of the lease: a number that rises with each exchange of the fleet. Work can pass it to a store that rejects
    /// lower ones. After the lease has ended, it is that of the last exchange before the end.
    #[must_use]
    pub fn fence(&self) -> Fence {
        let state = self.handle.core.lock();
        let ended = state.ended.iter().find(|(lapses, _)| *lapses == self.lapses);
        let is_current = self.handle.core.lapses.load(Ordering::Acquire) == self.lapses;
        match ended {
            Some((_, fence)) => *fence,
            None if is_current => state.lease.fence(),
            // It ended so long ago that any other fence is higher.
            None => Fence::default(),
        }
    }

    /// Checks that the lease has not ended since the permit was granted.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`] if it has. Then the work should end within the rest of its longest hold.
    pub fn check(&self) -> Result<(), LeaseLost> {
        let core = &self.handle.core;
        if core.is_valid() && core.lapses.load(Ordering::Acquire) == self.lapses {
            Ok(())
        } else {
            Err(LeaseLost { gate: core.gate.name() })
        }
    }

    /// Waits until the lease has ended.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn lost(&self) {
        let core = &self.handle.core;
        loop {
            // Registered before the count is read, so that no notification is missed.
            let mut notified = pin!(core.lapsed.notified());
            notified.as_mut().enable();
            if core.lapses.load(Ordering::Acquire) != self.lapses {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for SharedPermit {
    fn drop(&mut self) {
        drop(self.permit.take());
        let core = &self.handle.core;
        // Relaxed: a missed flag delays the report of the return to the next renewal.
        if core.wants_returns.load(Ordering::Relaxed) {
            core.kick.notify_one();
        }
    }
}

impl fmt::Debug for SharedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPermit").field("weight", &self.weight()).finish_non_exhaustive()
    }
}

/// The state of a shared gate and of its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedStatus {
    /// The gate.
    pub gate: GateName,
    /// The permits in use in this process.
    pub in_use: u32,
    /// The requests that wait in this process.
    pub waiting: usize,
    /// The block: the permits that may be in use in this process. 0 while the gate is paused.
    pub cap: u32,
    /// The phase of the lease.
    pub phase: LeasePhase,
    /// The time until the deadline of the lease; zero if there is none.
    pub remaining: Duration,
    /// The limit of the fleet.
    pub limit: LimitVersion,
    /// The fence of the last exchange.
    pub fence: Fence,
    /// The exchanges that the ledger has answered.
    pub exchanges: u64,
    /// How many exchanges in a row have failed.
    pub failures: u32,
    /// Why the last one has failed.
    pub last_error: Option<String>,
}

/// Why a request at a shared gate that would not wait was rejected.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharedTryError {
    /// The gate has no permits from the ledger.
    #[error(
        "gate `{gate}` is paused: it has no lease from the ledger for `{name}` ({reason}); wait with `acquire`, or check the ledger"
    )]
    Unleased {
        /// The gate.
        gate: GateName,
        /// The name of the gate in the ledger.
        name: String,
        /// What the lease waits for, or why the last exchange has failed.
        reason: String,
    },
    /// The gate rejects the request.
    #[error(transparent)]
    Rejected(TryAcquireError),
}

/// The error of a permit whose lease has ended.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lease of gate `{gate}` has ended since the permit was granted; end the work")]
pub struct LeaseLost {
    gate: GateName,
}

impl_debug_as_display!(SharedTryError, LeaseLost);

/// What the handles and permits share. The lease ends with the last of them.
struct SharedHandle {
    core: Arc<SharedCore>,
}

impl Drop for SharedHandle {
    fn drop(&mut self) {
        // Relaxed: the notification orders it before the thread reads it.
        self.core.is_stopped.store(true, Ordering::Relaxed);
        self.core.kick.notify_one();
    }
}

/// What the handles share with the thread that renews the lease.
pub(super) struct SharedCore {
    /// The local gate. Its limit is the block plus one: a limit is at least 1, and a block can be 0.
    gate: Gate,
    /// The name of the gate in the ledger.
    name: String,
    /// The permit that takes the one place too many. The gate is new and has a limit of 1, so it was granted.
    plug: Option<OwnedPermit>,
    /// The limit of the fleet, as far as it is known.
    fleet_limit: AtomicU32,
    /// The weights of the requests that wait.
    waiting: AtomicU64,
    /// The deadline of the lease in nanoseconds of the boot clock.
    deadline: AtomicU64,
    /// Whether the ledger waits for permits that this process still uses.
    wants_returns: AtomicBool,
    is_stopped: AtomicBool,
    /// Wakes the thread.
    kick: Notify,
    /// How often a lease has ended, and a notification of it.
    lapses: AtomicU64,
    lapsed: Notify,
    state: Mutex<SharedState>,
}

struct SharedState {
    lease: Lease,
    /// Whether the end of the lease has been noted.
    is_paused: bool,
    /// What the last exchange asked for.
    wanted: u32,
    exchanges: u64,
    last_error: Option<String>,
    /// The last leases that have ended, by their number, each with its last fence.
    ended: VecDeque<(u64, Fence)>,
}

impl SharedCore {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Waits until a handle has something for the thread.
    pub(super) async fn kicked(&self) {
        self.kick.notified().await;
    }

    /// Returns how long the thread may sleep: until the next exchange, or until the lease ends.
    pub(super) fn idle_time(&self) -> Duration {
        let state = self.lock();
        let (in_use, now) = (self.in_use(), boot_clock::now());
        let next = state.lease.next_exchange(in_use, self.wants(&state, in_use)).unwrap_or(now);
        let deadline = state.lease.deadline();
        let next = if deadline > now { next.min(deadline) } else { next };
        next.saturating_sub(now)
    }

    /// Begins an exchange if one is due: calls `make` with the ask. At the end of the gate the last exchange returns everything.
    pub(super) fn begin(&self) -> Option<PendingExchange> {
        let mut state = self.lock();
        let now = boot_clock::now();
        atomic::fence(Ordering::SeqCst);
        let in_use = self.in_use();
        let wants = if self.is_stopped() { 0 } else { self.wants(&state, in_use) };
        let next = state.lease.next_exchange(in_use, wants)?;
        if !self.is_stopped() && next > now {
            return None;
        }
        state.wanted = wants;
        if self.is_stopped() {
            state.lease.give_up();
        }
        let ask = state.lease.begin(now, in_use, wants);
        Some(PendingExchange::of(&ask))
    }

    /// Takes the answer of the ledger.
    pub(super) fn finish(&self, seq: u64, answer: Result<Grant, LedgerError>) {
        // Wakers are called after the lock is released.
        let mut wake_lists = Vec::new();
        let mut state = self.lock();
        match answer {
            Ok(grant) => {
                let before = state.lease.cap();
                if !state.lease.finish(seq, &grant) {
                    return;
                }
                state.exchanges = state.exchanges.saturating_add(1);
                state.last_error = None;
                state.is_paused = false;
                self.fleet_limit.store(grant.limit.limit.get(), Ordering::Relaxed);
                let cap = state.lease.cap();
                // A lower block counts before the deadline is extended, and a higher one after it.
                if cap < before {
                    wake_lists.push(self.resize(cap));
                }
                let deadline = u64::try_from(state.lease.deadline().as_nanos()).unwrap_or(u64::MAX);
                // Release pairs with the Acquire in `is_valid`: a request that sees the deadline sees the lower block.
                self.deadline.store(deadline, Ordering::Release);
                wake_lists.push(self.resize(cap));
                self.wants_returns.store(self.in_use() > cap || grant.target < grant.cap, Ordering::Relaxed);
            }
            Err(error) => {
                state.lease.fail(seq);
                state.last_error = Some(format!("{error:?}"));
            }
        }
        drop(state);
        drop(wake_lists);
    }

    /// Pauses the gate if the lease has ended.
    pub(super) fn lapse_if_due(&self) {
        let mut state = self.lock();
        if state.is_paused || state.lease.phase(boot_clock::now()) != LeasePhase::Draining {
            return;
        }
        state.is_paused = true;
        let wake_list = self.resize(0);
        // Permits in use should be reported as they return.
        self.wants_returns.store(true, Ordering::Relaxed);
        let fence = state.lease.fence();
        // Under the lock, so that the number of a lease and its fence belong together. AcqRel pairs with the loads of permits.
        let number = self.lapses.fetch_add(1, Ordering::AcqRel);
        state.ended.push_back((number, fence));
        if state.ended.len() > ENDED_LEASES {
            state.ended.pop_front();
        }
        drop(state);
        self.lapsed.notify_waiters();
        drop(wake_list);
    }

    fn is_valid(&self) -> bool {
        let now = u64::try_from(boot_clock::now().as_nanos()).unwrap_or(u64::MAX);
        now < self.deadline.load(Ordering::Acquire)
    }

    fn unleased(&self) -> SharedTryError {
        let state = self.lock();
        let reason = match (&state.last_error, state.lease.phase(boot_clock::now())) {
            (Some(error), _) => error.clone(),
            (None, LeasePhase::Unleased) => "the ledger has not answered yet".into(),
            (None, LeasePhase::Learning) => "the ledger learns which leases exist".into(),
            (None, LeasePhase::Draining) => "the lease has ended".into(),
            (None, _) => "other processes have all permits".into(),
        };
        SharedTryError::Unleased { gate: self.gate.name(), name: self.name.clone(), reason }
    }

    /// Sets the block. The plug has one permit more. The caller drops the list after it has released its lock.
    fn resize(&self, cap: u32) -> WakeList {
        let limit = u64::from(cap).saturating_add(u64::from(self.plugged()));
        self.gate.resize_without_waking(Limit::saturating(limit)).1
    }

    /// Returns the permits in use, without the plug, as of one instant.
    fn in_use(&self) -> u32 {
        self.gate.status().in_use.saturating_sub(self.plugged())
    }

    fn plugged(&self) -> u32 {
        self.plug.as_ref().map_or(0, OwnedPermit::weight)
    }

    /// Returns what this process could use: the permits in use and those of the requests that wait, at least 1, so that an idle process
    /// can admit a request at once. It falls by a quarter with each exchange, because demand comes in bursts.
    fn wants(&self, state: &SharedState, in_use: u32) -> u32 {
        let waiting = u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let faded = state.wanted.saturating_sub(state.wanted.div_ceil(4));
        in_use.saturating_add(waiting).max(faded).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
struct WaitingWeight<'a> {
    core: &'a SharedCore,
    weight: u32,
}

impl<'a> WaitingWeight<'a> {
    /// Counts the request, and wakes the thread to ask for more.
    fn add(core: &'a SharedCore, weight: u32) -> Self {
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
