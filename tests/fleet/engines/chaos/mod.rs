//! A fleet of real processes in front of a real engine, while processes stop and crash, their clocks differ, and the engine crashes and
//! loses its state.
//!
//! The tests execute their own program: six workers, and an auditor in the place of the upstream. The auditor counts the requests that it
//! works on, also those of a worker that has crashed, and knows nothing of permits. `.ci/run fleet-chaos SECONDS` runs them for longer.

mod auditor;
mod child;
mod clocks;
mod engine;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod proxy;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_replica;
#[cfg(feature = "redis")]
mod tickets;
mod workers;

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::auditor::{AuditReport, Auditor};
use self::child::{ChildProcess, ChildRole};
use self::engine::{ChaosEngine, EngineFault, Workers};
use crate::random::Random;

/// Runs series of faults for `FLEET_CHAOS_SECONDS`, at least one. Under every fault the requests in flight of all processes stay within the
/// limit, and after the faults the limit is used.
fn run_under_faults(name: &str, mut fleet: ChaosFleet) {
    let seconds = env::var("FLEET_CHAOS_SECONDS").map_or(0, |seconds| seconds.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    fleet.wait_for_work();
    let (mut faults, mut used, mut measured, mut lowest) = (0, Duration::ZERO, Duration::ZERO, f64::MAX);
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
        lowest = lowest.min(recovered.utilisation_until(&after));
        eprintln!(
            "{name}, {faults} faults: at most {} of {LIMIT} in flight, {} requests; utilisation {:.3} under faults, {:.3} after them",
            after.most,
            after.completed,
            before.utilisation_until(&during),
            recovered.utilisation_until(&after),
        );
        assert!(after.most <= LIMIT, "{} requests were in flight, and the limit is {LIMIT}", after.most);
        assert!(during.completed > before.completed, "no request was completed under faults");
        assert!(fleet.processes.iter_mut().all(ChildProcess::is_running), "a worker has failed");
        if Instant::now() >= end {
            let utilisation = used.as_secs_f64() / (measured.as_secs_f64() * LIMIT as f64);
            let overall = started.utilisation_until(&after);
            eprintln!(
                "{name}: utilisation {utilisation:.3} after faults (at least {lowest:.3}), {overall:.3} overall"
            );
            // One window beside other tests says little about speed.
            let least = if seconds == 0 { 0.5 } else { 0.9 };
            assert!(utilisation >= least, "the utilisation at twice the demand is {utilisation:.3}");
            return;
        }
    }
}

/// A child of the tests in this folder.
#[test]
#[ignore = "the chaos tests start it as a process"]
fn child_process() {
    match ChildRole::of_this_process() {
        Some(ChildRole::Auditor) => auditor::serve(),
        Some(ChildRole::Lease) => workers::work_with_a_lease(),
        #[cfg(feature = "redis")]
        Some(ChildRole::Ticket) => tickets::work_with_tickets(),
        None => {}
    }
}

/// The engine, the auditor and the workers. All of them end with this value.
struct ChaosFleet {
    processes: Vec<ChildProcess>,
    auditor: Auditor,
    engine: Box<dyn ChaosEngine>,
    workers: Workers,
    random: Random,
    /// The next worker that has a fault: each in turn, so that no work is interrupted twice.
    next: usize,
}

impl ChaosFleet {
    fn start(engine: Box<dyn ChaosEngine>, workers: Workers) -> Self {
        let auditor = Auditor::start();
        let random = Random(u64::from(auditor.port));
        let mut fleet = Self { processes: Vec::new(), auditor, engine, workers, random, next: 0 };
        fleet.processes = (0..WORKERS).map(|worker| fleet.start_worker(worker)).collect();
        fleet
    }

    /// Starts a worker. Its boot clock differs from that of every other process.
    fn start_worker(&mut self, worker: usize) -> ChildProcess {
        let ahead = Duration::from_secs(self.random.below(LARGEST_OFFSET_SECONDS));
        ChildProcess::worker(self.workers, &self.engine.url(worker), self.auditor.port, ahead)
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
        let mut faults = vec![Fault::Pause, Fault::Kill, Fault::LoseStateWhilePaused];
        faults.extend(self.engine.faults().iter().copied().map(Fault::Engine));
        for last in (1..faults.len()).rev() {
            let other = self.random.below(last as u64 + 1) as usize;
            faults.swap(last, other);
        }
        for &fault in &faults {
            self.inject(fault);
            thread::sleep(Duration::from_millis(200 + self.random.below(400)));
        }
        faults.len()
    }

    fn inject(&mut self, fault: Fault) {
        let worker = self.next % self.processes.len();
        self.next += 1;
        let pause = Duration::from_millis(200 + self.random.below(LONGEST_PAUSE_MS - 200));
        match fault {
            Fault::Pause => {
                self.processes[worker].signal(Signal::SIGSTOP);
                thread::sleep(pause);
                self.processes[worker].signal(Signal::SIGCONT);
            }
            Fault::LoseStateWhilePaused => {
                self.processes[worker].signal(Signal::SIGSTOP);
                thread::sleep(pause / 2);
                let begun = Instant::now();
                self.engine.cause(EngineFault::LoseState);
                thread::sleep((pause / 2).saturating_sub(begun.elapsed()));
                self.processes[worker].signal(Signal::SIGCONT);
            }
            Fault::Kill => {
                self.processes[worker].kill();
                self.processes[worker] = self.start_worker(worker);
            }
            Fault::Engine(fault) => self.engine.cause(fault),
        }
    }
}

#[derive(Clone, Copy)]
enum Fault {
    /// SIGSTOP, and SIGCONT later.
    Pause,
    /// `kill -9`, and a new process in its place.
    Kill,
    /// The ledger loses its state while a worker is stopped.
    LoseStateWhilePaused,
    Engine(EngineFault),
}

impl AuditReport {
    /// Returns the mean load between two reports, as a part of the limit.
    fn utilisation_until(&self, later: &Self) -> f64 {
        let time = later.elapsed.saturating_sub(self.elapsed).as_secs_f64();
        later.load.saturating_sub(self.load).as_secs_f64() / (time * LIMIT as f64)
    }
}

/// Workers that need no replica to acknowledge.
const LEASES: Workers = Workers { role: ChildRole::Lease, replicas: 0 };
const LIMIT: u64 = 24;
const WORKERS: usize = 6;
/// Together twice the limit.
const THREADS: usize = 8;
const SERVICE_TIME: Duration = Duration::from_millis(100);

const TTL: Duration = Duration::from_millis(600);
const MAX_HOLD: Duration = Duration::from_millis(800);
/// `TTL`, a grace of 1.828 s, and a guard of half of `TTL`.
const SPAN: Duration = Duration::from_millis(2728);
/// Longer than a lease lasts. With the service time and some delay it is shorter than `MAX_HOLD` and a second, as docs/FLEET.md
/// requires.
const LONGEST_PAUSE_MS: u64 = 1200;
/// The boot clock of a worker is ahead of that of the host by less than this: 30 days.
const LARGEST_OFFSET_SECONDS: u64 = 30 * 86_400;
/// How long the utilisation is measured after each series of faults.
const WINDOW: Duration = Duration::from_secs(3);
