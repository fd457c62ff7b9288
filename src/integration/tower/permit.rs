//! The permit of a request, in the layer and in the service.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::gate::{AcquireError, OwnedPermit, run_blocking};
use crate::integration::observed::ObservedPermit;

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

    /// Returns the admission: its gate and its weight.
    pub fn permit(&self) -> &OwnedPermit {
        (*self.0).as_ref()
    }

    /// Runs `work` under this permit on a thread of tokio's blocking pool. A panic of `work` continues in the caller.
    ///
    /// It waits for no second permit, unlike [`Gate::run_blocking`](crate::Gate::run_blocking). The permit is in use until
    /// `work` ends, even if the future was dropped: a thread cannot be stopped, so it counts for as long as it runs.
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
        let gate = self.permit().gate().name();
        let Ok(runtime) = Handle::try_current() else { return Err(AcquireError::NoRuntime { gate }) };
        run_blocking(self, gate, &runtime, work).await
    }
}

impl AsRef<OwnedPermit> for RequestPermit {
    fn as_ref(&self) -> &OwnedPermit {
        self.permit()
    }
}

/// The permit of a request. Dropping it releases the permit, unless the service still has it.
#[derive(Debug)]
pub enum HeldPermit {
    Own(ObservedPermit),
    /// The service has it, too.
    Shared(RequestPermit),
}

impl HeldPermit {
    pub(super) fn permit(&self) -> &OwnedPermit {
        match self {
            Self::Own(permit) => permit.as_ref(),
            Self::Shared(permit) => permit.permit(),
        }
    }
}
