//! The exchanges with the ledger, and the end of a lease that was not renewed.

use std::mem;
use std::sync::atomic::{self, Ordering};
use std::time::Duration;

use super::SharedCore;
use super::demand::Demand;
use super::state::{LeavePhase, SharedState};
use crate::fleet::boot_clock;
use crate::fleet::lease::LeasePhase;
use crate::fleet::ledger::LedgerError;
use crate::fleet::step::{Ask, Grant};
use crate::gate::WakeList;

/// What the thread of the lease does next.
pub(in crate::fleet::shared) enum NextStep<'a> {
    Exchange(Ask<'a>),
    /// Sleeps until the next exchange, or until the lease ends.
    Wait(Duration),
}

impl SharedCore {
    /// Begins an exchange if one is due, or returns how long the thread may sleep. When the gate ends, its last exchange returns all
    /// permits.
    pub(in crate::fleet::shared) fn begin(&self) -> NextStep<'_> {
        let mut state = self.lock();
        let now = boot_clock::now();
        // Orders the clock before the permits in use. `SharedHandle::admit` has the same fence between a permit and its clock.
        atomic::fence(Ordering::SeqCst);
        let Demand { mut held, wants, returns_all } = self.demand(&state);
        // If an exchange counts as in flight here, its caller has dropped it, so the next one is due now.
        let next = state.lease.next_exchange(held, wants).unwrap_or(now);
        // The return of the block is due immediately. If its exchange has failed, it is repeated at the usual interval, and once more when
        // the last handle is dropped: then there is no later round.
        let is_repeated = matches!(state.leave, LeavePhase::Returning(_)) && !self.is_stopped();
        let is_due = next <= now || returns_all && !is_repeated;
        if !is_due {
            let deadline = state.lease.deadline();
            let next = if deadline > now { next.min(deadline) } else { next };
            return NextStep::Wait(next.saturating_sub(now));
        }
        state.wanted = wants;
        if returns_all {
            state.lease.give_up();
            // A pool first counts an item, and then reads this deadline; it may begin to create the item until it reads 0. So the items are
            // counted again after the store.
            self.deadline.store(0, Ordering::SeqCst);
            atomic::fence(Ordering::SeqCst);
            held = self.demand(&state).held;
        }
        // The ask outlives the lock, so it borrows the name of the holder from this gate, and not from the lease behind the lock.
        let ask = Ask { holder: &self.holder, ..state.lease.begin(now, held, wants) };
        if returns_all && held == 0 && state.leave != LeavePhase::Staying {
            state.leave = LeavePhase::Returning(ask.seq);
        }
        NextStep::Exchange(ask)
    }

    /// Applies the answer of the ledger. `took` is the time that the exchange has taken.
    pub(in crate::fleet::shared) fn finish(
        &self,
        seq: u64,
        answer: Result<Grant, LedgerError>,
        took: Duration,
    ) {
        let mut wake_list = WakeList::default();
        let mut state = self.lock();
        match answer {
            Ok(grant) => {
                // A late answer changes nothing.
                if !state.lease.finish(seq, &grant) {
                    return;
                }
                if state.leave == LeavePhase::Returning(seq) {
                    state.leave = LeavePhase::Left;
                }
                state.exchanges = state.exchanges.saturating_add(1);
                state.exchange_times.record(took);
                state.last_error = None;
                self.take_grant(&mut state, &grant, &mut wake_list);
            }
            Err(error) => {
                state.lease.fail(seq);
                state.failed_exchanges = state.failed_exchanges.saturating_add(1);
                state.last_error = Some(format!("{error:?}"));
                self.admit_without_lease(&mut state, &mut wake_list);
            }
        }
        self.announce_changes(&mut state);
        let has_left = state.leave == LeavePhase::Left;
        // Wakers are called without the lock.
        drop(state);
        // First, because a waker in the list may panic.
        if has_left {
            self.left.notify_waiters();
        }
        drop(wake_list);
    }

    /// Applies a grant to the gate: its block and its deadline.
    fn take_grant(&self, state: &mut SharedState, grant: &Grant, wake_list: &mut WakeList) {
        // The local limit may have fallen since the exchange began.
        self.cap_by_local_limit(state);
        // Stored before the block is applied: from now on, the policy admits no requests.
        self.without_lease.store(0, Ordering::Release);
        state.has_lapsed = false;
        let cap = state.lease.cap();
        state.unleased_since = match cap {
            0 => state.unleased_since.or_else(|| Some(boot_clock::now())),
            _ => None,
        };
        // A lower block is applied before the deadline is extended, and a higher block after it.
        if self.block_of(state) < self.gate.limit().get() {
            self.apply_block(state, wake_list);
        }
        let deadline = u64::try_from(state.lease.deadline().as_nanos()).unwrap_or(u64::MAX);
        // Release pairs with the Acquire in `is_valid`: a request that sees the deadline sees the lower block.
        self.deadline.store(deadline, Ordering::Release);
        self.apply_block(state, wake_list);
        // If the ledger waits for permits of this process, each release is reported early.
        let Demand { held, .. } = self.demand(state);
        self.wants_returns.store(held > cap || grant.target < grant.cap, Ordering::Relaxed);
    }

    /// Pauses the gate if the lease has ended.
    pub(in crate::fleet::shared) fn lapse_if_due(&self) {
        let mut wake_list = WakeList::default();
        let mut state = self.lock();
        let has_returned = matches!(state.leave, LeavePhase::Returning(_) | LeavePhase::Left);
        if state.has_lapsed || has_returned || state.lease.phase(boot_clock::now()) != LeasePhase::Draining {
            return;
        }
        state.has_lapsed = true;
        state.unleased_since = state.unleased_since.or(Some(state.lease.deadline()));
        self.apply_block(&mut state, &mut wake_list);
        // Releases of the permits in use should be reported early.
        self.wants_returns.store(true, Ordering::Relaxed);
        // Under the lock, so that the number of a lease and its fence belong together. AcqRel pairs with the loads of permits.
        let number = self.lapses.fetch_add(1, Ordering::AcqRel);
        state.note_end(number);
        // After the count, so that a permit that the policy admits does not count as one of the ended lease.
        self.admit_without_lease(&mut state, &mut wake_list);
        self.announce_changes(&mut state);
        // Wakers are called without the lock.
        drop(state);
        self.lapsed.notify_waiters();
        drop(wake_list);
    }

    /// Returns the time until the lease ends. Returns `None` if there is no lease that the thread must watch.
    pub(in crate::fleet::shared) fn time_to_lapse(&self) -> Option<Duration> {
        let state = self.lock();
        let left = state.lease.deadline().checked_sub(boot_clock::now())?;
        (!left.is_zero()).then_some(left)
    }

    /// Notifies `changes` if the state of the lease or the limit of the fleet has changed. This wakes a task of a governor, so no foreign
    /// code runs here.
    fn announce_changes(&self, state: &mut SharedState) {
        let present = (state.lease_state(self.gate.in_use()), state.lease.limit());
        if mem::replace(&mut state.announced, present) != present {
            self.changes.notify_one();
        }
    }
}
