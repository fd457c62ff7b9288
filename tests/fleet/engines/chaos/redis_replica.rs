//! A fleet in front of a real redis-server with a replica, which is promoted.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::child::ChildRole;
use super::engine::{ChaosEngine, EngineFault, Workers};
use super::proxy::Proxy;
use super::redis::end_connections;
use super::{ChaosFleet, LIMIT, SPAN, run_under_faults};
use crate::engines::redis::{execute, start_replica, start_server, wait_for_replica};
use crate::engines::server::TestServer;

/// P70, P72, P74: with exchanges that a replica must acknowledge, the limit is kept while replicas are promoted, also while the old
/// primary goes on and a part of the fleet uses it.
#[test]
fn a_fleet_keeps_its_limit() {
    let Some(engine) = RedisPair::start() else { return };
    let acknowledged = Workers { role: ChildRole::Lease, replicas: 1 };
    run_under_faults("Redis with a replica", ChaosFleet::start(Box::new(engine), acknowledged));
}

/// Without acknowledgements, two primaries at a time grant the limit twice. A promoted replica that is the only
/// primary does not: it learns first.
#[test]
fn two_primaries_need_acknowledgements() {
    let Some(engine) = RedisPair::start() else { return };
    let mut fleet = ChaosFleet::start(Box::new(engine), super::LEASES);
    fleet.wait_for_work();
    fleet.engine.cause(EngineFault::Promote);
    thread::sleep(SPAN + Duration::from_secs(1));
    let promoted = fleet.auditor.report();
    eprintln!("a promoted replica without acknowledgements: at most {} of {LIMIT} in flight", promoted.most);
    assert!(promoted.most <= LIMIT, "{} requests were in flight, and the limit is {LIMIT}", promoted.most);
    for _ in 0..10 {
        fleet.engine.cause(EngineFault::SplitBrain(2 * SPAN));
        let split = fleet.auditor.report();
        eprintln!("two primaries without acknowledgements: at most {} of {LIMIT} in flight", split.most);
        if split.most > LIMIT {
            return;
        }
    }
    panic!("the auditor has not seen a violation");
}

/// A primary and its replica. Workers reach the primary through proxies: one for every second worker, one for the others.
struct RedisPair {
    primary: TestServer,
    replica: TestServer,
    proxies: [Proxy; 2],
}

impl RedisPair {
    fn start() -> Option<Self> {
        let primary = start_server()?;
        let proxies = [(); 2].map(|()| Proxy::start(primary.port));
        let replica = start_replica(&primary)?;
        Some(Self { primary, replica, proxies })
    }

    /// Ends the primary, and starts a replica of the one that was promoted.
    fn replace_primary(&mut self) {
        let new = start_replica(&self.replica).expect("redis-server was found before");
        self.primary = std::mem::replace(&mut self.replica, new);
    }
}

impl ChaosEngine for RedisPair {
    fn url(&self, worker: usize) -> String {
        format!("redis://127.0.0.1:{}/", self.proxies[worker % 2].port)
    }

    fn faults(&self) -> &'static [EngineFault] {
        &[
            EngineFault::LoseState,
            EngineFault::EndConnections,
            EngineFault::Crash,
            EngineFault::Promote,
            SPLIT_BRAIN,
        ]
    }

    fn cause(&mut self, fault: EngineFault) {
        match fault {
            EngineFault::LoseState => execute(&self.primary, &["FLUSHALL"]),
            EngineFault::EndConnections => end_connections(&self.primary),
            EngineFault::Crash => {
                // It has the same role, and no state: the replica then loses its state too.
                self.primary.restart(Signal::SIGKILL);
                wait_for_replica(&self.primary);
            }
            EngineFault::Promote => {
                self.primary.kill();
                execute(&self.replica, &["REPLICAOF", "NO", "ONE"]);
                for proxy in &self.proxies {
                    proxy.connect_to(self.replica.port);
                }
                self.replace_primary();
            }
            EngineFault::SplitBrain(time) => {
                execute(&self.replica, &["REPLICAOF", "NO", "ONE"]);
                self.proxies[1].connect_to(self.replica.port);
                thread::sleep(time);
                self.primary.kill();
                self.proxies[0].connect_to(self.replica.port);
                self.replace_primary();
            }
        }
    }
}

/// Longer than a span: the new primary has then learnt, and the entries of the workers that it took over have expired at the old one.
const SPLIT_BRAIN: EngineFault = EngineFault::SplitBrain(Duration::from_millis(3500));
