//! The work that a step of the state leaves for its caller, to be done after the lock is released.

use super::create_error::CreateError;
use super::delivery::{DeliverySender, ItemDelivery};
use super::event::PoolEvent;
use super::manager::Manager;

/// Work that runs user code or may take long, and so must not run under the lock.
#[expect(clippy::struct_excessive_bools, reason = "each requests another step")]
#[must_use = "effects that are not performed lose items and waiters"]
pub(super) struct PoolEffects<M: Manager> {
    /// Deliveries to waiters, in queue order.
    pub(super) deliveries: Vec<(DeliverySender<M>, ItemDelivery<M>)>,
    /// Creations to spawn.
    pub(super) attempts: Vec<CreateAttempt>,
    /// Items to drop. The state counts each of them as dropping until its drop has returned.
    pub(super) discarded: Vec<M::Item>,
    /// Replaced errors of the manager, to drop.
    pub(super) errors: Vec<CreateError>,
    /// Events for the observers.
    pub(super) events: Vec<PoolEvent>,
    /// Whether the maintenance task must be woken, because something is due earlier than it expects.
    pub(super) wakes_maintenance: bool,
    /// If a failure has ended waits in the gate's queue: those of the checkouts that arrived before this round.
    pub(super) ended_before: Option<u64>,
    /// Whether the pool was closed, so that running creations must end.
    pub(super) ends_creations: bool,
    /// Whether an item became idle.
    pub(super) has_idled: bool,
    /// Whether the pools of the group must check for free slots.
    pub(super) fills_group: bool,
    /// Whether a waiter lacks a slot of the group for an item.
    pub(super) lacks_slots: bool,
    /// Whether the pool has no items and no waiters left.
    pub(super) drained: bool,
}

impl<M: Manager> Default for PoolEffects<M> {
    fn default() -> Self {
        Self {
            deliveries: Vec::new(),
            attempts: Vec::new(),
            discarded: Vec::new(),
            errors: Vec::new(),
            events: Vec::new(),
            wakes_maintenance: false,
            ended_before: None,
            ends_creations: false,
            has_idled: false,
            fills_group: false,
            lacks_slots: false,
            drained: false,
        }
    }
}

/// An attempt to create an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CreateAttempt {
    /// An attempt while creation works, or one that started before the first failure.
    Normal,
    /// The single attempt after a backoff delay. If it fails, it fails every checkout that arrived before it started: the
    /// round in which each of them arrived is below this one.
    Retry { round: u64 },
}
