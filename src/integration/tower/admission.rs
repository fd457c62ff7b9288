//! The admission of a request of a layer by its gate.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::classify::Classifying;
use super::layer_gate::{GateKind, LayerGate};
use super::rejected::RejectionCause;
use crate::gate::Priority;
use crate::integration::observed::{Observation, ObservedPermit};

/// The settings of a layer, shared by all of its requests.
#[derive(Clone, Debug)]
pub(super) struct LayerSettings {
    pub(super) gate: LayerGate,
    /// Where the layer was created.
    pub(super) location: &'static Location<'static>,
    pub(super) wait_policy: WaitPolicy,
    pub(super) retry_after: Duration,
    pub(super) observation: Observation,
}

/// How long a request may wait for its permit.
#[derive(Clone, Copy, Debug)]
pub(super) enum WaitPolicy {
    /// A request that would have to wait is rejected.
    Never,
    /// As long as the gate allows.
    AsGateAllows,
    /// At most this long, and no longer than the gate allows.
    AtMost(Duration),
}

/// The settings of the layer, the key and the priority with which one request acquires its permit.
pub(super) struct RequestAdmission {
    pub(super) settings: Arc<LayerSettings>,
    /// The gate of the request's key. `None` if the request acquires from the gate of the layer.
    key: Option<LayerGate>,
    priority: Priority,
}

/// The result of the first attempt of a request to acquire its permit.
pub(super) enum FirstAttempt {
    Decided(Result<ObservedPermit, RejectionCause>),
    MustWait(BoxedWait),
}

/// A wait for a permit. It is boxed, so that a request that is admitted without a wait allocates no memory for it.
pub(super) struct BoxedWait(Pin<Box<dyn Future<Output = Result<ObservedPermit, RejectionCause>> + Send>>);

impl RequestAdmission {
    /// Classifies the request. If `classifying` returns keys, the gate of the layer must have keys.
    pub(super) fn new<R>(
        settings: &Arc<LayerSettings>,
        classifying: &impl Classifying<R>,
        request: &R,
    ) -> Self {
        let key = classifying.key(request).map(|key| settings.gate.key(key));
        Self { settings: Arc::clone(settings), key, priority: classifying.priority(request) }
    }

    /// Tries to acquire the permit without waiting. A returned wait enters the queue when it is first polled. Called at most once.
    pub(super) fn try_admit(&mut self) -> FirstAttempt {
        let LayerSettings { observation, location, .. } = *self.settings;
        let never_waits = self.never_waits();
        // The two kinds of gates have requests of different types with the same methods.
        macro_rules! attempt_at {
            ($gate:expr, $try_acquire:ident, $hold:ident) => {
                if never_waits {
                    let request = $gate.request().priority(self.priority).made_at(location);
                    let admitted = request.$try_acquire().map(|permit| observation.$hold(permit));
                    return FirstAttempt::Decided(admitted.map_err(Into::into));
                } else if let Some(permit) = $gate.try_acquire_fast() {
                    return FirstAttempt::Decided(Ok(observation.$hold(permit)));
                }
            };
        }
        match &self.key.as_ref().unwrap_or(&self.settings.gate).0 {
            GateKind::Local(gate) => attempt_at!(gate, try_acquire_owned, hold),
            #[cfg(feature = "fleet")]
            GateKind::Shared(gate) => attempt_at!(gate, try_acquire, hold_shared),
        }
        FirstAttempt::MustWait(self.begin_wait())
    }

    /// Returns a wait, which enters the queue when it is first polled. Called at most once, because it takes the key.
    pub(super) fn begin_wait(&mut self) -> BoxedWait {
        BoxedWait(Box::pin(wait(Arc::clone(&self.settings), self.key.take(), self.priority)))
    }

    /// Returns `true` if a request that would have to wait is rejected.
    pub(super) fn never_waits(&self) -> bool {
        matches!(self.settings.wait_policy, WaitPolicy::Never)
    }
}

/// Waits for a permit in the queue of the gate.
async fn wait(
    settings: Arc<LayerSettings>,
    key: Option<LayerGate>,
    priority: Priority,
) -> Result<ObservedPermit, RejectionCause> {
    let LayerSettings { observation, location, .. } = *settings;
    let longest = match settings.wait_policy {
        WaitPolicy::AtMost(wait) => Some(wait),
        WaitPolicy::Never | WaitPolicy::AsGateAllows => None,
    };
    // The two kinds of gates have requests of different types with the same methods.
    macro_rules! wait_at {
        ($gate:expr, $hold:ident) => {{
            let mut request = $gate.request().priority(priority).made_at(location);
            if let Some(longest) = longest {
                request = request.max_wait(longest);
            }
            let acquiring = request.acquire_owned();
            #[cfg(feature = "tracing")]
            if observation.traced {
                let traced = acquiring.traced();
                let traced = if observation.shows_key { traced.with_key() } else { traced };
                return Ok(observation.$hold(traced.await?));
            }
            Ok(observation.$hold(acquiring.await?))
        }};
    }
    match &key.as_ref().unwrap_or(&settings.gate).0 {
        GateKind::Local(gate) => wait_at!(gate, hold),
        #[cfg(feature = "fleet")]
        GateKind::Shared(gate) => wait_at!(gate, hold_shared),
    }
}

impl BoxedWait {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ObservedPermit, RejectionCause>> {
        self.0.as_mut().poll(cx)
    }
}
