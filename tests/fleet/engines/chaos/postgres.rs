//! A fleet in front of a real PostgreSQL.

use concurrency_governor::fleet::PostgresLedger;
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use super::engine::{ChaosEngine, EngineFault};
use super::{ChaosFleet, run_under_faults};
use crate::engines::postgres::{connect, installed, start_server, wait_until_ready};
use crate::engines::server::TestServer;

/// P70, P72, P74: the limit is kept while the server crashes, ends its connections and loses the row of the gate.
#[test]
fn a_fleet_keeps_its_limit() {
    let Some(engine) = PostgresEngine::start() else { return };
    run_under_faults("PostgreSQL", ChaosFleet::start(Box::new(engine), super::LEASES));
}

struct PostgresEngine {
    server: TestServer,
    runtime: Runtime,
}

impl PostgresEngine {
    fn start() -> Option<Self> {
        let server = start_server()?;
        let runtime = Runtime::new().unwrap();
        runtime.block_on(installed(server.port));
        Some(Self { server, runtime })
    }

    fn execute(&self, statement: &str) {
        self.runtime.block_on(async {
            let client = connect(self.server.port).await;
            client.batch_execute(statement).await.unwrap();
        });
    }
}

impl ChaosEngine for PostgresEngine {
    fn url(&self, _: usize) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.server.port)
    }

    fn faults(&self) -> &'static [EngineFault] {
        &[EngineFault::LoseState, EngineFault::EndConnections, EngineFault::Crash]
    }

    fn cause(&mut self, fault: EngineFault) {
        match fault {
            EngineFault::LoseState => self.execute("DELETE FROM concurrency_governor.gate"),
            EngineFault::EndConnections => self.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                AND pid <> pg_backend_pid()",
            ),
            EngineFault::Crash => {
                // The signal for an immediate shutdown: nothing is written, and the next start recovers from the log.
                self.server.restart(Signal::SIGQUIT);
                let ledger = PostgresLedger::new(self.url(0).parse().unwrap());
                self.runtime.block_on(wait_until_ready(&ledger));
            }
            #[cfg(feature = "redis")]
            EngineFault::Promote | EngineFault::SplitBrain(_) => unreachable!("there is no standby"),
        }
    }
}
