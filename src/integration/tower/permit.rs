//! The permit of a request, in the layer and in the service.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::runtime::Handle;

#[cfg(feature = "fleet")]
use crate::fleet::SharedPermit;
use crate::gate::{AcquireError, Key, OwnedPermit, run_blocking};
use crate::integration::observed::ObservedPermit;
use crate::plan::GateName;

/// The permit of a request; from the request's extensions, where [`GateLayer::pass_permit`](super::GateLayer::pass_permit)
/// puts it.
///
/// A clone shares the permit. The permit is released when the layer and every clone have dropped it.
#[derive(Clone, Debug)]
#[must_use = "the permit counts as in use while this value exists"]
pub struct RequestPermit(Arc<ObservedPermit>);

impl RequestPermit {
    pub(super) fn new(permit: ObservedPermit) -> Self {
        Self(Arc::new(permit))
    }

    /// Returns the name of the gate.
    #[must_use]
    pub fn gate(&self) -> GateName {
        self.0.local().gate().name()
    }

    /// Returns the key of the request, if the layer has found [one](super::GateLayer::by_key).
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.0.local().gate().as_key()
    }

    /// Returns the number of permits.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.0.local().weight()
    }

    /// Names the work in the reports of a gate that tracks its holders; see [`Permit::label`](crate::Permit::label).
    pub fn label(&self, label: impl Into<Cow<'static, str>>) {
        self.0.local().label(label);
    }

    /// Returns the permit if it is one of a shared gate, for example to check its lease.
    #[cfg(feature = "fleet")]
    #[must_use]
    pub fn shared(&self) -> Option<&SharedPermit> {
        self.0.shared()
    }

    /// Runs `work` under this permit on a thread of tokio's blocking pool. A panic of `work` continues in the caller.
    ///
    /// Unlike [`Gate::run_blocking`](crate::Gate::run_blocking), this method waits for no second permit. The permit is in use until
    /// `work` ends, even if the future was dropped, because a running thread cannot be stopped.
    ///
    /// # Errors
    ///
    /// [`AcquireError::NoRuntime`] if there is no tokio runtime, or if it shut down before `work` started.
    ///
    /// # Panics
    ///
    /// As `work`, and if the system cannot start a thread.
    ///
    /// # Cancel safety
    ///
    /// Once the future has been polled, `work` runs to its end.
    pub async fn run_blocking<F, T>(self, work: F) -> Result<T, AcquireError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let gate = self.gate();
        let Ok(runtime) = Handle::try_current() else { return Err(AcquireError::NoRuntime { gate }) };
        run_blocking(self, gate, &runtime, work).await
    }
}

/// The permit of a request. Dropping it releases the permit, unless the service still has it.
#[derive(Debug)]
pub enum HeldPermit {
    Own(ObservedPermit),
    /// The layer and the service share the permit.
    Shared(RequestPermit),
}

impl HeldPermit {
    pub(super) fn local(&self) -> &OwnedPermit {
        match self {
            Self::Own(permit) => permit.local(),
            Self::Shared(permit) => permit.0.local(),
        }
    }
}
