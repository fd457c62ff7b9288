//! The exchange between a holder and the ledger of a gate, as a pure step: no clock, no I/O, whole numbers only.
//!
//! Every engine runs this step: the ledger in memory calls it, and the Lua script of Redis and the function of PostgreSQL are
//! translations of it that give the same answers. docs/FLEET.md explains the rules, and why the cost of an exchange does not
//! grow with the number of holders.

mod state;

mod entries;
mod status;
mod water;

mod ask;

pub use ask::{Ask, Claim, Fence, Grant, LeaseTerms, LedgerServer, LimitVersion, Replayed, TermsError};
pub use state::LedgerState;
pub use status::{HolderStatus, LedgerStatus};
