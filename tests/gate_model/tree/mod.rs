//! A model of a tree of gates: children, keys, weights, caps, priorities, deadlines and bounded queues, through the public API.
//!
//! [`run`] decodes bytes into a tree and steps. It applies each step to the real gates, polled by hand, and to an oracle, which knows
//! the rules of docs/GUARANTEES.md and computes everything anew from the whole tree. After each step it compares
//!
//! - the result of the call or poll;
//! - which requests were woken and in which order;
//! - which wakers the gates retain;
//! - the permits in use and the requests that wait at each gate, and all numbers of one gate and of one key.
//!
//! Grants, rejections by a full queue and the state after each step are also checked against P49 to P58 directly, whatever the oracle
//! chooses (`oracle/laws.rs`).

mod coverage;
mod driver;
mod oracle;
mod shape;
mod step_mix;
mod steps;

use crate::model::CLOCK;
use crate::model::decisions::Decisions;
use crate::runner::Trace;
use driver::TreeDriver;
use shape::Shape;

pub(crate) use coverage::Coverage;

/// Runs the tree and the steps that `bytes` describe, and returns which events happened.
///
/// # Panics
///
/// If the gates differ from the oracle, or break a promise.
pub(crate) fn run(bytes: &[u8], trace: Trace) -> Coverage {
    let mut decisions = Decisions::new(bytes);
    let shape = Shape::decide(&mut decisions);
    CLOCK.with(|clock| {
        let _entered = clock.enter();
        TreeDriver::new(&shape, clock, decisions, trace).run()
    })
}
