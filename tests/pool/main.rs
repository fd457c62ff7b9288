//! The promises of a pool, one test for each. No test sleeps: futures are polled by hand, or time is paused.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../gate/hooks.rs"]
mod hooks;
mod support;

mod budget;
mod build;
mod cancel;
mod close;
mod create;
mod deadline;
mod group;
mod health;
mod idle;
mod limit;
mod outage;
mod pooled_item;
mod retain;
mod runtime;
mod start;
mod status;
mod storm;
