//! A fleet of real processes in front of a real redis-server, while processes stop and crash and the server loses its state.
//!
//! The test executes itself: six workers, and an auditor in the place of the upstream. The auditor counts the requests that it works
//! on, also those of a worker that has crashed, and knows nothing of permits. `.ci/run fleet-chaos SECONDS` runs it for longer.

mod auditor;
mod child;
mod workers;

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::auditor::{AuditReport, Auditor};
use self::child::{ChildProcess, ChildRole};
use super::redis::{start_server, start_server_on, url};
use super::server::TestServer;
use crate::random::Random;

/// F1, F3, F5: under every fault the requests in flight of all processes stay within the limit, and after the faults the limit is
/// used.
#[test]
fn a_fleet_keeps_its_limit_under_faults() {
    let Some(mut fleet) = ChaosFleet::start(ChildRole::Lease) else { return };
    let seconds = env::var("FLEET_CHAOS_SECONDS").map_or(0, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    fleet.wait_for_work();
    let (mut faults, mut used, mut measured) = (0, Duration::ZERO, Duration::ZERO);
    let started = fleet.auditor.report();
    loop {
        let before = fleet.auditor.report();
        faults += fleet.inject_faults();
        let during = fleet.auditor.report();
        // The permits of a crashed process come back after a span, and are then spread.
        thread::sleep(SPAN + Duration::from_secs(1));
        let recovered = fleet.auditor.report();
        thread::sleep(WINDOW);
        let after = fleet.auditor.report();
        used += after.load.saturating_sub(recovered.load);
        measured += after.elapsed.saturating_sub(recovered.elapsed);
        eprintln!(
            "{faults} faults: at most {} of {LIMIT} in flight, {} requests; utilisation {:.3} under faults, {:.3} after them",
            after.most,
            after.completed,
            before.utilisation_until(&during),
            recovered.utilisation_until(&after),
        );
        assert!(after.most <= LIMIT, "{} requests were in flight, and the limit is {LIMIT}", after.most);
        assert!(during.completed > before.completed, "no request was completed under faults");
        if Instant::now() >= end {
            let utilisation = used.as_secs_f64() / (measured.as_secs_f64() * LIMIT as f64);
            let overall = started.utilisation_until(&after);
            eprintln!("utilisation {utilisation:.3} after faults, {overall:.3} overall");
            // One window beside other tests says little about speed.
            let least = if seconds == 0 { 0.5 } else { 0.9 };
            assert!(utilisation >= least, "the utilisation at twice the demand is {utilisation:.3}");
            return;
        }
    }
}

/// The check has teeth: a client that takes a ticket for each request goes above the limit under the same faults.
#[test]
fn tickets_go_above_the_limit_under_faults() {
    let Some(mut fleet) = ChaosFleet::start(ChildRole::Ticket) else { return };
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

/// A child of the tests in this file.
#[test]
#[ignore = "the chaos tests start it as a process"]
fn child_process() {
    match ChildRole::of_this_process() {
        Some(ChildRole::Auditor) => auditor::serve(),
        Some(ChildRole::Lease) => workers::work_with_a_lease(),
        Some(ChildRole::Ticket) => workers::work_with_tickets(),
        None => {}
    }
}

/// The server, the auditor and the workers. All of them end with this value.
struct ChaosFleet {
    workers: Vec<ChildProcess>,
    auditor: Auditor,
    /// `None` only while it restarts.
    server: Option<TestServer>,
    role: ChildRole,
    random: Random,
    /// The next worker that has a fault: each in turn, so that no work is interrupted twice.
    next: usize,
}

impl ChaosFleet {
    fn start(role: ChildRole) -> Option<Self> {
        let server = start_server()?;
        let auditor = Auditor::start();
        let workers = (0..WORKERS).map(|_| ChildProcess::worker(role, server.port, auditor.port)).collect();
        let random = Random(u64::from(server.port));
        Some(Self { workers, auditor, server: Some(server), role, random, next: 0 })
    }

    /// Waits until the workers work: a new ledger learns for a span.
    fn wait_for_work(&mut self) {
        let started = Instant::now();
        while self.auditor.report().completed < LIMIT {
            assert!(started.elapsed() < Duration::from_secs(60), "no worker works");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Injects each fault once, in a random order. Returns their number.
    fn inject_faults(&mut self) -> usize {
        let mut faults = [Fault::Pause, Fault::Kill, Fault::Flush, Fault::Restart, Fault::FlushWhilePaused];
        for last in (1..faults.len()).rev() {
            let other = self.random.below(last as u64 + 1) as usize;
            faults.swap(last, other);
        }
        for fault in faults {
            self.inject(fault);
            thread::sleep(Duration::from_millis(200 + self.random.below(400)));
        }
        faults.len()
    }

    fn inject(&mut self, fault: Fault) {
        let worker = self.next % self.workers.len();
        self.next += 1;
        let pause = Duration::from_millis(200 + self.random.below(LONGEST_PAUSE_MS - 200));
        match fault {
            Fault::Pause => {
                self.workers[worker].signal(Signal::SIGSTOP);
                thread::sleep(pause);
                self.workers[worker].signal(Signal::SIGCONT);
            }
            Fault::FlushWhilePaused => {
                self.workers[worker].signal(Signal::SIGSTOP);
                thread::sleep(pause / 2);
                self.flush();
                thread::sleep(pause / 2);
                self.workers[worker].signal(Signal::SIGCONT);
            }
            Fault::Kill => {
                let port = self.server.as_ref().unwrap().port;
                self.workers[worker].kill();
                self.workers[worker] = ChildProcess::worker(self.role, port, self.auditor.port);
            }
            Fault::Flush => self.flush(),
            Fault::Restart => {
                let port = self.server.take().unwrap().port;
                self.server = start_server_on(port);
            }
        }
    }

    fn flush(&self) {
        let client = redis::Client::open(url(self.server.as_ref().unwrap())).unwrap();
        redis::cmd("FLUSHALL").exec(&mut client.get_connection().unwrap()).unwrap();
    }
}

#[derive(Clone, Copy)]
enum Fault {
    /// SIGSTOP, and SIGCONT later.
    Pause,
    /// `kill -9`, and a new process in its place.
    Kill,
    /// FLUSHALL.
    Flush,
    /// The server ends and starts without its state.
    Restart,
    /// FLUSHALL while a worker is stopped.
    FlushWhilePaused,
}

impl AuditReport {
    /// Returns the mean load between two reports, as a part of the limit.
    fn utilisation_until(&self, later: &Self) -> f64 {
        let time = later.elapsed.saturating_sub(self.elapsed).as_secs_f64();
        later.load.saturating_sub(self.load).as_secs_f64() / (time * LIMIT as f64)
    }
}

const LIMIT: u64 = 24;
const WORKERS: usize = 6;
/// Together twice the limit.
const THREADS: usize = 8;
const SERVICE_TIME: Duration = Duration::from_millis(100);

const TTL: Duration = Duration::from_millis(600);
const MAX_HOLD: Duration = Duration::from_millis(800);
/// `TTL`, a grace of `MAX_HOLD` and a second, and a guard of half of `TTL`.
const SPAN: Duration = Duration::from_millis(2700);
/// Longer than a lease lasts. With the service time and some delay it is shorter than the grace, as docs/FLEET.md requires.
const LONGEST_PAUSE_MS: u64 = 1400;
/// How long the utilisation is measured after each series of faults.
const WINDOW: Duration = Duration::from_secs(3);
