//! How a request of a layer asks its gate for a permit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::rejected::RejectionCause;
use crate::gate::{Gate, OwnedPermit};
use crate::integration::observed::Observation;

/// The settings of a layer, shared by all of its requests.
#[derive(Clone, Debug)]
pub(super) struct LayerSettings {
    pub(super) gate: Gate,
    pub(super) wait_policy: WaitPolicy,
    pub(super) retry_after: Duration,
    pub(super) observation: Observation,
}

/// How long a request may wait for its permit.
#[derive(Clone, Copy, Debug)]
pub(super) enum WaitPolicy {
    /// A request without a free permit is rejected.
    Never,
    /// As long as the gate allows.
    AsGateAllows,
    /// At most this long, and no longer than the gate allows.
    AtMost(Duration),
}

/// The result of asking the gate for the first time.
pub(super) enum FirstAttempt {
    Decided(Result<OwnedPermit, RejectionCause>),
    MustWait(BoxedWait),
}

/// A wait for a permit. It is boxed so that a request that is admitted at once allocates no memory for it.
pub(super) struct BoxedWait(Pin<Box<dyn Future<Output = Result<OwnedPermit, RejectionCause>> + Send>>);

impl LayerSettings {
    /// Asks the gate for a permit. A returned wait enters the queue when it is first polled.
    pub(super) fn try_admit(self: &Arc<Self>) -> FirstAttempt {
        if matches!(self.wait_policy, WaitPolicy::Never) {
            return FirstAttempt::Decided(self.gate.try_acquire_owned().map_err(RejectionCause::from));
        }
        match self.gate.try_acquire_fast() {
            Some(permit) => FirstAttempt::Decided(Ok(permit)),
            None => FirstAttempt::MustWait(BoxedWait(Box::pin(Arc::clone(self).wait()))),
        }
    }

    async fn wait(self: Arc<Self>) -> Result<OwnedPermit, RejectionCause> {
        let mut request = self.gate.request();
        if let WaitPolicy::AtMost(wait) = self.wait_policy {
            request = request.max_wait(wait);
        }
        Ok(self.observation.acquire(request).await?)
    }
}

impl BoxedWait {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<OwnedPermit, RejectionCause>> {
        self.0.as_mut().poll(cx)
    }
}
