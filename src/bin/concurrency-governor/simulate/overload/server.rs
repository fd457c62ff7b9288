//! The simulated server: a gate whose queue has one of the orders.

use std::rc::Rc;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, OwnedPermit};
use concurrency_governor::{GateName, Limit};
use tokio::time::Instant;

use super::newest_first::{NewestFirstGate, NewestFirstPermit, NewestFirstRejection};
use super::order::QueueOrder;
use super::record::AttemptEnd;

/// The gate of the plan that is simulated. Its bounds are the same for all orders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerSpec {
    pub(crate) gate: GateName,
    pub(crate) limit: Limit,
    pub(crate) queue: Option<usize>,
    pub(crate) max_wait: Option<Duration>,
}

/// A gate whose queue has one of the orders.
#[derive(Clone, Debug)]
pub(super) enum ServerGate {
    Library(Gate),
    NewestFirst { gate: Rc<NewestFirstGate>, max_wait: Option<Duration> },
}

/// One admission. Dropping it releases its permit.
#[derive(Debug)]
#[expect(dead_code, reason = "the permits are only dropped")]
pub(super) enum ServerPermit {
    Library(OwnedPermit),
    NewestFirst(NewestFirstPermit),
}

/// Why a request was rejected, and after how long its client should retry.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerRejection {
    pub(super) end: AttemptEnd,
    pub(super) retry_after: Option<Duration>,
}

impl ServerGate {
    pub(super) fn new(spec: &ServerSpec, order: QueueOrder) -> Self {
        let ServerSpec { gate, limit, queue, max_wait } = *spec;
        let mut builder = Gate::builder(gate, limit);
        if let Some(bound) = queue {
            builder = builder.queue(bound);
        }
        if let Some(wait) = max_wait {
            builder = builder.max_wait(wait);
        }
        match order {
            QueueOrder::OldestFirst => Self::Library(builder.build()),
            QueueOrder::Shedding(shed) => Self::Library(builder.shed(shed).build()),
            QueueOrder::NewestFirst => {
                Self::NewestFirst { gate: NewestFirstGate::new(limit.get(), queue), max_wait }
            }
        }
    }

    /// Returns the number of requests in the queue.
    pub(super) fn waiting(&self) -> usize {
        match self {
            Self::Library(gate) => gate.waiting(),
            Self::NewestFirst { gate, .. } => gate.waiting(),
        }
    }

    pub(super) async fn acquire(&self, deadline: Option<Instant>) -> Result<ServerPermit, ServerRejection> {
        match self {
            Self::Library(gate) => {
                let mut request = gate.request();
                if let Some(deadline) = deadline {
                    request = request.deadline(deadline);
                }
                Ok(ServerPermit::Library(request.acquire_owned().await?))
            }
            Self::NewestFirst { gate, max_wait } => {
                let latest = max_wait.and_then(|wait| Instant::now().checked_add(wait));
                let deadline = [deadline, latest].into_iter().flatten().min();
                Ok(ServerPermit::NewestFirst(Rc::clone(gate).acquire(deadline).await?))
            }
        }
    }
}

impl From<AcquireError> for ServerRejection {
    fn from(error: AcquireError) -> Self {
        let end = match error {
            AcquireError::QueueFull { .. } => AttemptEnd::QueueFull,
            AcquireError::Shed { .. } => AttemptEnd::Shed,
            AcquireError::WouldExpire { .. } => AttemptEnd::WouldExpire,
            AcquireError::DeadlineExceeded { .. } => AttemptEnd::DeadlinePassed,
            _ => AttemptEnd::OtherRejection,
        };
        Self { end, retry_after: error.retry_after() }
    }
}

impl From<NewestFirstRejection> for ServerRejection {
    fn from(rejection: NewestFirstRejection) -> Self {
        let end = match rejection {
            NewestFirstRejection::QueueFull => AttemptEnd::QueueFull,
            NewestFirstRejection::DeadlinePassed => AttemptEnd::DeadlinePassed,
        };
        Self { end, retry_after: None }
    }
}
