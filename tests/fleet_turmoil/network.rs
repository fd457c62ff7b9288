//! Simulations of a fleet with faults of the network, the ledger and the processes.

use std::env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use turmoil::{Builder, Sim};

use crate::audit::Audit;
use crate::faults::{FaultCounts, Faults};
use crate::ledger::{self, LEDGER, ServerMemory};
use crate::random::Random;
use crate::workers::{SPAN, work};

const TICK: Duration = Duration::from_millis(10);

/// P70, P72, P73, P74: with every fault, the work in flight is never above the limit, and after the faults the permits are used again.
///
/// `FLEET_SEEDS` sets the number of simulations. `.ci/run turmoil 10000` runs 10 000.
#[test]
fn no_fault_of_the_network_admits_more_than_the_limit() {
    let seeds = number_from_env("FLEET_SEEDS").unwrap_or(40);
    let first = number_from_env("FLEET_FIRST_SEED").unwrap_or(1);
    let (mut requests, mut exchanges, mut counts) = (0, 0, FaultCounts::default());
    for seed in first..first + seeds {
        let mut run = SimulatedFleet::new(seed);
        run.run_with_faults(Duration::from_secs(20));
        run.recover();
        requests += run.audit.requests().len();
        exchanges += run.memory.lock().unwrap().exchanges;
        for (count, more) in counts.each().into_iter().zip(run.faults.counts.each()) {
            *count += *more;
        }
    }
    eprintln!(
        "turmoil: seeds {first} to {}: {requests} requests, {exchanges} exchanges, {counts:?}",
        first + seeds - 1
    );
    // Fewer simulations need not have every fault.
    assert!(seeds < 40 || counts.each().into_iter().all(|count| *count >= seeds / 4), "{counts:?}");
}

/// The same seed gives the same requests at the same instants, whatever was simulated before. So a failure can be repeated.
#[test]
fn a_seed_repeats_its_simulation() {
    let requests = |seed| {
        let mut run = SimulatedFleet::new(seed);
        run.run_with_faults(Duration::from_secs(20));
        run.audit.requests()
    };
    let first: Vec<_> = (1..=10).map(requests).collect();
    assert!(first.iter().any(|requests| !requests.is_empty()));
    for (seed, first) in (1..=10).rev().zip(first.iter().rev()) {
        assert!(*first == requests(seed), "seed {seed}");
    }
}

struct SimulatedFleet {
    seed: u64,
    sim: Sim<'static>,
    workers: u64,
    limit: u32,
    audit: Audit,
    memory: Arc<Mutex<ServerMemory>>,
    faults: Faults,
}

impl SimulatedFleet {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let (workers, limit) = (random.between(2, 5), random.between(1, 20) as u32);
        let mut builder = Builder::new();
        builder.rng_seed(seed).tick_duration(TICK).simulation_duration(Duration::MAX).enable_random_order();
        // A message takes more than a tick, because the hosts run one after the other within a tick.
        builder.min_message_latency(2 * TICK).max_message_latency(Duration::from_millis(200));
        let mut sim = builder.build();
        let ahead_ms = random.below(1 << 40);
        let memory = Arc::new(Mutex::new(ServerMemory { ahead_ms, ..ServerMemory::default() }));
        let server = Arc::clone(&memory);
        sim.host(LEDGER, move || ledger::serve(Arc::clone(&server)));
        let audit = Audit::default();
        let names: Vec<String> = (0..workers).map(|worker| format!("worker-{worker}")).collect();
        // Together twice the demand that the limit admits.
        let tasks = (2 * u64::from(limit)).div_ceil(workers);
        for name in &names {
            let (audit, random) = (audit.clone(), Arc::new(Mutex::new(Random(random.next()))));
            sim.host(&**name, move || work(tasks, limit, audit.clone(), Arc::clone(&random)));
        }
        let faults = Faults::new(random, Arc::clone(&memory), names);
        Self { seed, sim, workers, limit, audit, memory, faults }
    }

    /// Runs with faults, and some messages that are lost.
    fn run_with_faults(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        self.sim.set_fail_rate(0.01);
        while self.sim.elapsed() < end {
            self.faults.cause(&mut self.sim, TICK);
            self.step();
        }
        self.check();
    }

    /// Ends all faults. After two spans, the permits are used.
    fn recover(&mut self) {
        self.sim.set_fail_rate(0.0);
        self.faults.end_faults(&mut self.sim, Duration::MAX);
        let recovered = self.sim.elapsed() + 2 * SPAN;
        let end = recovered + Duration::from_secs(3);
        while self.sim.elapsed() < end {
            self.step();
        }
        self.check();
        let used = self.audit.mean(recovered, end) / f64::from(self.limit);
        // A permit that is left over by equal shares is not used while it goes from one worker to the next. There are fewer of them than
        // workers.
        let least = if u64::from(self.limit) < 2 * self.workers { 0.3 } else { 0.7 };
        assert!(used > least, "seed {}: {used:.3} of the permits are used after the faults", self.seed);
    }

    fn step(&mut self) {
        self.sim.step().unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
    }

    /// Fails if more requests were in flight than the limit allows.
    fn check(&self) {
        let (most, at) = self.audit.most();
        assert!(
            most <= i64::from(self.limit),
            "seed {}: {most} requests were in flight at {at:?}, and the limit is {}",
            self.seed,
            self.limit
        );
    }
}

fn number_from_env(name: &str) -> Option<u64> {
    env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}
