//! The background task of a pool: evicts idle items, refills the minimum, and follows limits that are set at the gate.

use std::pin::pin;
use std::sync::Arc;

use super::manager::Manager;
use super::shared::PoolShared;
use super::sync::with_deadline;
use super::until::until;

/// Maintains the pool until it is closed. Runs when something is due and whenever it is woken.
pub(super) async fn run_maintenance<M: Manager>(shared: Arc<PoolShared<M>>) {
    let guard = AbandonOnDrop(shared);
    let shared = &guard.0;
    loop {
        let due = shared.maintain();
        if shared.lock().is_closed() {
            return;
        }
        let woken = pin!(shared.maintenance_wake.notified());
        if shared.gate.is_closed() {
            // The gate serves its queue, with the items of the pool. The pool is closed after that.
            with_deadline(due, until(pin!(shared.gate.drained()), woken)).await;
        } else {
            with_deadline(due, woken).await;
        }
    }
}

/// Marks the pool as abandoned when the runtime drops the task: no task creates items after that, so no waiter may wait.
struct AbandonOnDrop<M: Manager>(Arc<PoolShared<M>>);

impl<M: Manager> Drop for AbandonOnDrop<M> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
