//! Concurrency limits that are derived from the host, enforced by gates, and explained.
//!
//! A fixed limit fits one machine. This crate measures the cores, file descriptors and memory that the process may
//! really use, computes a limit for each class of work, and follows the host while the limits are in use.
//!
//! **The promise:** a gate never admits more work than its limit allows, the limit follows the host, and every limit can
//! say where it comes from.
//!
//! ```
//! use concurrency_governor::governor::RefreshPolicy;
//! use concurrency_governor::{Formula, GateSpec, Governor, Resource, probe};
//!
//! /// Calls to other servers: 64 per core, on at most half of the file descriptors.
//! const IO: GateSpec =
//!     GateSpec::new("io", Formula::scale(Resource::CPU, 64).at_most(Resource::FD.fraction(1, 2)));
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let governor = Governor::builder().gate(IO).probes(probe::host()).build().await?;
//! let _refresh = governor.spawn_refresh(RefreshPolicy::new()); // follows the host until it is dropped
//! let io = governor.gate(IO)?;
//!
//! let page = io.run(async { "the page" }).await?; // waits for a permit, runs the future, returns the permit
//! println!("{page}: {:#}", governor.resolution().explain(IO)?); // prints how the limit was derived
//! # Ok(())
//! # }
//! ```
//!
//! # Concepts
//!
//! A limit is computed in one direction: probe → reading → formula → resolution → gate.
//!
//! - A **resource** is something that the host has a finite amount of, such as cores: [`Resource`].
//! - A **probe** measures one resource: [`ResourceProbe`]. [`probe::host`] returns the probes of this host.
//! - A **reading** is the measured amount: a **quantity**, *unlimited* or *unknown*: [`Reading`], [`Quantity`]. A
//!   [`Measurement`](plan::Measurement) is a reading with its sources and its bound.
//! - A **formula** computes a number from readings: [`Formula`], built from [`Amount`]s.
//! - A **limit** is the number of permits of a gate, at least 1: [`Limit`].
//! - A **plan** declares gates, each by a [`GateSpec`]: [`Plan`].
//! - **Overrides** are the settings of operators, in layers: [`Overrides`], [`OverrideLayer`]. The first layer that sets a
//!   limit decides it, and the caller chooses the order.
//! - A **resolution** holds the limits that follow from plan, readings and overrides, with an explanation of each:
//!   [`Resolution`].
//! - A **gate** admits work up to its limit, first come, first served: [`Gate`].
//! - A **permit** is one admission through a gate; dropping the permit releases it: [`Permit`].
//! - **Debt** is the number of permits in use above a lowered limit: [`GateStatus::debt`](gate::GateStatus::debt).
//! - The **governor** connects probes, plan and gates, and refreshes the limits: [`Governor`]. It reports what it did as
//!   [`Event`]s.
//! - An **adaptive** gate follows the outcomes of its work as well, up to the derived limit: [`Adaptive`], [`feedback`].
//! - A **pool** keeps items that are expensive to create, never more than the limit of a gate: [`Pool`]. A [`Manager`]
//!   creates the items; a checkout returns one as a [`PooledItem`].
//!
//! # Which gate for which work
//!
//! | work | consumes | run it with |
//! |---|---|---|
//! | pins its thread: a hash, a decoder, a blocking read | cores | [`Gate::run_blocking`] |
//! | frees its thread while it waits: a call to a server | file descriptors | [`Gate::run`] |
//! | needs an expensive item: an instance, a connection | memory | [`Pool::checkout`] |
//!
//! These classes consume different resources, so each needs a gate of its own. Both `run` methods hold the permit while
//! the work runs, and release it however the work ends.
//!
//! # What it does not do
//!
//! - A gate observes latencies and failures only if it is declared [adaptive](GateSpec::adaptive) and the caller reports
//!   outcomes. The limits of all other gates follow from the host alone.
//! - A governor does not derive the limit of a fleet: you give this number. With the feature `fleet`, gates of a governor share it with
//!   other processes.
//! - It does not limit rates.
//! - It raises no limit of the operating system, except where a program calls `OpenFiles::raise_soft_limit`.
//!
//! [Comparison](_documentation::comparison) names the crates that do these things.
//!
//! # Cookbook
//!
//! Each page has one task and a complete program:
//!
//! - [Declare gates in a library](_documentation::cookbook::library)
//! - [Migrate from `tokio::sync::Semaphore`](_documentation::cookbook::tokio_semaphore)
//! - [Bound outbound HTTP](_documentation::cookbook::outbound_http)
//! - [Follow the capacity of an upstream service](_documentation::cookbook::server_elsewhere)
//! - [Share one limit among many processes](_documentation::cookbook::share_a_limit)
//! - [Bound blocking work](_documentation::cookbook::blocking_work)
//! - [Bound streams and task sets](_documentation::cookbook::streams)
//! - [Share a budget](_documentation::cookbook::shared_budget)
//! - [Give tenants fair shares](_documentation::cookbook::tenants)
//! - [Set priorities](_documentation::cookbook::priorities)
//! - [Reject early under overload](_documentation::cookbook::overload)
//! - [Keep instances warm](_documentation::cookbook::warm_pool)
//! - [Make nested requests](_documentation::cookbook::nested_work)
//! - [Shut down gracefully](_documentation::cookbook::graceful_shutdown)
//! - [Answer health checks](_documentation::cookbook::health_checks)
//! - [Find out why nothing moves](_documentation::cookbook::nothing_moves)
//! - [Tune by settings](_documentation::cookbook::settings)
//! - [Tune from a configuration file](_documentation::cookbook::config_file)
//! - [Run in a container](_documentation::cookbook::containers)
//! - [Follow a Kubernetes resize](_documentation::cookbook::kubernetes_resize)
//! - [Read `explain`](_documentation::cookbook::read_explain)
//! - [Simulate before you deploy](_documentation::cookbook::simulate)
//! - [Mock a host](_documentation::cookbook::mock_a_host)
//!
//! [`_documentation`] has these pages and the longer documents: guarantees, architecture, performance and more.
//!
//! # Features
//!
//! No feature is on by default. A feature adds API and changes nothing else.
//!
//! - `cli` builds the program `concurrency-governor`, which explains, watches and simulates limits.
//! - `clap` adds command line flags for gates to your application: `config::GateArgs`.
//! - `fleet` shares one limit between many processes: `fleet`. It has a ledger in memory; `redis` and `postgres` add ledgers in
//!   these engines, and `redis-tls` and `postgres-tls` connections with TLS.
//! - `metrics` reports gates, pools and probes to the `metrics` facade: `integration::metrics`.
//! - `multi-thread` adds `Gate::run_in_place`, for tokio's multi-threaded runtime.
//! - `proptest` adds strategies for property tests: `testing::strategies`.
//! - `serde` reads plans and settings from TOML, JSON, YAML or another format of serde: `config::PlanConfig`. It also
//!   serializes resolutions, statuses and events.
//! - `tower` adds a layer that puts a gate before a service: `integration::tower`.
//! - `tracing` adds spans for waits, and events of the governor: `integration::tracing`.
#![cfg_attr(docsrs, feature(doc_cfg))]

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
pub mod feedback;
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod testing;

mod catch_panic;
mod jitter;

pub use event::Event;
pub use gate::{AcquireError, Gate, Permit};
pub use governor::Governor;
pub use plan::{
    Adaptive, Amount, Formula, GateName, GateSpec, Holders, Keys, Limit, OverrideLayer, Overrides, Part,
    Plan, Quantity, Reading, Readings, Resolution, Resource, Shed,
};
pub use pool::{Manager, Pool, PooledItem};
pub use probe::ResourceProbe;

/// The documents of the repository's folder `docs/`. These modules contain no code.
///
/// The examples on the pages are documentation tests. A page whose examples need features or Linux is tested where these
/// are present, and shown everywhere.
#[expect(clippy::doc_markdown, reason = "the pages are prose: product names and rows of tables are not code")]
pub mod _documentation {
    // Every page starts with the link targets of rustdoc. A page defines the same labels at its end, for readers of the
    // file; of two definitions of a label, the first one counts.

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/ARCHITECTURE.md")]
    pub mod architecture {}

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/ASTRID.md")]
    pub mod astrid {}

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/COMPARISON.md")]
    pub mod comparison {}

    #[doc = include_str!("documentation-links.md")]
    #[cfg_attr(
        any(not(doctest), all(feature = "clap", feature = "serde")),
        doc = include_str!("../docs/CONFIGURATION.md")
    )]
    pub mod configuration {}

    #[doc = include_str!("documentation-links.md")]
    #[cfg_attr(any(not(doctest), feature = "fleet"), doc = include_str!("../docs/FLEET.md"))]
    pub mod fleet {}

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/GUARANTEES.md")]
    pub mod guarantees {}

    #[doc = include_str!("documentation-links.md")]
    #[cfg_attr(
        any(not(doctest), all(feature = "metrics", feature = "tracing")),
        doc = include_str!("../docs/OBSERVABILITY.md")
    )]
    pub mod observability {}

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/ORDERING.md")]
    pub mod ordering {}

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/PERFORMANCE.md")]
    pub mod performance {}

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/PLATFORMS.md")]
    pub mod platforms {}

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/POOL.md")]
    pub mod pool {}

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/TESTING.md")]
    pub mod testing {}

    #[doc = include_str!("documentation-links.md")]
    #[doc = include_str!("../docs/cookbook/README.md")]
    pub mod cookbook {
        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/blocking-work.md")]
        pub mod blocking_work {}

        #[doc = include_str!("documentation-links.md")]
        #[cfg_attr(any(not(doctest), feature = "serde"), doc = include_str!("../docs/cookbook/config-file.md"))]
        pub mod config_file {}

        #[doc = include_str!("documentation-links.md")]
        #[cfg_attr(any(not(doctest), target_os = "linux"), doc = include_str!("../docs/cookbook/containers.md"))]
        pub mod containers {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/graceful-shutdown.md")]
        pub mod graceful_shutdown {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/health-checks.md")]
        pub mod health_checks {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/kubernetes-resize.md")]
        pub mod kubernetes_resize {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/library.md")]
        pub mod library {}

        #[doc = include_str!("documentation-links.md")]
        #[cfg_attr(
            any(not(doctest), all(target_os = "linux", feature = "proptest")),
            doc = include_str!("../docs/cookbook/mock-a-host.md")
        )]
        pub mod mock_a_host {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/nested-work.md")]
        pub mod nested_work {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/nothing-moves.md")]
        pub mod nothing_moves {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/outbound-http.md")]
        pub mod outbound_http {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/overload.md")]
        pub mod overload {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/priorities.md")]
        pub mod priorities {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/read-explain.md")]
        pub mod read_explain {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/server-elsewhere.md")]
        pub mod server_elsewhere {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/settings.md")]
        pub mod settings {}

        #[doc = include_str!("documentation-links.md")]
        #[cfg_attr(any(not(doctest), feature = "fleet"), doc = include_str!("../docs/cookbook/share-a-limit.md"))]
        pub mod share_a_limit {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/shared-budget.md")]
        pub mod shared_budget {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/simulate.md")]
        pub mod simulate {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/streams.md")]
        pub mod streams {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/tenants.md")]
        pub mod tenants {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/tokio-semaphore.md")]
        pub mod tokio_semaphore {}

        #[doc = include_str!("documentation-links.md")]
        #[doc = include_str!("../docs/cookbook/warm-pool.md")]
        pub mod warm_pool {}
    }
}

/// Makes the examples of `README.md` documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
