//! The limits of the gateway: which request is next, how many calls the provider can handle, and how many the whole fleet may make.
//!
//! All of them are one gate, so a request waits in one queue and needs one permit.

use std::time::Duration;

use axum::BoxError;
use concurrency_governor::fleet::{RedisLedger, Share, SharedAcquireError, SharedGate, SharedPermit};
use concurrency_governor::gate::{Attempt, Key, Priority};
use concurrency_governor::governor::{RefreshPolicy, RefreshTask};
use concurrency_governor::integration::tracing::TracingObserver;
use concurrency_governor::{
    Adaptive, Formula, GateSpec, Governor, Holders, Keys, Limit, Resource, Shed, probe,
};

/// The calls to the provider.
pub const PROVIDER: GateSpec = GateSpec::new("provider", OF_THIS_PROCESS)
    .adaptive(Adaptive::aimd(HEALTHY).start(8).floor(2)) // below that, as many as the provider answers in time
    .keyed(Keys::up_to(1000).queue(500)) // tenants
    .queue(2000)
    .max_wait(Duration::from_secs(1))
    .shed(Shed::after(Duration::from_millis(250)))
    .track_holders(Holders::overdue_after(MAX_HOLD)); // for the diagnosis

/// At most 16, so that no gateway takes the whole limit of the fleet, and at most an eighth of the descriptors.
const OF_THIS_PROCESS: Formula = Formula::fixed(16).at_most(Resource::FD.fraction(1, 8));

/// All gateways together: what the contract with the provider allows. An operator changes it by
/// `concurrency-governor fleet set-limit`, for the whole fleet.
const OF_THE_FLEET: Limit = Limit::new(24);

/// If one call in ten takes longer, the provider is overloaded.
const HEALTHY: Duration = Duration::from_millis(200);

/// After this time a call is given up. The fleet's limit holds under all faults only if no call takes longer.
pub const MAX_HOLD: Duration = Duration::from_secs(2);

/// How long a gateway goes on without Redis. With a short time, a fleet recovers sooner: see the README.
const LEASE: Duration = Duration::from_secs(2);

/// The gate, and the governor that sets its limit.
pub struct Limits {
    pub governor: Governor,
    pub provider: SharedGate,
    _refresh: RefreshTask,
}

impl Limits {
    /// Creates the gate, and joins the fleet whose limit this Redis keeps.
    pub async fn new(redis: &str) -> Result<Self, BoxError> {
        let share = Share::of(RedisLedger::new(redis)?, "llm-gateway/provider");
        let governor = Governor::builder()
            .gate(PROVIDER)
            .share(PROVIDER, share.limit(OF_THE_FLEET).max_hold(MAX_HOLD).ttl(LEASE))
            .probes(probe::host())
            .observer(TracingObserver::new())
            .build()
            .await?;
        let (provider, refresh) = (governor.shared(PROVIDER)?, governor.spawn_refresh(RefreshPolicy::new()));
        Ok(Self { governor, provider, _refresh: refresh })
    }

    /// Waits until a request of this tenant may call the provider. The attempt begins with the call: a wait says nothing about the
    /// provider.
    pub async fn admit(
        &self,
        tenant: Key,
        priority: Priority,
    ) -> Result<Attempt<SharedPermit>, SharedAcquireError> {
        let permit = self.provider.key(tenant).request().priority(priority).acquire().await?;
        Ok(permit.attempt())
    }
}
