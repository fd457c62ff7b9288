//! What a gate keeps of the permits in use and of the tasks that wait, if it tracks its holders.
//!
//! ```text
//! requester, record   the code that makes a request; the record of its permits
//! holder, watch       what a gate reports; what it keeps beside the records
//! cycle               tasks that wait for each other's permits
//! ```

pub(super) mod record;
pub(super) mod requester;

pub(super) mod holder;
pub(super) mod watch;

pub(super) mod cycle;
