//! Whether a process that leaves its fleet has returned its block.

use std::fmt;

use crate::plan::GateName;

/// Whether a process that [leaves](super::SharedGate::leave) its fleet has returned its block.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockReturn {
    /// The ledger has confirmed that it has the whole block. Other processes can use it.
    Confirmed,
    /// The deadline has passed while permits were in use, or items of a pool were live. The block is returned after the last of them.
    InUse {
        /// The permits in use, or the live items if there are more.
        permits: u32,
    },
    /// The deadline has passed before the ledger has confirmed the return. The ledger gets the block back one span after its last exchange
    /// with this process, or later if no process makes an exchange or while the ledger learns.
    Unconfirmed {
        /// Why the last exchange with the ledger has failed, if it has.
        problem: Option<String>,
    },
}

/// A block that the ledger may still count as used by this process. [`CloseReport`](crate::governor::CloseReport) has a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreturnedBlock {
    /// The gate.
    pub gate: GateName,
    /// Why the block is not returned.
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
