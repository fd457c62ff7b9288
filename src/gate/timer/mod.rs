//! The timers of a gate: one per runtime on which requests with a deadline wait, however many requests wait there.
//!
//! A timer is a tokio `Sleep`. The runtime that polls a request also drives its timer, so a stopped or blocked runtime
//! delays only its own requests. The gate holds its lock while it changes this table, but not while it sets
//! a `Sleep`, because tokio has locks of its own: see [`Rearm`].

mod deadlines;
mod id;
mod rearm;
mod table;

pub(super) use id::{RuntimeId, TimerId};
pub(super) use rearm::Rearm;
pub(super) use table::{TimerState, Timers};
