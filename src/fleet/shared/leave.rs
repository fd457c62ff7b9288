//! Leaving the fleet: a process returns its block for good, and waits until the ledger has it.

use tokio::time::{Instant, timeout_at};

use super::block_return::BlockReturn;
use super::gate::SharedGate;

impl SharedGate {
    /// Closes the gate in this process, and returns its block to the ledger once no permit is in use and no request waits. Resolves when
    /// the ledger has confirmed that, or at the deadline.
    ///
    /// Without it, a process that ends keeps its block in the ledger for one span. New requests are rejected, those that wait are served,
    /// and at the deadline those that still wait are rejected. The gates within it are closed, too, and so are the pools on it: their items
    /// count as in use. For a gate within another one, it is the gate of the lease that is closed.
    /// [`Governor::close_all`](crate::Governor::close_all) does the same for each shared gate.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use concurrency_governor::fleet::{BlockReturn, MemoryLedger, Share};
    /// use concurrency_governor::{GateName, Limit};
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let share = Share::of(MemoryLedger::new(), "prod/io").limit(Limit::new(200));
    /// let io = share.open(GateName::new("io"))?;
    /// io.run(async {}).await?;
    /// assert_eq!(io.leave(Instant::now() + Duration::from_secs(5)).await, BlockReturn::Confirmed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the gate closed for new requests. Its block is still returned after the last permit, within a third of
    /// the `ttl`, if the process lives until then. The method may be called again.
    pub async fn leave(&self, deadline: Instant) -> BlockReturn {
        let core = self.core();
        core.begin_leave();
        let leaving = async {
            core.gate().drained().await;
            core.kick();
            core.wait_until_left().await;
        };
        // The error is one of the results: the deadline has passed.
        let _ = timeout_at(deadline, leaving).await;
        core.gate().close();
        core.block_return()
    }
}
