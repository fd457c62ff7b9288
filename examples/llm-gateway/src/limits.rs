//! The limits of the gateway: who is next, how many calls the provider bears, and how many the whole fleet may make.
//!
//! A call needs two permits, in this order:
//!
//! 1. One of the gate `provider` in this process. It shares fairly among tenants, puts urgent requests first, sheds under overload, and its
//!    limit follows the latency of the provider.
//! 2. One of the fleet's limit, which all gateways share by leases from Redis.
//!
//! The fair queue comes first, because the queue of the fleet's gate is first come, first served. Only a few requests wait in that: as many as
//! the first gate admits above the block of this process.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use axum::{BoxError, http};
use concurrency_governor::feedback::Outcome;
use concurrency_governor::fleet::{
    LeasePhase, RedisLedger, Share, SharedAcquireError, SharedGate, SharedPermit, SharedStatus,
};
use concurrency_governor::gate::{Attempt, Gate, Key, OwnedPermit, Priority};
use concurrency_governor::governor::{RefreshPolicy, RefreshTask};
use concurrency_governor::integration::tracing::TracingObserver;
use concurrency_governor::{
    AcquireError, Adaptive, Formula, GateSpec, Governor, Holders, Keys, Limit, Resource, Shed, probe,
};
use tokio::time::Instant;

/// The most calls that all gateways together have in flight: what the contract with the provider allows. An operator changes it for the whole
/// fleet by `concurrency-governor fleet set-limit`.
const FLEET_LIMIT: Limit = Limit::new(24);

/// The calls of this process: at most 16, so that no gateway takes the whole limit of the fleet, and at most an eighth of the descriptors.
/// Below that, as many as the provider answers within [`HEALTHY`].
const PROVIDER: GateSpec = GateSpec::new("provider", Formula::fixed(16).at_most(Resource::FD.fraction(1, 8)))
    .adaptive(Adaptive::aimd(HEALTHY).start(8).floor(2))
    .keyed(Keys::up_to(1000).queue(500))
    .queue(2000)
    .shed(Shed::after(Duration::from_millis(250)))
    .track_holders(Holders::overdue_after(MAX_HOLD));

/// A provider that takes longer for one call in ten is overloaded.
const HEALTHY: Duration = Duration::from_millis(200);

/// How long a request waits for its permits. Its client waits for this time and for the call.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// After this time a call is given up. The fleet's limit holds under all faults only if no call takes longer.
pub const MAX_HOLD: Duration = Duration::from_secs(2);

/// How long a gateway goes on without Redis. A short time makes a fleet recover sooner: see the README.
const LEASE: Duration = Duration::from_secs(2);

/// The limits, and the handles of operators.
pub struct Limits {
    pub governor: Governor,
    pub provider: Gate,
    fleet: SharedGate,
    _refresh: RefreshTask,
}

impl Limits {
    /// Creates the gates, and joins the fleet that this Redis keeps the limit of.
    pub async fn new(redis: &str) -> Result<Self, BoxError> {
        let governor = Governor::builder()
            .gate(PROVIDER)
            .probes(probe::host())
            .observer(TracingObserver::new())
            .build()
            .await?;
        let share = Share::of(RedisLedger::new(redis)?, "llm-gateway/provider").limit(FLEET_LIMIT);
        Ok(Self {
            provider: governor.gate(PROVIDER)?,
            fleet: share.max_hold(MAX_HOLD).ttl(LEASE).open(PROVIDER)?,
            _refresh: governor.spawn_refresh(RefreshPolicy::new()),
            governor,
        })
    }

    /// Waits until a request of this tenant may call the provider.
    pub async fn admit(&self, tenant: Key, priority: Priority) -> Result<Admission, Rejection> {
        let deadline = Instant::now() + MAX_WAIT;
        let tenant = self.provider.key(tenant);
        let local = tenant.request().priority(priority).deadline(deadline).acquire_owned().await?;
        local.label("waits for the fleet's limit"); // what `/diagnosis` shows
        let fleet = self.fleet.request().deadline(deadline).acquire().await?;
        local.label("calls the provider");
        // The attempt begins here: the wait for the fleet's limit says nothing about the latency of the provider.
        Ok(Admission { attempt: local.attempt(), _fleet: fleet })
    }

    /// Returns the state of this process's part of the fleet's limit.
    pub fn fleet(&self) -> SharedStatus {
        self.fleet.status()
    }

    /// Returns whether requests can be admitted: whether this process has a part of the fleet's limit.
    pub fn is_ready(&self) -> bool {
        let fleet = self.fleet();
        fleet.phase == LeasePhase::Leased && fleet.cap > 0
    }
}

/// The permits of one call. Dropping it releases them, without an outcome.
pub struct Admission {
    attempt: Attempt<OwnedPermit>,
    _fleet: SharedPermit,
}

impl Admission {
    /// Reports what the call tells about the provider, and releases the permits.
    pub fn finish(self, outcome: Outcome) {
        self.attempt.finish(outcome);
    }
}

/// Why a request was not admitted.
pub struct Rejection(SharedAcquireError);

impl From<AcquireError> for Rejection {
    fn from(error: AcquireError) -> Self {
        Self(error.into())
    }
}

impl From<SharedAcquireError> for Rejection {
    fn from(error: SharedAcquireError) -> Self {
        Self(error)
    }
}

/// Responds with 503 and `Retry-After`: nothing was sent to the provider, so a retry is safe.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        match self.0 {
            // The gate knows when it will have room.
            SharedAcquireError::Rejected(error) => http::Response::from(error),
            error => {
                let text = format!("{error}\n");
                (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], text).into_response()
            }
        }
    }
}
