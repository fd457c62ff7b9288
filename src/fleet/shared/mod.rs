//! The gate of a share: a local gate whose limit is a block that is leased from a ledger.
//!
//! From the surface downwards; no file imports one of a row above it.
//!
//! ```text
//! leave           returns the block, and waits until the ledger has it
//! gate            SharedGate: the handle
//! request         SharedRequest: weights, deadlines, and what a request does once it is admitted
//! acquire         a request as a future, as a blocked thread, or at once
//! permit          SharedPermit, and the handle that keeps the lease
//! driver          the thread that makes the exchanges
//! core            the local gate and its lease: what handles and the thread share
//! status          reports, and why a request is rejected
//! block_return    what has become of the block
//! leased_items    what a pool tells the lease
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
