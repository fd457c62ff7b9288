//! Closing the gates of a governor, and what is left of them at the deadline.

use std::fmt;

use tokio::time::{Instant, timeout_at};

use super::Governor;
use super::diagnosis::{HolderGroup, holder_groups};
#[cfg(feature = "fleet")]
use crate::fleet::UnreturnedBlock;
use crate::gate::Gate;
use crate::plan::{GateName, GateSpec};

impl Governor {
    /// Closes every gate without failing the work that is under way: for a graceful shutdown, after the source of new work has stopped.
    ///
    /// The gates are closed one by one: each rejects new requests, serves those that wait, and is drained before the next
    /// is closed. They are closed in the order of the plan, but a parent after its children. Declare the gates in the order
    /// in which work passes them: then work that holds a permit of one gate can still acquire from the later ones, and make
    /// [nested](crate::gate::Request::under) requests. At the deadline all gates are closed: what still waits is rejected.
    /// A gate that is [added](Self::add) meanwhile is closed, too; one that is added afterwards is open. Permits are never revoked.
    ///
    /// A [pool](crate::pool) on one of the gates is closed with it, after the last checkout; `Pool::drained` waits for its items. A
    /// [paused](Gate::pause) gate is not resumed, so its queue is rejected at the deadline. The background refresh goes on.
    ///
    /// A gate that shares its limit with other processes returns its block to the ledger once it is drained, as
    /// `SharedGate::leave` does. In the end this waits until the ledgers have confirmed that: until the deadline, if one
    /// does not answer.
    ///
    /// ```
    /// # use concurrency_governor::{Formula, GateSpec, Governor};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tokio::time::Instant;
    ///
    /// const REQUESTS: GateSpec = GateSpec::new("requests", Formula::fixed(8)).queue(1000);
    /// const OUTBOUND: GateSpec = GateSpec::new("outbound", Formula::fixed(4));
    /// let governor = Governor::builder().gate(REQUESTS).gate(OUTBOUND).build().await?;
    ///
    /// let closed = governor.close_all(Instant::now() + Duration::from_secs(25)).await;
    /// assert!(closed.is_complete(), "{closed}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled. If a waker panics; its gate is closed then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the gates as they are: some closed, some serving their queue, some open. It may be called again.
    pub async fn close_all(&self, deadline: Instant) -> CloseReport {
        let mut drained = Vec::new();
        // The order is read again before each step, because a gate may have been added.
        while let Some(gate) = self.closing_order().into_iter().find(|gate| !drained.contains(&gate.name())) {
            gate.close_after_queue();
            if timeout_at(deadline, gate.drained()).await.is_err() {
                break;
            }
            self.0.shares.begin_leave(gate.name());
            drained.push(gate.name());
        }
        let gates = self.closing_order();
        // All gates reject new requests before one of them rejects waiting requests. Otherwise a task whose wait was
        // rejected could still be admitted at another gate.
        gates.iter().for_each(Gate::close_after_queue);
        let left = gates.iter().map(left_of).filter(|left| left.in_use > 0 || left.rejected > 0);
        let left = left.collect();
        gates.iter().for_each(Gate::close);
        CloseReport {
            left,
            #[cfg(feature = "fleet")]
            unreturned: self.0.shares.leave(deadline).await,
        }
    }

    /// Returns the gates in the order of the plan, each after its children.
    fn closing_order(&self) -> Vec<Gate> {
        let declared = self.declared();
        let (specs, gates) = (declared.plan.specs(), &declared.gates);
        let mut ordered: Vec<Gate> = Vec::with_capacity(gates.len());
        // The search is quadratic, but a plan has few gates.
        let mut left: Vec<GateName> = specs.iter().map(GateSpec::name).collect();
        while !left.is_empty() {
            let is_parent = |name: GateName| {
                specs.iter().any(|spec| spec.parent() == Some(name) && left.contains(&spec.name()))
            };
            let Some(at) = left.iter().position(|name| !is_parent(*name)) else { break };
            let next = left.remove(at);
            ordered.extend(gates.iter().find(|gate| gate.name() == next).cloned());
        }
        ordered
    }
}

fn left_of(gate: &Gate) -> GateLeft {
    GateLeft {
        gate: gate.name(),
        in_use: gate.in_use(),
        rejected: gate.waiting(),
        holders: holder_groups(gate),
    }
}

/// What was left when the gates of a governor were closed; from [`Governor::close_all`]. It prints as one line for each gate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// The gates that were not drained before the deadline, in the order in which they were closed.
    pub left: Vec<GateLeft>,
    /// The gates that share their limit with other processes, and whose ledger has not confirmed before the deadline that
    /// it has their block back.
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    pub unreturned: Vec<UnreturnedBlock>,
}

/// What was left of one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateLeft {
    /// The gate.
    pub gate: GateName,
    /// Permits that were in use, those of children and keys included.
    pub in_use: u32,
    /// Requests that waited and were rejected, those of children and keys included.
    pub rejected: usize,
    /// Which work held the permits; empty if the gate does not [track its holders](crate::GateSpec::track_holders).
    pub holders: Vec<HolderGroup>,
}

impl CloseReport {
    /// Returns `true` if all work ended before the deadline, and the ledgers have confirmed that they have all blocks back.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        #[cfg(feature = "fleet")]
        return self.left.is_empty() && self.unreturned.is_empty();
        #[cfg(not(feature = "fleet"))]
        self.left.is_empty()
    }
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_complete() {
            return f.write_str("all work ended before the deadline");
        }
        let lines = self.left.iter().map(|left| left as &dyn fmt::Display);
        #[cfg(feature = "fleet")]
        let lines = lines.chain(self.unreturned.iter().map(|block| block as &dyn fmt::Display));
        for (index, line) in lines.enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for GateLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, in_use, rejected, holders } = self;
        let plural =
            |count: usize, one: &'static str, more: &'static str| if count == 1 { one } else { more };
        let permits = plural(*in_use as usize, "permit", "permits");
        let requests = plural(*rejected, "waiting request was", "waiting requests were");
        write!(f, "gate {gate}: {in_use} {permits} still in use, {rejected} {requests} rejected")?;
        holders.iter().try_for_each(|group| write!(f, "\n  {group}"))
    }
}
