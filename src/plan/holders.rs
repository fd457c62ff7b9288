//! Whether a gate keeps records of its permits.

use std::time::Duration;

/// The declaration that a gate tracks its holders: it keeps a record of each permit in use, which a
/// [diagnosis](crate::Governor::diagnose) shows.
///
/// Add it with [`GateSpec::track_holders`](crate::GateSpec::track_holders) or
/// [`GateBuilder::track_holders`](crate::gate::GateBuilder::track_holders). It also applies to the children and the keys of
/// the gate; a child can set another time.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::{Formula, GateSpec, Holders, Resource};
///
/// const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64))
///     .track_holders(Holders::overdue_after(Duration::from_secs(30)));
/// # let _ = IO;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Holders {
    overdue_after: Duration,
}

impl Holders {
    /// Tracks holders. A permit that is in use for longer than this time is *overdue*. While requests wait for longer than that and no
    /// permit is acquired or released, the gate is *stalled*.
    pub const fn overdue_after(duration: Duration) -> Self {
        Self { overdue_after: duration }
    }

    /// Returns the time after which a permit in use is overdue.
    #[must_use]
    pub const fn overdue_duration(&self) -> Duration {
        self.overdue_after
    }
}
