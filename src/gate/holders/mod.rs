//! The records of the permits in use and of the waiting tasks, at a gate that tracks its holders.
//!
//! ```text
//! requester, record   the code that makes a request; the record of its permits
//! holder, watch       the public report; the statistics and report times of a gate
//! cycle               deadlock detection: tasks that wait for each other's permits
//! ```

pub(super) mod record;
pub(super) mod requester;

pub(super) mod holder;
pub(super) mod watch;

pub(super) mod cycle;
