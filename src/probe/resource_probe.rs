//! The probe trait.

use std::sync::Arc;

use async_trait::async_trait;

use super::error::ProbeError;
use crate::plan::{Measurement, Resource};

/// Measures one resource, and may notify of changes.
///
/// A probe returns the amount of the resource, in the resource's own unit. Formulas decide which limit follows from
/// it. The [module](crate::probe) shows an implementation.
#[async_trait]
pub trait ResourceProbe: Send + Sync {
    /// Returns the resource that is measured. It must always be the same one.
    fn resource(&self) -> Resource;

    /// Measures the resource now, in the resource's unit, with the sources of the number.
    ///
    /// Return [`Reading::Unlimited`](crate::Reading::Unlimited) if the host does not limit the resource, and
    /// [`Reading::Unknown`](crate::Reading::Unknown) if it does not report it. Return an error if something failed
    /// that should have worked.
    ///
    /// A governor gives the call a deadline, and survives if it hangs, fails or panics. The call runs on a worker
    /// thread of the runtime: reading a few files of `/proc` is fine, blocking for longer is not.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if the resource could not be measured this time.
    ///
    /// # Cancel safety
    ///
    /// An implementation must be cancel safe: the caller drops the future at its deadline, and measures again later.
    async fn measure(&self) -> Result<Measurement, ProbeError>;

    /// Waits until the reading may have changed. The default waits forever: the resource is then measured only at the
    /// caller's own interval.
    ///
    /// It may resolve without a change, and may combine several changes. It must not miss a change that happens
    /// between two calls. After it resolves, the caller should measure and then wait again.
    ///
    /// # Cancel safety
    ///
    /// An implementation must be cancel safe: a change counts as reported when the future resolves. If the future is
    /// dropped before, the next call must report the change.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    /// Returns `true` if a rise of the reading takes effect at once. By default, a background refresh waits until a rise has
    /// [lasted](crate::governor::RefreshPolicy::rise_after).
    ///
    /// Return `true` for a reading that is damped already, such as a limit that a controller has chosen. If only probes of this
    /// kind report a change, only the reporting probes are measured, so they may report often. The method must always return
    /// the same value.
    fn rises_at_once(&self) -> bool {
        false
    }

    /// Returns a probe of the same resource that measures over intervals of its own. The default is `None`: no reading depends
    /// on the one before it.
    ///
    /// Implement it for a reading that is taken over the time since the last one, such as a share of time. Each gate whose overload is
    /// [declared](crate::Adaptive::overload_at) by the resource reads a probe of its own, so that no reading elsewhere shortens its
    /// interval. It is called when the governor is built or the gate is added.
    fn with_own_interval(&self) -> Option<Arc<dyn ResourceProbe>> {
        None
    }
}

#[async_trait]
impl<P: ResourceProbe + ?Sized> ResourceProbe for Box<P> {
    fn resource(&self) -> Resource {
        (**self).resource()
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        (**self).measure().await
    }

    async fn changed(&self) {
        (**self).changed().await;
    }

    fn rises_at_once(&self) -> bool {
        (**self).rises_at_once()
    }

    fn with_own_interval(&self) -> Option<Arc<dyn ResourceProbe>> {
        (**self).with_own_interval()
    }
}

#[async_trait]
impl<P: ResourceProbe + ?Sized> ResourceProbe for Arc<P> {
    fn resource(&self) -> Resource {
        (**self).resource()
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        (**self).measure().await
    }

    async fn changed(&self) {
        (**self).changed().await;
    }

    fn rises_at_once(&self) -> bool {
        (**self).rises_at_once()
    }

    fn with_own_interval(&self) -> Option<Arc<dyn ResourceProbe>> {
        (**self).with_own_interval()
    }
}
