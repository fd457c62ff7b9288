//! The rules of admission: everything a gate decides under its lock.
//!
//! This module wakes no waker: a step adds wakers to a [`WakeList`](super::wake_list::WakeList). An instant is an argument, or the result
//! of a function argument that is called only if the instant is needed. Only the records of gates that track their holders read a clock
//! here. The module calls no foreign code and cannot panic, so each step happens as a whole or not at all.
//!
//! Invariants between two steps, where `in_use` includes the permits of admitted requests whose owner has not taken them yet:
//!
//! - `in_use + available == limit + debt`, and `available` or `debt` is 0.
//! - The request at the head of the queue does not fit. At a paused gate nothing fits.
//! - [`Word::WAITERS`](super::permits::Word::WAITERS) is set if and only if a request or a `drained` future waits.
//!
//! Each step gets the word as a plain value: while the lock is held no other thread changes it.

mod admission;
mod deadline;
mod drain_waiters;
mod drained;
mod holders;
mod pause;
mod tree;

pub(super) use admission::{ArrivalDecision, GateState, WaitDeadline};
pub(super) use drain_waiters::DrainTicket;
pub(super) use holders::TrackedRequest;
pub(super) use tree::{ArrivalTime, TreeArrival, TreeWait};

#[cfg(test)]
mod tests;
