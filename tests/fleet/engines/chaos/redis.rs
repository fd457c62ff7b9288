//! A fleet in front of a real redis-server.

use nix::sys::signal::Signal;

use super::child::ChildRole;
use super::engine::{ChaosEngine, EngineFault, Workers};
use super::{ChaosFleet, LIMIT, run_under_faults};
use crate::engines::redis::{execute, start_server, url};
use crate::engines::server::TestServer;

/// P70, P72, P74: the limit is kept while the server restarts without its state, ends its connections and is flushed.
#[test]
fn a_fleet_keeps_its_limit() {
    let Some(server) = start_server() else { return };
    run_under_faults("Redis", ChaosFleet::start(Box::new(RedisEngine { server }), super::LEASES));
}

/// The auditor detects a violation: a client that takes a ticket for each request goes above the limit under the same faults.
#[test]
fn tickets_go_above_the_limit() {
    let Some(server) = start_server() else { return };
    let tickets = Workers { role: ChildRole::Ticket, replicas: 0 };
    let mut fleet = ChaosFleet::start(Box::new(RedisEngine { server }), tickets);
    fleet.wait_for_work();
    for _ in 0..10 {
        let faults = fleet.inject_faults();
        let report = fleet.auditor.report();
        eprintln!("tickets: at most {} of {LIMIT} in flight after {faults} faults", report.most);
        if report.most > LIMIT {
            return;
        }
    }
    panic!("the auditor has not seen a violation");
}

struct RedisEngine {
    server: TestServer,
}

impl ChaosEngine for RedisEngine {
    fn url(&self, _: usize) -> String {
        url(&self.server)
    }

    fn faults(&self) -> &'static [EngineFault] {
        &[EngineFault::LoseState, EngineFault::EndConnections, EngineFault::Crash]
    }

    fn cause(&mut self, fault: EngineFault) {
        match fault {
            EngineFault::LoseState => execute(&self.server, &["FLUSHALL"]),
            EngineFault::EndConnections => end_connections(&self.server),
            EngineFault::Crash => self.server.restart(Signal::SIGKILL),
            EngineFault::Promote | EngineFault::SplitBrain(_) => unreachable!("there is no replica"),
        }
    }
}

/// Ends the connections of all clients but this one.
pub(super) fn end_connections(server: &TestServer) {
    execute(server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
}
