//! Leaving the fleet: a process returns its block for good, and waits until the ledger has it.

use std::fmt;

use tokio::time::{Instant, timeout_at};

use super::shared_gate::SharedGate;
use crate::plan::GateName;

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

/// What has become of the block of a process that [leaves](SharedGate::leave) its fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockReturn {
    /// The ledger has confirmed that it has the whole block. Other processes can use it.
    Confirmed,
    /// The deadline has passed while permits were in use, or items of a pool were live. The block is returned after the last one.
    InUse {
        /// The permits in use, or the live items if there are more.
        permits: u32,
    },
    /// The deadline has passed before the ledger has confirmed. It has the block back at the latest one span after its last exchange with
    /// this process.
    Unconfirmed {
        /// Why the last exchange with the ledger has failed, if it has.
        problem: Option<String>,
    },
}

/// A block that the ledger may still count as used by this process; from [`CloseReport`](crate::governor::CloseReport).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreturnedBlock {
    /// The gate.
    pub gate: GateName,
    /// Why it is not returned.
    pub outcome: BlockReturn,
}

impl UnreturnedBlock {
    pub(crate) const fn new(gate: GateName, outcome: BlockReturn) -> Self {
        Self { gate, outcome }
    }
}

impl fmt::Display for UnreturnedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gate {}: {}", self.gate, self.outcome)
    }
}

impl fmt::Display for BlockReturn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confirmed => f.write_str("the ledger has the block back"),
            Self::InUse { permits } => {
                write!(f, "the block is not returned: {permits} permits or items are in use")
            }
            Self::Unconfirmed { problem } => {
                f.write_str(
                    "the ledger has not confirmed the return of the block, and may keep it for one span",
                )?;
                problem.as_ref().map_or(Ok(()), |problem| write!(f, ": {problem}"))
            }
        }
    }
}
