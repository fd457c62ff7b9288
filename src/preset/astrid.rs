//! The limits of the Astrid capsule engine: three gates, each keyed to the host resource that its work consumes.
//!
//! | gate | its work | what it consumes | formula |
//! |---|---|---|---|
//! | [`BLOCKING`] | host calls that pin an async worker | cores | `(whole cpu or 2) \| reserve 2 \| floor 2` |
//! | [`IO`] | host calls that free the worker while they wait | descriptors | `(whole cpu or 2) * 64 \| floor 64 \| at most fd * 1/2` |
//! | [`POOL`] | pooled WASM instances | memory | `(whole cpu or 2) * 2 \| floor 8 \| ceiling 64` |
//!
//! Cores are what the scheduler lets the process run on, affinity and cgroup quota included, in whole CPUs, and 2 where
//! that cannot be known. Descriptors are the soft limit of `RLIMIT_NOFILE`; where there is none, or it cannot be read,
//! it clamps nothing.
//!
//! [`CapsuleRuntimeLimits`] holds the three numbers once; [`CapsuleRuntimeLimits::governor`] builds three gates that
//! follow the host.
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

use crate::governor::{Governor, GovernorBuilder};
use crate::plan::{
    Amount, Formula, GateName, GateSpec, Measurement, Overrides, Plan, Reading, Readings, Resource,
};
use crate::probe::{Cpu, OpenFiles, ProbeError};

/// Blocking host calls: each pins a worker of the runtime while it runs. Two cores are left to the scheduler and to
/// event dispatch, but at least two calls may run.
pub const BLOCKING: GateSpec = GateSpec::new("blocking", Formula::of(cores(1)).reserve(2).floor(2));

/// Async I/O host calls: each frees its worker while it waits, so 64 a core keep the workers busy; each may hold a
/// descriptor, so together they take at most half of those.
pub const IO: GateSpec =
    GateSpec::new("io", Formula::of(cores(64)).floor(64).at_most(Resource::FD.fraction(1, 2)));

/// Pooled WASM instances: each costs memory, so there is a ceiling whatever the cores.
pub const POOL: GateSpec = GateSpec::new("pool", Formula::of(cores(2)).floor(8).ceiling(64));

/// Which environment variable of the engine sets which gate, for [`OverrideLayer::env`](crate::OverrideLayer::env).
pub const ENV_VARS: [(GateName, &str); 3] = [
    (BLOCKING.name(), "ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY"),
    (IO.name(), "ASTRID_CAPSULE_HOST_IO_CONCURRENCY"),
    (POOL.name(), "ASTRID_CAPSULE_INSTANCE_POOL_SIZE"),
];

/// Which flag of the engine sets which gate, less its dashes.
pub const FLAGS: [(GateName, &str); 3] = [
    (BLOCKING.name(), "host-blocking-concurrency"),
    (IO.name(), "host-io-concurrency"),
    (POOL.name(), "instance-pool-size"),
];

pub(super) const SPECS: [GateSpec; 3] = [BLOCKING, IO, POOL];

/// The three gates as a plan.
#[expect(clippy::missing_panics_doc, reason = "it is a plan, and a test builds it")]
pub fn plan() -> Plan {
    Plan::new(SPECS).expect("three names, and no gate reads another")
}

/// The engine's three limits, resolved once: the operator's setting, or what the host grants.
///
/// The numbers are plain: nothing here needs a runtime, and nothing panics. A setting is kept as it was given, however
/// large; only what is built of it ([semaphores](Self::io_semaphore), live gates) is held to what it can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CapsuleRuntimeLimits {
    /// Blocking host calls at once: see [`BLOCKING`].
    pub blocking_concurrency: usize,
    /// Async I/O host calls at once: see [`IO`].
    pub io_concurrency: usize,
    /// The most pooled WASM instances: see [`POOL`].
    pub instance_pool_size: usize,
}

impl CapsuleRuntimeLimits {
    /// Takes each setting where there is one, 0 as 1, and derives the others from this host.
    ///
    /// Which of the engine's sources a setting comes from (flag, then file, then environment) is the caller's to
    /// decide.
    #[must_use]
    pub fn resolve(
        blocking_concurrency: Option<usize>,
        io_concurrency: Option<usize>,
        instance_pool_size: Option<usize>,
    ) -> Self {
        Self::resolve_on(&host_readings(), blocking_concurrency, io_concurrency, instance_pool_size)
    }

    /// As [`resolve`](Self::resolve), on a host with these readings of [`Resource::CPU`] and [`Resource::FD`].
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

    /// A semaphore of [`blocking_concurrency`](Self::blocking_concurrency) permits, within what one can hold:
    /// 1 to [`Semaphore::MAX_PERMITS`].
    #[must_use]
    pub fn blocking_semaphore(&self) -> Arc<Semaphore> {
        semaphore(self.blocking_concurrency)
    }

    /// A semaphore of [`io_concurrency`](Self::io_concurrency) permits, within what one can hold: 1 to
    /// [`Semaphore::MAX_PERMITS`].
    #[must_use]
    pub fn io_semaphore(&self) -> Arc<Semaphore> {
        semaphore(self.io_concurrency)
    }

    /// How many instances the pool keeps warm: 4, or the pool's size where that is less; at least 1.
    #[must_use]
    pub fn instance_pool_min_idle(&self) -> usize {
        self.instance_pool_size.clamp(1, 4)
    }

    /// The live version: the same three gates under a [`Governor`] that measures this host's cores and descriptors.
    ///
    /// Add the operator's settings with [`overrides`](GovernorBuilder::overrides), build it, and let
    /// [`spawn_refresh`](Governor::spawn_refresh) follow the host.
    ///
    /// ```
    /// use concurrency_governor::preset::astrid::{BLOCKING, CapsuleRuntimeLimits, IO, POOL};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let governor = CapsuleRuntimeLimits::governor().build().await?;
    /// let [blocking, io, _pool] = governor.gates([BLOCKING, IO, POOL])?;
    /// let file = blocking.run_blocking(|| std::fs::read("Cargo.toml")).await?;
    /// let answer = io.run(async { "the answer of a server" }).await?;
    /// # let _ = (file, answer);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn governor() -> GovernorBuilder {
        Governor::builder().plan(plan()).probe(Cpu::new()).probe(OpenFiles::new())
    }
}

/// What the host grants, with no setting at all.
impl Default for CapsuleRuntimeLimits {
    fn default() -> Self {
        Self::resolve(None, None, None)
    }
}

/// How many blocking host calls this host can run at once: `max(cores - 2, 2)`.
#[must_use]
pub fn host_blocking_concurrency_default() -> usize {
    derived(&host_readings(), &BLOCKING)
}

/// How many async I/O host calls this host can have in flight: `max(64 * cores, 64)`, then at most
/// `max(descriptors / 2, 1)`.
#[must_use]
pub fn host_io_concurrency_default() -> usize {
    derived(&host_readings(), &IO)
}

/// How many pooled instances this host can hold: `2 * cores` within `8..=64`.
#[must_use]
pub fn host_instance_pool_size_default() -> usize {
    derived(&host_readings(), &POOL)
}

/// `n` for each whole core; two cores where they cannot be known.
const fn cores(n: u64) -> Amount {
    Resource::CPU.times(n).whole().assume(2)
}

fn host_readings() -> Readings {
    let reading =
        |measured: Result<Measurement, ProbeError>| measured.unwrap_or_else(|_| Reading::Unknown.into());
    Readings::new()
        .with(Resource::CPU, reading(Cpu::new().read()))
        .with(Resource::FD, reading(OpenFiles::new().read()))
}

fn derived(readings: &Readings, gate: &GateSpec) -> usize {
    let resolution =
        plan().resolve(readings, &Overrides::new()).expect("nothing is overridden, so nothing is refused");
    let limit = resolution.limit(gate).expect("the plan declares the gate");
    usize::try_from(limit.get()).unwrap_or(usize::MAX)
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)))
}
