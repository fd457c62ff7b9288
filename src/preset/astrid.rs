//! The limits of the Astrid capsule engine: three gates, each derived from the host resource that its work consumes.
//!
//! | gate | work | consumed resource | formula |
//! |---|---|---|---|
//! | [`BLOCKING`] | host calls that pin an async worker | cores | `whole cpu or 2 \| reserve 2 \| floor 2` |
//! | [`IO`] | host calls that free the worker while they wait | descriptors | `(whole cpu or 2) * 64 \| floor 64 \| at most fd * 1/2` |
//! | [`POOL`] | pooled WASM instances | memory | `(whole cpu or 2) * 2 \| floor 8 \| ceiling 64` |
//!
//! Cores are the whole CPUs that the scheduler lets the process run on. Affinity and cgroup quota are included. Unknown
//! cores count as 2. Descriptors are the soft limit of `RLIMIT_NOFILE`. If there is no limit, or it cannot be read, the
//! step `at most` is skipped.
//!
//! [`CapsuleRuntimeLimits`] holds the three numbers, resolved once, and [`CapsuleRuntimeLimits::gates`] creates three gates
//! with them. [`CapsuleRuntimeLimits::governor`] builds three gates that follow the host.
//!
//! ```
//! use concurrency_governor::preset::astrid::CapsuleRuntimeLimits;
//!
//! let io_from_the_command_line = Some(32);
//! let limits = CapsuleRuntimeLimits::resolve(None, io_from_the_command_line, None);
//! assert_eq!(limits.io_concurrency, 32);
//! assert!(limits.blocking_concurrency >= 2);
//! let permits = limits.io_semaphore();
//! assert_eq!(permits.available_permits(), 32);
//! ```

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::gate::Gate;
use crate::governor::{Governor, GovernorBuilder};
use crate::plan::{
    Amount, Formula, GateHandleError, GateName, GateSpec, Limit, Measurement, Overrides, Plan, Reading,
    Readings, Resource,
};
use crate::probe::{Cpu, OpenFiles, ProbeError};

/// The gate of blocking host calls. Each call pins a worker of the runtime while it runs. Two cores are reserved for the
/// scheduler and for event dispatch, but at least two calls may run.
pub const BLOCKING: GateSpec = GateSpec::new("blocking", Formula::of(per_core(1)).reserve(2).floor(2));

/// The gate of async I/O host calls. Each call frees its worker while it waits, so 64 calls per core keep the workers busy.
/// Each may hold a descriptor, so all calls together use at most half of the descriptors.
pub const IO: GateSpec =
    GateSpec::new("io", Formula::of(per_core(64)).floor(64).at_most(Resource::FD.fraction(1, 2)));

/// The gate of pooled WASM instances. Each instance uses memory, so there is a ceiling for any number of cores.
pub const POOL: GateSpec = GateSpec::new("pool", Formula::of(per_core(2)).floor(8).ceiling(64));

/// Each gate with the engine's environment variable for it, for [`OverrideLayer::env`](crate::OverrideLayer::env).
pub const ENV_VARS: [(GateName, &str); 3] = [
    (BLOCKING.name(), "ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY"),
    (IO.name(), "ASTRID_CAPSULE_HOST_IO_CONCURRENCY"),
    (POOL.name(), "ASTRID_CAPSULE_INSTANCE_POOL_SIZE"),
];

/// Each gate with the engine's command line flag for it, without the leading dashes.
pub const FLAGS: [(GateName, &str); 3] = [
    (BLOCKING.name(), "host-blocking-concurrency"),
    (IO.name(), "host-io-concurrency"),
    (POOL.name(), "instance-pool-size"),
];

/// The number of instances that a pool keeps warm, if its size allows that many:
/// [`instance_pool_min_idle`](CapsuleRuntimeLimits::instance_pool_min_idle).
pub const WARM_MIN_IDLE: usize = 4;

pub(super) const SPECS: [GateSpec; 3] = [BLOCKING, IO, POOL];

/// Returns the three gates as a plan.
#[expect(clippy::missing_panics_doc, reason = "the plan is constant, and a test builds it")]
pub fn plan() -> Plan {
    Plan::new(SPECS).expect("the names differ, and no gate reads another")
}

/// The engine's three limits, resolved once: each is the operator's setting, or else derived from the host.
///
/// The fields are plain numbers: no method needs a runtime or panics. A setting is kept at any size; only the
/// [semaphores](Self::io_semaphore) and live gates that are built from it are capped at their own maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CapsuleRuntimeLimits {
    /// The limit of concurrent blocking host calls: see [`BLOCKING`].
    pub blocking_concurrency: usize,
    /// The limit of concurrent async I/O host calls: see [`IO`].
    pub io_concurrency: usize,
    /// The limit of pooled WASM instances: see [`POOL`].
    pub instance_pool_size: usize,
}

impl CapsuleRuntimeLimits {
    /// Uses each setting that is given, with 0 as 1, and derives the others from this host.
    ///
    /// The caller decides the precedence of the engine's sources: flag, then file, then environment.
    #[must_use]
    pub fn resolve(
        blocking_concurrency: Option<usize>,
        io_concurrency: Option<usize>,
        instance_pool_size: Option<usize>,
    ) -> Self {
        Self::resolve_on(&host_readings(), blocking_concurrency, io_concurrency, instance_pool_size)
    }

    /// Same as [`resolve`](Self::resolve), for a host with these readings of [`Resource::CPU`] and [`Resource::FD`].
    #[must_use]
    pub fn resolve_on(
        readings: &Readings,
        blocking_concurrency: Option<usize>,
        io_concurrency: Option<usize>,
        instance_pool_size: Option<usize>,
    ) -> Self {
        let setting_or_derived = |setting: Option<usize>, gate| {
            setting.map_or_else(|| derived(readings, gate), |given| given.max(1))
        };
        Self {
            blocking_concurrency: setting_or_derived(blocking_concurrency, &BLOCKING),
            io_concurrency: setting_or_derived(io_concurrency, &IO),
            instance_pool_size: setting_or_derived(instance_pool_size, &POOL),
        }
    }

    /// Creates a semaphore with [`blocking_concurrency`](Self::blocking_concurrency) permits, clamped to 1 to
    /// [`Semaphore::MAX_PERMITS`].
    #[must_use]
    pub fn blocking_semaphore(&self) -> Arc<Semaphore> {
        semaphore(self.blocking_concurrency)
    }

    /// Creates a semaphore with [`io_concurrency`](Self::io_concurrency) permits, clamped to 1 to
    /// [`Semaphore::MAX_PERMITS`].
    #[must_use]
    pub fn io_semaphore(&self) -> Arc<Semaphore> {
        semaphore(self.io_concurrency)
    }

    /// Creates the three gates with these limits, clamped to 1 to [`Limit::MAX`]. They do not follow the host, but
    /// [`Gate::resize`] changes them. Gates that follow the host are those of a [`governor`](Self::governor).
    ///
    /// Each call creates new gates. Clone the [`CapsuleGates`] to share them.
    ///
    /// ```
    /// use concurrency_governor::preset::astrid::CapsuleRuntimeLimits;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let gates = CapsuleRuntimeLimits::resolve(None, Some(32), None).gates();
    /// assert_eq!(gates.io.limit().get(), 32);
    /// let answer = gates.io.run(async { "the answer of a server" }).await?;
    /// # let _ = answer;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn gates(&self) -> CapsuleGates {
        let gate = |spec: GateSpec, limit: usize| Gate::new(spec, Limit::saturating(limit as u64));
        CapsuleGates {
            blocking: gate(BLOCKING, self.blocking_concurrency),
            io: gate(IO, self.io_concurrency),
            pool: gate(POOL, self.instance_pool_size),
        }
    }

    /// Returns the number of instances that the pool keeps warm: [`WARM_MIN_IDLE`], or the pool's size if that is less, but at
    /// least 1.
    #[must_use]
    pub fn instance_pool_min_idle(&self) -> usize {
        self.instance_pool_size.clamp(1, WARM_MIN_IDLE)
    }

    /// Returns a builder for the same three gates under a [`Governor`] that measures this host's cores and descriptors.
    ///
    /// Add the operator's settings with [`overrides`](GovernorBuilder::overrides), and build the governor. Then
    /// [`spawn_refresh`](Governor::spawn_refresh) makes the limits follow the host.
    ///
    /// ```
    /// use concurrency_governor::preset::astrid::{CapsuleGates, CapsuleRuntimeLimits};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let governor = CapsuleRuntimeLimits::governor().build().await?;
    /// let gates = CapsuleGates::try_from(&governor)?;
    /// let file = gates.blocking.run_blocking(|| std::fs::read("Cargo.toml")).await?;
    /// let answer = gates.io.run(async { "the answer of a server" }).await?;
    /// # let _ = (file, answer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn governor() -> GovernorBuilder {
        Governor::builder().plan(plan()).probe(Cpu::new()).probe(OpenFiles::new())
    }
}

/// Derives all three limits from this host.
impl Default for CapsuleRuntimeLimits {
    fn default() -> Self {
        Self::resolve(None, None, None)
    }
}

/// Handles to the three gates. Clones are handles to the same gates, and cheap.
///
/// [`CapsuleRuntimeLimits::gates`] creates gates with fixed limits. `try_from` a [`Governor`] returns its gates, whose limits
/// follow the host.
#[derive(Clone, Debug)]
pub struct CapsuleGates {
    /// The gate of blocking host calls: see [`BLOCKING`].
    pub blocking: Gate,
    /// The gate of async I/O host calls: see [`IO`].
    pub io: Gate,
    /// The gate of pooled WASM instances: see [`POOL`].
    pub pool: Gate,
}

/// Fails if the plan of the governor does not declare the three gates, or one of them shares its limit with other processes.
impl TryFrom<&Governor> for CapsuleGates {
    type Error = GateHandleError;

    fn try_from(governor: &Governor) -> Result<Self, GateHandleError> {
        let [blocking, io, pool] = governor.gates([BLOCKING, IO, POOL])?;
        Ok(Self { blocking, io, pool })
    }
}

/// Returns the derived limit of blocking host calls on this host: `max(cores - 2, 2)`.
#[must_use]
pub fn host_blocking_concurrency_default() -> usize {
    derived(&host_readings(), &BLOCKING)
}

/// Returns the derived limit of async I/O host calls on this host: `max(64 * cores, 64)`, then at most
/// `max(descriptors / 2, 1)`.
#[must_use]
pub fn host_io_concurrency_default() -> usize {
    derived(&host_readings(), &IO)
}

/// Returns the derived limit of pooled instances on this host: `2 * cores` within `8..=64`.
#[must_use]
pub fn host_instance_pool_size_default() -> usize {
    derived(&host_readings(), &POOL)
}

/// Returns `n` for each whole core. Unknown cores count as two.
const fn per_core(n: u64) -> Amount {
    Resource::CPU.times(n).whole().assume(2)
}

/// Measures the cores and the descriptors of this host. A resource that cannot be measured is unknown.
fn host_readings() -> Readings {
    let reading =
        |measured: Result<Measurement, ProbeError>| measured.unwrap_or_else(|_| Reading::Unknown.into());
    Readings::new()
        .with(Resource::CPU, reading(Cpu::new().read()))
        .with(Resource::FD, reading(OpenFiles::new().read()))
}

/// Returns the derived limit of one of the three gates.
fn derived(readings: &Readings, gate: &GateSpec) -> usize {
    let resolution =
        plan().resolve(readings, &Overrides::new()).expect("without overrides no setting is rejected");
    let limit = resolution.limit(gate).expect("the plan declares the gate");
    usize::try_from(limit.get()).unwrap_or(usize::MAX)
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)))
}
