//! Real engines on loopback: the same traces as the pure step, and the ledgers as a program uses them.
//!
//! The tests start the servers, on ports of their own, and stop them. Where a server is not installed its tests are skipped, and
//! say so. With `FLEET_ENGINES=required`, as in `.ci/run fleet-engines`, they fail instead.

#[cfg(all(feature = "cli", feature = "redis-tls", feature = "postgres-tls"))]
mod certificates;
mod chaos;
#[cfg(all(feature = "cli", feature = "redis", feature = "postgres"))]
mod command;
mod differential;
#[cfg(all(feature = "cli", feature = "redis", feature = "postgres"))]
mod explain;
#[cfg(all(target_os = "linux", feature = "redis", feature = "postgres"))]
mod load;
#[cfg(all(feature = "redis", feature = "postgres"))]
mod outage;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod sentinel;
mod server;
#[cfg(all(feature = "redis", feature = "postgres"))]
mod timing;
#[cfg(all(feature = "cli", feature = "redis-tls", feature = "postgres-tls"))]
mod tls;
#[cfg(all(feature = "cli", feature = "redis-tls", feature = "postgres-tls"))]
mod tls_clients;
