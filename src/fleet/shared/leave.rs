//! Leaving the fleet: a process returns its block for good, and waits until the ledger has it.

use tokio::time::{Instant, timeout_at};

use super::block_return::BlockReturn;
use super::gate::SharedGate;

impl SharedGate {
    /// Closes the gate in this process, and returns its block to the ledger once no permit is in use and no request waits. Resolves when
    /// the ledger has confirmed the return, or at the deadline.
    ///
    /// New requests are rejected, and the requests that wait are served. At the deadline, the requests that still wait are rejected. The
    /// children and keys of the gate are closed, too, and so are the pools on it, whose items count as in use. If this gate is a child or
    /// a key, the gate of the lease is closed. [`Governor::close_all`](crate::Governor::close_all) does the same for each shared gate.
    ///
    /// If a process exits without leaving, the ledger keeps its block for one span.
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
        // The error means that the deadline has passed. `block_return` reports that.
        let _ = timeout_at(deadline, leaving).await;
        core.gate().close();
        core.block_return()
    }
}
