//! How much work may be in flight on this host, per class of work: limits derived from probed resources, enforced by
//! gates, kept true while the host changes, and explained number by number.
//!
//! ```
//! use concurrency_governor::{Formula, GateSpec, Governor, Resource, probe};
//!
//! /// Async I/O: 64 a core, on at most half of the file descriptors.
//! const IO: GateSpec =
//!     GateSpec::new("io", Formula::scale(Resource::CPU, 64).at_most(Resource::FD.fraction(1, 2)));
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let governor = Governor::builder().gate(IO).probes(probe::host()).build().await?;
//! let io = governor.gate(IO)?;
//!
//! let page = io.run(async { "fetched while a permit was held" }).await?;
//! println!("{:#}", governor.resolution().explain(IO)?); // where the number comes from
//! # let _ = page;
//! # Ok(())
//! # }
//! ```
//!
//! # Words
//!
//! - A **resource** is something the host has a finite amount of: [`Resource`].
//! - A **probe** measures one resource: [`ResourceProbe`]; [`probe::host`] gives those of this host.
//! - A **reading** is how much there is, a **quantity** or *unlimited* or *unknown*: [`Reading`], [`Quantity`]. With
//!   its sources and how sure it is, it is a [`Measurement`](plan::Measurement).
//! - A **formula** makes a number of readings, with floors and ceilings: [`Formula`], out of [`Amount`]s.
//! - A **limit** is what that comes to, a whole number from 1 up: [`Limit`].
//! - A **plan** declares gates, each by its [`GateSpec`]: [`Plan`].
//! - **Overrides** are operators' settings, in layers whose order is yours: [`Overrides`], [`OverrideLayer`].
//! - A **resolution** is what plan, readings and overrides come to, every limit explained: [`Resolution`].
//! - A **gate** holds work to its limit, first come, first served: [`Gate`].
//! - A **permit** is one admission through a gate: [`Permit`].
//! - **Debt** is what is still out above a limit that was lowered: [`GateStatus::debt`](gate::GateStatus::debt).
//! - A **pool** keeps items warm that are dear to make, never more of them than a gate's limit: [`Pool`]. A [`Manager`]
//!   makes them, and a [`PooledItem`] is one of them handed out.
//! - The **governor** ties probes, plan and gates together, and refreshes: [`Governor`]. It tells what it did by an
//!   [`Event`].
//!
//! A number goes one straight way: probe, reading, formula, resolution, gate.
//!
//! # Which gate for which work
//!
//! Work that pins a thread (a hash, a decoder, a blocking read) and work that frees it while it waits (a request to a
//! server) consume different resources, so they belong to different gates: run the first by [`Gate::run_blocking`] and
//! the second by [`Gate::run`]. Both hold the permit for you, and give it back however the work ends. Work that needs
//! something dear to make, an instance or a connection, checks it out of a [`Pool`] on a gate.
//!
//! # Three users
//!
//! **A library that declares gates of its own**, and lets operators override them:
//!
//! ```
//! use concurrency_governor::{Formula, GateSpec, Governor, OverrideLayer, Overrides, Resource, probe};
//!
//! const UPLOADS: GateSpec = GateSpec::new("uploads", Formula::scale(Resource::CPU, 8).floor(16)).queue(1000);
//! const THUMBNAILS: GateSpec = GateSpec::new("thumbnails", Formula::of(UPLOADS.fraction(1, 4)));
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let flag = Some(32);
//! let overrides = Overrides::new()
//!     .then(OverrideLayer::new("cli").maybe_set(UPLOADS, flag)) // the first layer that sets a gate wins
//!     .then(OverrideLayer::env([(UPLOADS, "APP_UPLOADS")], std::env::var_os)?);
//! let governor = Governor::builder()
//!     .gate(UPLOADS)
//!     .gate(THUMBNAILS)
//!     .probes(probe::host())
//!     .overrides(overrides)
//!     .build()
//!     .await?;
//! let [uploads, thumbnails] = governor.gates([UPLOADS, THUMBNAILS])?;
//! assert_eq!((uploads.limit().get(), thumbnails.limit().get()), (32, 8));
//! # Ok(())
//! # }
//! ```
//!
//! **A WASM capsule engine** that takes the [preset](preset::astrid):
//!
//! ```
//! use concurrency_governor::governor::RefreshPolicy;
//! use concurrency_governor::preset::astrid::{BLOCKING, CapsuleRuntimeLimits, IO, POOL};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let governor = CapsuleRuntimeLimits::governor().build().await?;
//! let [blocking, io, pool] = governor.gates([BLOCKING, IO, POOL])?;
//! let _refresh = governor.spawn_refresh(RefreshPolicy::new()); // follows the host until it is dropped
//!
//! let instance = pool.acquire_owned().await?;
//! let digest = blocking.run_blocking(|| 6 * 7).await?;
//! let answer = io.run(async move { digest }).await?;
//! # assert_eq!(answer, 42);
//! # drop(instance);
//! # Ok(())
//! # }
//! ```
//!
//! **A test suite that mocks probes**, to see its own code on any host:
//!
//! ```
//! use concurrency_governor::testing::MockProbe;
//! use concurrency_governor::{Formula, GateSpec, Governor, Reading, Resource};
//!
//! const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = MockProbe::new(Resource::CPU, Reading::whole(8));
//! let governor = Governor::builder().gate(JOBS).probe(host.clone()).build().await?;
//! let jobs = governor.gate(JOBS)?;
//! let permits = jobs.acquire_many(16).await?;
//!
//! host.set(Reading::whole(1)); // the quota falls while all of them are out
//! governor.refresh().await?;
//! let status = jobs.status();
//! assert_eq!((status.limit.get(), status.in_use, status.debt), (2, 16, 14));
//! # drop(permits);
//! # Ok(())
//! # }
//! ```
//!
//! # Cookbook
//!
//! A page for each task, whose programs are tests, in the repository and in the package:
//!
//! - `docs/cookbook/outbound-http.md`: calling other servers without running out of descriptors
//! - `docs/cookbook/blocking-work.md`: hashing, decoding, calling what blocks
//! - `docs/cookbook/shared-budget.md`: one limit for several services, or parts of one
//! - `docs/cookbook/warm-pool.md`: keeping instances warm that are dear to make
//! - `docs/cookbook/settings.md`: letting operators change a limit
//! - `docs/cookbook/config-file.md`: doing so in your configuration file
//! - `docs/cookbook/containers.md`: being right in a container
//! - `docs/cookbook/kubernetes-resize.md`: following a pod that is resized while it runs
//! - `docs/cookbook/read-explain.md`: knowing why a limit is what it is
//! - `docs/cookbook/simulate.md`: knowing how a limit will do, before it meets real work
//! - `docs/cookbook/mock-a-host.md`: testing on hosts that you do not have
//!
//! # What it does not do
//!
//! It watches no latencies: limits follow from what the host has, not from how the work fares. A gate belongs to one
//! process. It tells no tenants apart, and raises no limit of the system's.
//!
//! # Features
//!
//! None is on by default, and none changes what another does.
//!
//! - `cli` builds the program `concurrency-governor`, whose `explain` prints every limit of a host with its reasons.
//! - `clap` adds flags for gates to an application's own command line: `config::GateArgs`.
//! - `metrics`, `tracing` and `tower` each add what their name says to [`integration`].
//! - `proptest` adds strategies to [`testing`].
//! - `serde` adds plans and settings from TOML, JSON, YAML or whatever else serde reads: `config::PlanConfig`.

#[cfg(any(feature = "serde", feature = "clap"))]
pub mod config;

pub mod integration;
pub mod preset;

pub mod governor;
pub mod pool;

pub mod gate;
pub mod probe;

pub mod plan;

pub mod event;
pub mod testing;

mod jitter;

pub use event::Event;
pub use gate::{AcquireError, Gate, Permit};
pub use governor::Governor;
pub use plan::{
    Amount, Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Quantity, Reading, Readings,
    Resolution, Resource,
};
pub use pool::{Manager, Pool, PooledItem};
pub use probe::ResourceProbe;

/// The examples of the documents, which are tests this way.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/ASTRID.md")]
#[doc = include_str!("../docs/ORDERING.md")]
#[cfg_attr(all(feature = "clap", feature = "serde"), doc = include_str!("../docs/CONFIGURATION.md"))]
struct Documents;

/// The programs of the cookbook.
#[cfg(doctest)]
#[doc = include_str!("../docs/cookbook/blocking-work.md")]
#[doc = include_str!("../docs/cookbook/kubernetes-resize.md")]
#[doc = include_str!("../docs/cookbook/outbound-http.md")]
#[doc = include_str!("../docs/cookbook/read-explain.md")]
#[doc = include_str!("../docs/cookbook/settings.md")]
#[doc = include_str!("../docs/cookbook/shared-budget.md")]
#[doc = include_str!("../docs/cookbook/warm-pool.md")]
#[cfg_attr(feature = "serde", doc = include_str!("../docs/cookbook/config-file.md"))]
#[cfg_attr(target_os = "linux", doc = include_str!("../docs/cookbook/containers.md"))]
#[cfg_attr(all(target_os = "linux", feature = "proptest"), doc = include_str!("../docs/cookbook/mock-a-host.md"))]
struct Cookbook;

/// The examples of a document that needs several features.
#[cfg(all(doctest, feature = "metrics", feature = "tracing"))]
#[doc = include_str!("../docs/OBSERVABILITY.md")]
struct Observability;
