//! How long a permit is held, where that is asked for.

use std::ops::Deref;
use std::time::Instant;

use metrics::histogram;

use super::HOLD;
use crate::gate::{OwnedPermit, Permit};
use crate::plan::GateName;

impl Permit<'_> {
    /// The same permit, which records how long it was held when it is dropped, in the histogram [`HOLD`].
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
    /// The same permit, which records how long it was held when it is dropped; see [`Permit::timed`].
    pub fn timed(self) -> Timed<Self> {
        let gate = self.gate().name();
        Timed::new(self, gate)
    }
}

/// A permit that records how long it was held; from [`Permit::timed`].
///
/// Its permits are back before that is recorded, so the recorder holds nobody up.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once admits nothing"]
pub struct Timed<P> {
    permit: P,
    _record: Record,
}

/// Dropped after the permit.
#[derive(Debug)]
struct Record {
    gate: GateName,
    since: Instant,
}

impl<P> Timed<P> {
    fn new(permit: P, gate: GateName) -> Self {
        Self { permit, _record: Record { gate, since: Instant::now() } }
    }
}

impl<P> Deref for Timed<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.permit
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        histogram!(HOLD, "gate" => self.gate.to_string()).record(self.since.elapsed());
    }
}
