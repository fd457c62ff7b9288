//! Permits of several gates at once.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::acquire::reject;
use super::clock;
use super::error::AcquireError;
use super::handle::Gate;
use super::permit::Permit;
use crate::plan::GateName;

/// Waits for permits of several gates, all or none.
///
/// All callers acquire in the order in which the gates were created, whatever the order of the list, so no set of such calls deadlocks. A
/// gate of a tree counts as created with its root. While a call waits for a gate, it holds the permits of the gates before that one. A gate
/// that is listed twice is requested once, with the sum of the weights.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use concurrency_governor::{Gate, GateName, Limit, gate};
///
/// let blocking = Gate::new(GateName::new("blocking"), Limit::new(2));
/// let memory = Gate::new(GateName::new("memory"), Limit::new(1024));
/// let permits = gate::acquire_all([(&blocking, 1), (&memory, 512)]).max_wait(Duration::from_secs(1)).await?;
/// assert_eq!((blocking.in_use(), memory.in_use()), (1, 512));
/// drop(permits);
/// assert_eq!((blocking.in_use(), memory.in_use()), (0, 0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// The future resolves to the [`AcquireError`] of the first request that is rejected. No permit is held then. It resolves to
/// [`AcquireError::SelfWait`] before any request is made, if two of the gates are different gates of one tree, such as two keys: the call
/// would hold permits of their root while it waits for more permits of that root.
///
/// # Panics
///
/// The future panics as [`Acquire`](super::Acquire).
///
/// # Cancel safety
///
/// Dropping the future removes the waiting request from its queue, and releases the permits that were acquired so far.
#[track_caller]
pub fn acquire_all<'g>(requests: impl IntoIterator<Item = (&'g Gate, u32)>) -> AcquireAll<'g> {
    let mut merged: Vec<(&Gate, u32)> = Vec::new();
    for (gate, weight) in requests {
        match merged.iter_mut().find(|(known, _)| known.is_same(gate)) {
            Some((_, sum)) => *sum = sum.saturating_add(weight),
            None => merged.push((gate, weight)),
        }
    }
    merged.sort_by_key(|(gate, _)| gate.order());
    // The gates of a tree have the order of its root, so two of them are neighbours after the sort.
    let conflict_of = |pair: &[(&Gate, u32)]| match pair {
        [(gate, _), (other, _)] if gate.order() == other.order() => Some(other.name()),
        _ => None,
    };
    let conflict = merged.windows(2).find_map(conflict_of);
    AcquireAll { requests: merged, conflict, max_wait: None, deadline: None, location: Location::caller() }
}

/// Resolves to a [`PermitSet`] when it is awaited; from [`acquire_all`].
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct AcquireAll<'g> {
    /// The merged requests, in the order of acquisition. Each gate occurs once.
    requests: Vec<(&'g Gate, u32)>,
    /// A gate of this call that is in the same tree as another gate of this call.
    conflict: Option<GateName>,
    max_wait: Option<Duration>,
    deadline: Option<Instant>,
    location: &'static Location<'static>,
}

impl<'g> AcquireAll<'g> {
    /// Ends the wait for all permits together after this duration, counted from the first poll.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Ends the wait for all permits together at this instant.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    async fn acquire(self) -> Result<PermitSet<'g>, AcquireError> {
        let Self { requests, conflict, max_wait, deadline, location } = self;
        if let Some(gate) = conflict {
            return reject(AcquireError::SelfWait { gate }).await;
        }
        // One deadline for all waits together.
        let latest = max_wait.and_then(|wait| clock::to_deadline(clock::add(clock::now(), wait)));
        let deadline = deadline.into_iter().chain(latest).min();
        let mut set = PermitSet { permits: Vec::with_capacity(requests.len()) };
        for (gate, weight) in requests {
            let request = gate.request().weight(weight).made_at(location);
            let request = match deadline {
                Some(deadline) => request.deadline(deadline),
                None => request,
            };
            set.permits.push(request.acquire().await?);
        }
        Ok(set)
    }
}

impl<'g> IntoFuture for AcquireAll<'g> {
    type Output = Result<PermitSet<'g>, AcquireError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'g>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.acquire())
    }
}

/// Permits of several gates; from [`acquire_all`]. Dropping the set releases them in the reverse order of acquisition.
#[must_use = "permits that are dropped at once protect no work"]
pub struct PermitSet<'g> {
    permits: Vec<Permit<'g>>,
}

impl<'g> PermitSet<'g> {
    /// Returns the permits, in the order of their acquisition.
    pub fn permits(&self) -> &[Permit<'g>] {
        &self.permits
    }
}

impl Drop for PermitSet<'_> {
    fn drop(&mut self) {
        while self.permits.pop().is_some() {}
    }
}

impl fmt::Debug for PermitSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.permits).finish()
    }
}
