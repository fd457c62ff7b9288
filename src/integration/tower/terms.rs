//! How a layer's requests ask for admission.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::hold::Hold;
use super::rejected::Cause;
use crate::gate::{Gate, OwnedPermit};

/// What all requests of a layer have in common.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) gate: Gate,
    pub(super) patience: Patience,
    pub(super) retry_after: Duration,
    #[cfg(feature = "metrics")]
    pub(super) timed: bool,
    #[cfg(feature = "tracing")]
    pub(super) traced: bool,
}

/// How long a request waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    Try,
    Wait { at_most: Option<Duration> },
}

/// What a request meets at the gate.
pub(super) enum Entry {
    Decided(Result<OwnedPermit, Cause>),
    MustWait(Waiting),
}

/// A place in line. In a box of its own, so that a request that is admitted at once takes no memory for it.
pub(super) type Waiting = Pin<Box<dyn Future<Output = Result<OwnedPermit, Cause>> + Send>>;

impl Terms {
    /// The first a request does; a wait takes its place in line when it is polled.
    pub(super) fn enter(self: &Arc<Self>) -> Entry {
        match self.patience {
            Patience::Try => Entry::Decided(self.gate.try_acquire_owned().map_err(Cause::from)),
            Patience::Wait { at_most } => match self.gate.try_acquire_uncounted() {
                Some(permit) => Entry::Decided(Ok(permit)),
                None => Entry::MustWait(Box::pin(Arc::clone(self).wait(at_most))),
            },
        }
    }

    async fn wait(self: Arc<Self>, at_most: Option<Duration>) -> Result<OwnedPermit, Cause> {
        let request = self.gate.request();
        let request = at_most.map_or(request, |wait| request.max_wait(wait));
        let acquire = request.acquire_owned();
        #[cfg(feature = "tracing")]
        if self.traced {
            return Ok(acquire.traced().await?);
        }
        Ok(acquire.await?)
    }

    #[cfg_attr(
        not(feature = "metrics"),
        expect(clippy::unused_self, reason = "only metrics make a difference")
    )]
    pub(super) fn hold(&self, permit: OwnedPermit) -> Hold {
        #[cfg(feature = "metrics")]
        if self.timed {
            return Hold::Timed(permit.timed());
        }
        Hold::Plain(permit)
    }
}
