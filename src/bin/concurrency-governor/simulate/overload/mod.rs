//! `simulate --shed`: the same overload at three gates, which differ in the order of their queues.

mod clients;
mod newest_first;
mod order;
mod record;
mod server;

pub(crate) use clients::{ClientBehaviour, DeadlinePropagation, OverloadSimulation, RetryHints};
pub(crate) use order::QueueOrder;
pub(crate) use record::{ATTEMPT_ENDS, ClientSlice, OrderRecord, percentile};
pub(crate) use server::ServerSpec;
