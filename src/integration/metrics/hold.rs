//! The hold time of permits, measured on request.

use std::ops::Deref;
use std::time::Instant;

use metrics::histogram;

use super::HOLD;
#[cfg(feature = "fleet")]
use crate::fleet::SharedPermit;
use crate::gate::{OwnedPermit, Permit};
use crate::plan::GateName;

impl Permit<'_> {
    /// Wraps the permit so that its hold time is recorded in the histogram [`HOLD`] when it is dropped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use concurrency_governor::{Gate, GateName, Limit};
    /// # let uploads = Gate::new(GateName::new("uploads"), Limit::new(8));
    /// let permit = uploads.acquire().await?.timed();
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    pub fn timed(self) -> Timed<Self> {
        let gate = self.gate().name();
        Timed::new(self, gate)
    }
}

impl OwnedPermit {
    /// Wraps the permit so that its hold time is recorded when it is dropped; see [`Permit::timed`].
    pub fn timed(self) -> Timed<Self> {
        let gate = self.gate().name();
        Timed::new(self, gate)
    }
}

#[cfg(feature = "fleet")]
impl SharedPermit {
    /// Wraps the permit so that its hold time is recorded when it is dropped; see [`Permit::timed`].
    pub fn timed(self) -> Timed<Self> {
        let gate = self.local().gate().name();
        Timed::new(self, gate)
    }
}

/// A permit whose hold time is recorded when it is dropped; from [`Permit::timed`].
///
/// The permit is released before the hold time is recorded, so a slow recorder does not delay the waiters.
#[derive(Debug)]
#[must_use = "dropping the permit releases it at once"]
pub struct Timed<P> {
    // Fields are dropped in this order: release first, record second.
    permit: P,
    _recorder: HoldRecorder,
}

/// Records the time since its creation when it is dropped.
#[derive(Debug)]
struct HoldRecorder {
    gate: GateName,
    since: Instant,
}

impl<P> Timed<P> {
    fn new(permit: P, gate: GateName) -> Self {
        Self { permit, _recorder: HoldRecorder { gate, since: Instant::now() } }
    }
}

impl<P> Deref for Timed<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.permit
    }
}

impl Drop for HoldRecorder {
    fn drop(&mut self) {
        histogram!(HOLD, "gate" => self.gate.to_string()).record(self.since.elapsed());
    }
}
