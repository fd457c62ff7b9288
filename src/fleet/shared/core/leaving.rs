//! Returning the block for good.

use super::state::LeavePhase;
use super::{SharedCore, wait_until};
use crate::fleet::shared::block_return::BlockReturn;

impl SharedCore {
    /// Closes the gate. The thread returns the block once no permit is in use.
    pub(in crate::fleet::shared) fn begin_leave(&self) {
        // The gate is closed first: then, once no request waits, no further permit is admitted, and the block can be returned.
        self.gate.close_after_queue();
        let mut state = self.lock();
        if state.leave == LeavePhase::Staying {
            state.leave = LeavePhase::Leaving;
        }
        drop(state);
        self.kick();
    }

    /// Waits until the ledger has confirmed that it has the block back for good.
    pub(in crate::fleet::shared) async fn wait_until_left(&self) {
        wait_until(&self.left, || self.has_left()).await;
    }

    /// Returns whether the block was returned.
    pub(in crate::fleet::shared) fn block_return(&self) -> BlockReturn {
        let state = self.lock();
        let permits = self.gate.in_use().max(state.live_items());
        match state.leave {
            LeavePhase::Left => BlockReturn::Confirmed,
            _ if permits > 0 => BlockReturn::InUse { permits },
            _ => BlockReturn::Unconfirmed { problem: state.last_error.clone() },
        }
    }

    /// Returns `true` if the ledger has confirmed that it has the block back for good.
    pub(in crate::fleet::shared) fn has_left(&self) -> bool {
        self.lock().leave == LeavePhase::Left
    }
}
