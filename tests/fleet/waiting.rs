//! Waiting for a condition.

use std::time::Duration;

use tokio::time::sleep;

/// Waits until `condition` holds, with other tasks and the thread of the lease running.
pub(crate) async fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(1)).await;
    }
}
