//! A shared gate in one process: the local gate, and the lease that bounds it.
//!
//! The handles and permits share this state with the thread that renews the lease. From the surface downwards:
//!
//! ```text
//! report       the state of the lease, the reason for missing permits, and the fences
//! leaving      returning the block for good
//! exchange     when an exchange is due, what it changes, and the end of a lease that was not renewed
//! demand       what an exchange reports and requests
//! block        what the lease allows: the limit of the local gate, and its pauses
//! admission    whether a permit is valid
//! state        what the lock protects
//! ```

mod admission;
mod block;
mod demand;
mod exchange;
mod leaving;
mod report;
mod state;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::leased_items::LeasedItems;
use crate::fleet::lease::Lease;
use crate::fleet::step::{LeaseTerms, LimitVersion};
use crate::gate::{Gate, WakeList};
use crate::plan::{Limit, Unreachable};

use state::SharedState;

pub(super) use exchange::NextStep;

/// The local gate and its lease.
pub(in crate::fleet) struct SharedCore {
    /// The local gate, which may have children and keys. Its limit is the block. A limit is at least 1, so the gate is paused while
    /// the block is 0.
    gate: Gate,
    /// The name of the gate in the ledger.
    name: String,
    /// The name of this process in the ledger.
    holder: String,
    policy: Unreachable,
    /// The permits that may be in use, as [`block_of`](Self::block_of) has computed them last. Read without the lock.
    block: AtomicU32,
    /// The largest number of permits that this process can have, as [`most_of`](Self::most_of) has computed it last. Read without the lock.
    most: AtomicU32,
    /// The deadline of the lease in nanoseconds of the boot clock.
    deadline: AtomicU64,
    /// The permits that the policy admits without a lease. 0 while there is a lease.
    without_lease: AtomicU32,
    /// Whether the ledger waits for permits that this process still uses.
    wants_returns: AtomicBool,
    is_stopped: AtomicBool,
    /// Wakes the thread.
    kick: Notify,
    /// The number of leases that have ended, and the notification that another one has.
    lapses: AtomicU64,
    lapsed: Notify,
    /// Notified when the ledger has confirmed that it has the block back for good.
    left: Notify,
    /// Notified when the state of the lease or the limit of the fleet has changed. All shares of a governor have the same one.
    changes: Arc<Notify>,
    state: Mutex<SharedState>,
}

impl SharedCore {
    /// Creates the core of a shared gate, without a lease. The local gate must be new, and the root of its tree if it has one. Its limit
    /// becomes the local limit.
    pub(in crate::fleet) fn new(
        gate: Gate,
        name: String,
        terms: LeaseTerms,
        limit: Limit,
        policy: Unreachable,
        changes: Arc<Notify>,
    ) -> Self {
        let local_limit = gate.resize(Limit::MIN).from;
        let holder = holder_name();
        let lease = Lease::new(holder.clone(), terms, LimitVersion::configured(limit));
        let core = Self {
            gate,
            name,
            holder,
            policy,
            block: AtomicU32::new(0),
            most: AtomicU32::new(0),
            deadline: AtomicU64::new(0),
            without_lease: AtomicU32::new(0),
            wants_returns: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            kick: Notify::new(),
            lapses: AtomicU64::new(0),
            lapsed: Notify::new(),
            left: Notify::new(),
            changes,
            state: Mutex::new(SharedState::new(lease, local_limit)),
        };
        // Reserved permits need no answer of the ledger, so they are admitted from the start. The gate is new, so no request waits.
        let mut wake_list = WakeList::default();
        let mut state = core.lock();
        core.apply_block(&mut state, &mut wake_list);
        core.admit_without_lease(&mut state, &mut wake_list);
        drop(state);
        drop(wake_list);
        core
    }

    /// Returns the local gate.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Returns the name of the gate in the ledger.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Counts items as held from now on, until they are dropped.
    pub(super) fn add_items(&self, items: Weak<dyn LeasedItems>) {
        let mut state = self.lock();
        state.items.retain(|items| items.strong_count() > 0);
        state.items.push(items);
        drop(state);
        self.kick();
    }

    /// Wakes the thread, because an exchange may be due: a request waits, or permits or items were released.
    pub(super) fn kick(&self) {
        self.kick.notify_one();
    }

    /// Waits for the next call of [`kick`](Self::kick).
    pub(super) async fn kicked(&self) {
        self.kick.notified().await;
    }

    /// Makes the thread return the block and end. Relaxed: the notification orders the store before the thread's read.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.kick();
    }

    /// Returns `true` if the last handle and permit are gone.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the condition holds. `changed` must be notified after each change of the condition.
async fn wait_until(changed: &Notify, holds: impl Fn() -> bool) {
    loop {
        // Registered before the condition is read, so that no notification is missed.
        let mut notified = pin!(changed.notified());
        notified.as_mut().enable();
        if holds() {
            return;
        }
        notified.await;
    }
}

/// Returns a name that no other holder has: the host, the process, and 64 random bits.
fn holder_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(64).collect();
    let host = if host.is_empty() { "host" } else { &*host };
    format!("{host}:{}:{:016x}", std::process::id(), RandomState::new().hash_one(0_u8))
}
