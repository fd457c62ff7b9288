//! The gate of a share: a local gate whose limit is a block that is leased from a ledger.
//!
//! From the surface downwards; no file imports one of a row above it.
//!
//! ```text
//! leave           returns the block, and waits until the ledger has it
//! gate            SharedGate: the handle
//! request         SharedRequest: weights, deadlines, and methods that run work once the request is admitted
//! acquire         acquires as a future, by blocking the thread, or without waiting
//! permit          SharedPermit, and the handle that keeps the lease
//! driver          the thread that makes the exchanges
//! core            the local gate and its lease, which the handles and the thread share
//! status          SharedStatus, and the errors of rejected requests
//! block_return    BlockReturn: whether a block was returned
//! leased_items    the numbers that a pool reports to the lease
//! ```

mod leave;

mod gate;
mod request;

mod acquire;
mod permit;

mod driver;

mod core;

mod block_return;
mod leased_items;
mod status;

pub use acquire::SharedAcquire;
pub use block_return::{BlockReturn, UnreturnedBlock};
pub use gate::SharedGate;
pub use permit::SharedPermit;
pub use request::SharedRequest;
pub use status::{LeaseLost, SharedAcquireError, SharedStatus, SharedTryError, Unleased};

pub(crate) use leased_items::LeasedItems;

pub(super) use self::core::SharedCore;
pub(super) use driver::start;
