//! What a gate that tracks its holders knows and reports about them. The records of the permits in use and of the waiting requests are in
//! `queue/fair/tracker.rs`.
//!
//! ```text
//! requester, record   the code that makes a request; the number of the record of its permits
//! holder, watch       the public report; the statistics and report times of a gate
//! cycle               deadlock detection: tasks that wait for each other's permits
//! ```

pub(super) mod record;
pub(super) mod requester;

pub(super) mod holder;
pub(super) mod watch;

pub(super) mod cycle;
