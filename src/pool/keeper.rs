//! The task that looks after a pool: what has been idle for too long, what is missing, limits that somebody else sets.

use std::sync::Arc;

use super::Manager;
use super::shared::Shared;
use super::sync::until;

/// Looks after a pool until it is closed, whenever something is due or the bell rings.
pub(super) async fn keep<M: Manager>(shared: Arc<Shared<M>>) {
    let keeper = Keeper(shared);
    loop {
        let due = keeper.0.keep_up();
        if keeper.0.lock().is_closed() {
            return;
        }
        until(due, keeper.0.bell.notified()).await;
    }
}

/// With its runtime gone, nobody makes items any more, and nobody is to wait for one.
struct Keeper<M: Manager>(Arc<Shared<M>>);

impl<M: Manager> Drop for Keeper<M> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
